//! Getting one file, behind the same guard.

use hyper::header;

use super::{
    client::Client,
    connection::Call,
    exchange::{Answered, Piece},
    failure::Failure,
    stage::StageCell,
    target::Target,
};
use crate::{model::ClientId, telemetry};

/// A file as it was served.
#[derive(Debug, Clone)]
pub struct Download {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What the server says it is, as it says it; empty when it does not.
    pub content_type: String,
}

impl Client {
    /// Gets a file of at most `bytes_max` bytes, within the client's deadline.
    ///
    /// # Errors
    /// Words fit for the client that gave the URL.
    pub async fn get(
        &self,
        client: ClientId,
        url: &str,
        bytes_max: usize,
    ) -> Result<Download, String> {
        let target = Target::new(url, &self.settings);
        let call = Call::get(target.endpoint().map_err(words)?);
        let answered = self
            .exchange
            .send(client, &call, &StageCell::new(), self.total)
            .await
            .map_err(words)?;
        let Answered { status, fields, .. } = &answered;
        if !(200..300).contains(status) {
            return Err(format!("it was answered with {status}"));
        }
        let content_type = fields
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Download {
            bytes: self.read_all(answered, &call, bytes_max).await?,
            content_type,
        })
    }

    async fn read_all(
        &self,
        answered: Answered,
        call: &Call,
        bytes_max: usize,
    ) -> Result<Vec<u8>, String> {
        let too_large = || format!("it is larger than {bytes_max} bytes");
        // Without a head that can be read nobody knows where the file ends.
        let mut body = answered
            .body
            .ok_or_else(|| words(Failure::Protocol("the answer is not HTTP")))?;
        if body
            .announced()
            .is_some_and(|length| length > bytes_max as u64)
        {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        loop {
            match body.next().await {
                Piece::Bytes(piece) if bytes.len() + piece.len() > bytes_max => {
                    return Err(too_large());
                }
                Piece::Bytes(piece) => bytes.extend_from_slice(&piece),
                Piece::Broken(failure) => return Err(words(failure)),
                Piece::End => break,
            }
        }
        body.recycle(&self.exchange, call).await;
        Ok(bytes)
    }
}

fn words(failure: Failure) -> String {
    if let Some(rule) = failure.rule() {
        telemetry::blocked(rule);
    }
    match failure {
        Failure::NotMade(why) => {
            telemetry::error("egress", why.as_str());
            why.to_string()
        }
        other => other.text().to_owned(),
    }
}
