//! Where a message's media are, and downloading them.
//!
//! A webhook shows a media id: the reference with its key, encrypted for the client. The API
//! decrypts it and downloads from WhatsApp's servers without any session. WhatsApp keeps media for
//! some weeks; after that the account's phone is asked, through the session, to upload them again.
//!
//! Files are decrypted as they come and handed on in small pieces, never held whole. The code that
//! authenticates a file is at its end. The last bytes are handed on only after that code was
//! checked, so a file that was tampered with never arrives whole. Files of channels are not
//! encrypted: their hash is checked in the same way.

mod reference;
mod renewals;

use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use whatsapp_rust::{
    download::{DownloadParams, MediaHost, MediaRoute},
    http::UreqHttpClient,
    wacore::download::{DownloadUtils, MediaDecryption},
};

pub(super) use self::reference::Described;
use self::reference::KINDS;
pub(super) use self::reference::Origin;
pub use self::reference::Reference;
pub(super) use self::renewals::{ANSWER_TIMEOUT, Renewals};

use crate::{
    config,
    tasks::{TaskKind, Tasks},
};

/// WhatsApp's own limit for documents.
pub const MEDIA_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Downloads at once in this process; each holds a thread and [`PIECES_MAX`] pieces.
const DOWNLOADS_MAX: usize = 8;
/// How long a download waits for one of the others to end.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that may wait between the server and the reader.
const PIECES_MAX: usize = 4;
/// How long the server or the reader may take for one piece.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The slowest average speed of a download, since its thread is one of few.
const BYTES_PER_SECOND_MIN: u64 = 256 * 1024;
/// What a file is taken for whose message does not say how long it is.
const LENGTH_ASSUMED: u64 = 256 * 1024 * 1024;
/// All other HTTP requests to WhatsApp: files to upload, the version of WhatsApp Web.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const RESPONSE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The client for uploads and for the version of WhatsApp Web: HTTPS only.
///
/// # Errors
/// When `whatsapp.root_ca_file` cannot be read.
pub(super) fn http_client(settings: &config::WhatsApp) -> anyhow::Result<UreqHttpClient> {
    let agent = agent(settings)?
        .timeout_global(Some(REQUEST_TIMEOUT))
        .build();
    Ok(UreqHttpClient::with_agent(agent.into()).with_max_body_bytes(RESPONSE_BYTES_MAX))
}

type AgentBuilder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

fn agent(settings: &config::WhatsApp) -> anyhow::Result<AgentBuilder> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
    let mut tls = TlsConfig::builder();
    if let Some(file) = &settings.root_ca_file {
        let pem = std::fs::read(file)
            .with_context(|| format!("reading whatsapp.root_ca_file {}", file.display()))?;
        let own: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        anyhow::ensure!(
            !own.is_empty(),
            "whatsapp.root_ca_file {} has no certificate",
            file.display()
        );
        tls = tls.root_certs(RootCerts::Specific(Arc::new(own)));
    }
    Ok(ureq::Agent::config_builder()
        .https_only(true)
        .tls_config(tls.build())
        .timeout_connect(Some(STALL_TIMEOUT)))
}

/// A file in pieces. An error ends it, and the pieces before it must be thrown away.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Why a file cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Too many other downloads run.
    #[error("too many downloads at once")]
    Busy,
    /// Larger than [`MEDIA_BYTES_MAX`].
    #[error("the file is too large")]
    TooLarge,
    /// WhatsApp does not have it any more.
    #[error("WhatsApp's media servers answered {0}")]
    Expired(u16),
    /// WhatsApp did not give it, or did not answer in time.
    #[error("{0:#}")]
    Gone(anyhow::Error),
}

/// Gets media from WhatsApp's servers.
#[derive(Clone)]
pub struct Media {
    agent: ureq::Agent,
    route: Arc<MediaRoute>,
    permits: Arc<Semaphore>,
    stall: Duration,
    tasks: Tasks,
}

/// One file to get.
struct Task {
    url: String,
    decryption: MediaDecryption,
    deadline: Duration,
}

impl Media {
    /// # Errors
    /// When `whatsapp.root_ca_file` cannot be read.
    pub fn new(settings: &config::WhatsApp, tasks: &Tasks) -> anyhow::Result<Self> {
        Self::with_stall(settings, STALL_TIMEOUT, tasks)
    }

