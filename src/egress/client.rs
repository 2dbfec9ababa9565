//! Posting one body.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Response, Url, header, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    failure::{Failure, blocked, classify},
    resolver::{Guard, Lookup, System},
};
use crate::{
    config,
    model::{ERROR_CHARS_MAX, Outcome},
    policy::{
        self,
        address::{UrlError, check_url},
    },
    telemetry,
};

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// As many as one webhook may have under way: several may share a host, and a new connection costs
/// more than a request.
const IDLE_PER_HOST_MAX: usize = 256;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The extra root certificates cannot be used.
    #[error("egress.root_ca_file: {0}")]
    RootCa(String),
    /// TLS or HTTP could not be set up.
    #[error("HTTP client: {0}")]
    Setup(String),
}

/// What came of one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What happened.
    pub outcome: Outcome,
    /// The status, when there was one.
    pub http_status: Option<u16>,
    /// The first bytes of the body, as text.
    pub response: Option<String>,
    /// Why it failed, in words fit for the customer.
    pub error: Option<String>,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// From the start until all was read or lost.
    pub latency: Duration,
    /// Whether the endpoint may have taken the request although no answer came.
    pub request_written: bool,
}

/// Where to post, judged once: what its URL says by itself does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct Target(Result<Url, &'static str>);

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) settings: Arc<config::Egress>,
}

impl Client {
    /// A client whose requests take at most `total` each.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn new(settings: &config::Egress, total: Duration) -> Result<Self, Error> {
        Self::with_lookup(settings, total, Arc::new(System::new()))
    }

    /// The same with a given resolver.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn with_lookup(
        settings: &config::Egress,
        total: Duration,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, Error> {
        let guard = Guard {
            lookup,
            allow: settings.allow_cidrs.clone().into(),
            timeout: settings.dns_timeout.min(total / 2),
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings)?)
            .dns_resolver(guard)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(concat!("wahook/", env!("CARGO_PKG_VERSION")))
            // Shorter than the whole: a time-out later than this means that the request was
            // written.
            .connect_timeout(settings.connect_timeout.min(total / 2))
            .timeout(total)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Self {
            http,
            settings: Arc::new(settings.clone()),
        })
    }

    /// Judges a URL for [`post`](Self::post).
    pub fn target(&self, url: &str) -> Target {
        Target(
            check_url(url, self.settings.allow_http, &self.settings.allow_cidrs).map_err(|error| {
                match error {
                    UrlError::Forbidden(rule) => rule,
                    _ => "url",
                }
            }),
        )
    }

    /// Posts JSON, once.
    pub async fn post(&self, target: Target, headers: &[(&str, String)], body: Bytes) -> Answer {
        let started = Instant::now();
        let url = match target.0 {
            Ok(url) => url,
            Err(rule) => return failed(&blocked(rule), started),
        };
        let mut request = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send().await {
            Ok(response) => self.read(response, started).await,
            Err(error) => failed(&classify(&error), started),
        }
    }

    /// The status decides; a body that breaks, drips or never ends only shortens what is kept of
    /// it.
    async fn read(&self, mut response: Response, started: Instant) -> Answer {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut kept = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = self.settings.response_bytes_max - kept.len();
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if kept.len() == self.settings.response_bytes_max {
                break;
            }
        }
        let outcome = policy::outcome_of_status(status);
        let error = (outcome != Outcome::Ok).then(|| format!("the endpoint answered {status}"));
        Answer {
            outcome,
            http_status: Some(status),
            response: (!kept.is_empty()).then(|| String::from_utf8_lossy(&kept).into_owned()),
            error,
            retry_after,
            latency: started.elapsed(),
            request_written: true,
        }
    }
}

fn failed(failure: &Failure, started: Instant) -> Answer {
    if let Some(rule) = failure.rule {
        telemetry::blocked(rule);
    }
    Answer {
        outcome: failure.outcome,
        http_status: None,
        response: None,
        error: Some(failure.text.chars().take(ERROR_CHARS_MAX).collect()),
        retry_after: None,
        latency: started.elapsed(),
        request_written: failure.request_written,
    }
}

fn tls(settings: &config::Egress) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(file) = &settings.root_ca_file {
        let unusable = |why: String| Error::RootCa(format!("{}: {why}", file.display()));
        let certificates =
            CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
