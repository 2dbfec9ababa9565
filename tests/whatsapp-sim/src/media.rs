//! Media by HTTPS: what was stored can be fetched, what is posted is stored.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

/// The largest file that may be posted.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Default)]
struct Files {
    all: Arc<Mutex<HashMap<String, Bytes>>>,
    /// How many bytes follow each other, and what lies between.
    pace: Arc<Mutex<Option<(usize, Duration)>>>,
}

impl Files {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Bytes>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server; it ends when it is dropped.
pub(crate) struct MediaServer {
    pub(crate) ca_pem: String,
    port: u16,
    files: Files,
    accepting: AbortHandle,
}

impl Drop for MediaServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl MediaServer {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        // Self-signed: the certificate is its own authority.
        let certificate = certificate.self_signed(&key)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let files = Files::default();
        let served = files.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let files = served.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(files.clone(), request));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self {
            ca_pem: certificate.pem(),
            port,
            files,
            accepting: accepting.abort_handle(),
        })
    }

    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn store(&self, path: &str, file: Vec<u8>) {
        self.files.lock().insert(path.to_owned(), file.into());
    }

    pub(crate) fn file(&self, path: &str) -> Option<Bytes> {
        self.files.lock().get(path).cloned()
    }

    pub(crate) fn set_pace(&self, bytes: usize, pause: Duration) {
        *self
            .files
            .pace
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((bytes, pause));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.files.lock().remove(path);
    }
}

type Body = StreamBody<BoxStream<'static, anyhow::Result<Frame<Bytes>>>>;

async fn answer(files: Files, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let pace = *files.pace.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.uri().path().to_owned();
    let plain = |status: StatusCode, body: Bytes| {
        let mut response = Response::new(StreamBody::new(paced(body, pace).boxed()));
        *response.status_mut() = status;
        response
    };
    if *request.method() != Method::POST {
        let found = files.lock().get(&path).cloned();
        return Ok(found.map_or_else(
            || plain(StatusCode::NOT_FOUND, Bytes::new()),
            |file| plain(StatusCode::OK, file),
        ));
    }
    if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("resume=1"))
    {
        return Ok(plain(StatusCode::NOT_FOUND, Bytes::new()));
    }
    let host = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let Ok(body) = Limited::new(request.into_body(), FILE_BYTES_MAX)
        .collect()
        .await
    else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()));
    };
    let answer = serde_json::json!({"url": format!("https://{host}{path}"), "direct_path": path});
    files.lock().insert(path, body.to_bytes());
    Ok(plain(StatusCode::OK, answer.to_string().into()))
}

fn paced(
    body: Bytes,
    pace: Option<(usize, Duration)>,
) -> impl Stream<Item = anyhow::Result<Frame<Bytes>>> {
    let (bytes, pause) = pace.unwrap_or((usize::MAX, Duration::ZERO));
    futures_util::stream::unfold((body, true), move |(mut rest, is_first)| async move {
        if rest.is_empty() {
            return None;
        }
        if !is_first {
            tokio::time::sleep(pause).await;
        }
        let piece = rest.split_to(rest.len().min(bytes));
        Some((Ok(Frame::data(piece)), (rest, false)))
    })
}
