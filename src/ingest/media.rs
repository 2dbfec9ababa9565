//! Where a message's media lie, and getting them.
//!
//! A webhook shows a media id: the reference with its key, sealed for the client. Whoever may ask for media unseals it
//! and downloads from WhatsApp's servers without any session. WhatsApp keeps media for some weeks.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::time::timeout;
use whatsapp_rust::{
    TokioRuntime,
    download::{DownloadParams, MediaDownloader, MediaHost, MediaRoute, MediaType},
    http::UreqHttpClient,
};

use crate::{config, model::ClientId, wire};

/// One download, whole.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(60);
/// Larger files are refused: they would be held in memory.
pub const MEDIA_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Between two packets of a media server.
const SOCKET_PATIENCE: Duration = Duration::from_secs(20);

/// Where one file lies, and the key to it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    kind: u8,
    path: String,
    key: ByteBuf,
    sha256: ByteBuf,
    encrypted_sha256: ByteBuf,
    length: u64,
}

const KINDS: [MediaType; 5] =
    [MediaType::Image, MediaType::Video, MediaType::Audio, MediaType::Document, MediaType::Sticker];

/// Hides the key.
impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Reference {
    /// `None` when the message lacks something that is needed to get the file.
    pub(super) fn new(
        kind: MediaType,
        path: Option<&str>,
        key: Option<&[u8]>,
        sha256: Option<&[u8]>,
        encrypted_sha256: Option<&[u8]>,
        length: Option<u64>,
    ) -> Option<Self> {
        Some(Self {
            kind: u8::try_from(KINDS.iter().position(|known| *known == kind)?).ok()?,
            path: path?.to_owned(),
            key: ByteBuf::from(key?),
            sha256: ByteBuf::from(sha256?),
            encrypted_sha256: ByteBuf::from(encrypted_sha256?),
            length: length?,
        })
    }

    /// The id that webhooks show.
    pub(super) fn seal(&self, secret: &[u8; 32], client: ClientId) -> String {
        wire::seal(secret, client, self)
    }

    /// The reference behind an id, if it is this client's.
    pub fn unseal(secret: &[u8; 32], client: ClientId, id: &str) -> Option<Self> {
        wire::unseal(secret, client, id)
    }

    /// Bytes of the file, as its sender says.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// The client for media and for the version of WhatsApp Web: HTTPS only, no redirects to follow.
///
/// # Errors
/// When `whatsapp.root_ca_file` cannot be read.
pub(super) fn http_client(settings: &config::WhatsApp) -> anyhow::Result<UreqHttpClient> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
    let mut tls = TlsConfig::builder();
    if let Some(file) = &settings.root_ca_file {
        let pem = std::fs::read(file).with_context(|| format!("reading whatsapp.root_ca_file {}", file.display()))?;
        let own: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        anyhow::ensure!(!own.is_empty(), "whatsapp.root_ca_file {} has no certificate", file.display());
        tls = tls.root_certs(RootCerts::Specific(Arc::new(own)));
    }
    let agent = ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(tls.build())
        .timeout_connect(Some(SOCKET_PATIENCE))
        .timeout_global(Some(DOWNLOAD_DEADLINE))
        .build();
    Ok(UreqHttpClient::with_agent(agent.into()).with_max_body_bytes(MEDIA_BYTES_MAX))
}

/// Gets media from WhatsApp's servers.
#[derive(Clone)]
pub struct Media {
    downloader: Arc<MediaDownloader>,
}

impl Media {
    /// # Errors
    /// When `whatsapp.root_ca_file` cannot be read.
    pub fn new(settings: &config::WhatsApp) -> anyhow::Result<Self> {
        let http = Arc::new(http_client(settings)?);
        let route = MediaRoute::unauthenticated(vec![MediaHost::new(&settings.media_host)]);
        Ok(Self { downloader: Arc::new(MediaDownloader::new(http, Arc::new(TokioRuntime), route)) })
    }

    /// The file, decrypted and checked against its hash.
    ///
    /// # Errors
    /// When WhatsApp does not have it any more, or does not answer in time.
    pub async fn download(&self, reference: &Reference) -> anyhow::Result<Vec<u8>> {
        anyhow::ensure!(reference.length <= MEDIA_BYTES_MAX, "the file is larger than {MEDIA_BYTES_MAX} bytes");
        let kind = *KINDS.get(usize::from(reference.kind)).context("an unknown kind of media")?;
        let params = DownloadParams {
            direct_path: reference.path.clone(),
            media_key: Some(reference.key.to_vec()),
            file_sha256: reference.sha256.to_vec(),
            file_enc_sha256: Some(reference.encrypted_sha256.to_vec()),
            file_length: reference.length,
            media_type: kind,
        };
        let file = timeout(DOWNLOAD_DEADLINE, self.downloader.download(&params)).await;
        Ok(file.context("WhatsApp's media servers did not answer in time")??)
    }
}