    fn with_stall(
        settings: &config::WhatsApp,
        stall: Duration,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            agent: agent(settings)?
                .timeout_recv_response(Some(stall))
                .http_status_as_error(false)
                .build()
                .into(),
            route: Arc::new(MediaRoute::unauthenticated(vec![MediaHost::new(
                &settings.media_host,
            )])),
            permits: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            stall,
            tasks: tasks.clone(),
        })
    }

    /// Begins to get a file; it is decrypted and authenticated on the way.
    ///
    /// # Errors
    /// When WhatsApp does not have it, or does not begin to answer in time.
    pub async fn download(&self, reference: &Reference) -> Result<Pieces, MediaError> {
        if reference.length > MEDIA_BYTES_MAX {
            return Err(MediaError::TooLarge);
        }
        let task = self.task(reference).map_err(MediaError::Gone)?;
        let permit = timeout(TURN_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(MediaError::Busy)?;
        let (began, beginning) = oneshot::channel();
        let (pieces, received) = mpsc::channel(PIECES_MAX);
        let mut writer = Writer {
            runtime: Handle::current(),
            pieces,
            piece: BytesMut::new(),
            stall: self.stall,
        };
        let agent = self.agent.clone();
        // A thread: WhatsApp's client decrypts from a reader into a writer.
        let download = self.tasks.blocking(TaskKind::MediaDownload, move || {
            let body = match open(&agent, &task) {
                Ok(body) => body,
                Err(error) => return drop(began.send(Err(error))),
            };
            // If nobody waits any more, sending the first piece fails.
            let _ = began.send(Ok(()));
            let decrypted = decrypt(body, &task.decryption, &mut writer);
            writer.end(decrypted, permit);
        });
        // Its pieces, or their end, are its result.
        drop(download);
        let began = timeout(self.stall, beginning)
            .await
            .context("WhatsApp's media servers did not answer in time");
        let began = began.and_then(|began| began.context("a download ended without a word"));
        began.map_err(MediaError::Gone)??;
        Ok(Box::pin(stream::unfold(
            Some((received, self.stall)),
            next_piece,
        )))
    }

    fn task(&self, reference: &Reference) -> anyhow::Result<Task> {
        let kind = *KINDS
            .get(usize::from(reference.kind))
            .context("an unknown kind of media")?;
        let only_encrypted = |bytes: &[u8]| reference.is_encrypted().then(|| bytes.to_vec());
        let params = DownloadParams {
            direct_path: reference.path.clone(),
            media_key: only_encrypted(&reference.key),
            file_sha256: reference.sha256.to_vec(),
            file_enc_sha256: only_encrypted(&reference.encrypted_sha256),
            file_length: reference.length,
            media_type: kind,
        };
        let mut requests =
            DownloadUtils::prepare_download_requests(&params, &self.route)?.into_iter();
        let request = requests.next().context("no media host")?;
        let length = match reference.length {
            0 => LENGTH_ASSUMED,
            length => length,
        };
        Ok(Task {
            url: request.url,
            decryption: request.decryption,
            deadline: self.stall + Duration::from_secs(length / BYTES_PER_SECOND_MIN),
        })
    }
}

/// Asks for the file; its encrypted bytes.
fn open(agent: &ureq::Agent, task: &Task) -> Result<impl io::Read, MediaError> {
    let request = agent
        .get(&task.url)
        .config()
        .timeout_recv_body(Some(task.deadline))
        .build();
    let answer = request.call().context("asking WhatsApp's media servers");
    let answer = answer.map_err(MediaError::Gone)?;
    match answer.status().as_u16() {
        200 => {}
        expired @ (404 | 410) => return Err(MediaError::Expired(expired)),
        other => {
            let error = anyhow::anyhow!("WhatsApp's media servers answered {other}");
            return Err(MediaError::Gone(error));
        }
    }
    Ok(answer
        .into_body()
        .into_with_config()
        .limit(MEDIA_BYTES_MAX)
        .reader())
}

/// Fails at the end of a file that is not the one that the message names.
fn decrypt(
    body: impl io::Read,
    decryption: &MediaDecryption,
    writer: &mut Writer,
) -> anyhow::Result<()> {
    match decryption {
        MediaDecryption::Encrypted {
            media_key,
            media_type,
        } => {
            DownloadUtils::decrypt_stream_to_writer(body, media_key, *media_type, writer).map(drop)
        }
        MediaDecryption::Plaintext { file_sha256 } => {
            DownloadUtils::copy_and_validate_plaintext_to_writer(body, file_sha256, writer)
                .map(drop)
        }
    }
}

/// Hands the decrypted file on in pieces. A reader that is too slow ends the download.
struct Writer {
    runtime: Handle,
    pieces: mpsc::Sender<io::Result<Option<Bytes>>>,
    piece: BytesMut,
    stall: Duration,
}

impl Writer {
    fn hand_on(&self, piece: io::Result<Option<Bytes>>) -> io::Result<()> {
        match self
            .runtime
            .block_on(timeout(self.stall, self.pieces.send(piece)))
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "nobody reads the file any more",
            )),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the file is read too slowly",
            )),
        }
    }

    fn end(mut self, decrypted: anyhow::Result<()>, permit: OwnedSemaphorePermit) {
        let rest = self.piece.split().freeze();
        let ended = match decrypted {
            Ok(()) => self
                .hand_on(Ok(Some(rest)))
                .and_then(|()| self.hand_on(Ok(None))),
            Err(error) => self.hand_on(Err(io::Error::other(format!("{error:#}")))),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a download ended early");
        }
        drop(permit);
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The last piece is kept back until the file is known to be authentic.
        if self.piece.len() >= PIECE_BYTES {
            let piece = self.piece.split().freeze();
            self.hand_on(Ok(Some(piece)))?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Received = (mpsc::Receiver<io::Result<Option<Bytes>>>, Duration);

/// The stream ends well only after the mark that the file is whole.
async fn next_piece(received: Option<Received>) -> Option<(io::Result<Bytes>, Option<Received>)> {
    let (mut received, stall) = received?;
    let error = match timeout(stall, received.recv()).await {
        Ok(Some(Ok(Some(piece)))) => return Some((Ok(piece), Some((received, stall)))),
        Ok(Some(Ok(None))) => return None,
        Ok(Some(Err(error))) => error,
        Ok(None) => io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut off"),
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "WhatsApp's media servers stalled"),
    };
    tracing::warn!(%error, "a file was not delivered whole");
    Some((Err(error), None))
}

#[cfg(test)]
mod tests;
