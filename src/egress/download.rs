//! Getting one file, behind the same guard.

use reqwest::header;

use super::{client::Client, failure::classify};
use crate::policy::address::check_url;

/// A file as it was served.
#[derive(Debug, Clone)]
pub struct Download {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What the server says it is, without parameters, in lower case; empty when it does not say.
    pub content_type: String,
}

impl Client {
    /// Gets a file of at most `bytes_max` bytes, within the client's deadline.
    ///
    /// # Errors
    /// Words fit for the client that gave the URL.
    pub async fn get(&self, url: &str, bytes_max: usize) -> Result<Download, String> {
        let url = check_url(url, self.settings.allow_http, &self.settings.allow_cidrs)
            .map_err(|error| error.to_string())?;
        let mut response = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| classify(&error).text.to_owned())?;
        if !response.status().is_success() {
            return Err(format!(
                "it was answered with {}",
                response.status().as_u16()
            ));
        }
        let too_large = || format!("it is larger than {bytes_max} bytes");
        if response
            .content_length()
            .is_some_and(|length| length > bytes_max as u64)
        {
            return Err(too_large());
        }
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let content_type = content_type
            .and_then(|text| text.split(';').next())
            .unwrap_or_default();
        let content_type = content_type.trim().to_ascii_lowercase();
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| classify(&error).text.to_owned())?
        {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Download {
            bytes,
            content_type,
        })
    }
}
