//! TLS: which certificates are believed, and what is said of those that are not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use wahook::{config, egress::Client, model::Outcome};

use super::{Server, client, post, settings};

/// A self-signed certificate, and a client that trusts it.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Identity {
    pub(super) fn local() -> Self {
        Self::new("127.0.0.1", |_| {})
    }

    fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        }
    }

    pub(super) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("a server")
            .with_no_client_auth();
        let mut server = builder
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("a server");
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(server))
    }

    fn expired() -> Self {
        Self::new("127.0.0.1", |parameters| {
            parameters.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    fn early() -> Self {
        Self::new("127.0.0.1", |parameters| {
            parameters.not_before = date_time_ymd(2090, 1, 1);
        })
    }

    fn authority() -> Self {
        Self::new("127.0.0.1", |parameters| {
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        })
    }

    /// A server that wants a certificate of its clients.
    fn asking_acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .expect("a verifier");
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("a server")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("a server");
        TlsAcceptor::from(Arc::new(server))
    }

    /// Settings that trust it, as long as the folder is there.
    pub(super) fn trusted(&self) -> (config::Egress, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &self.pem).expect("writes");
        let root_ca_file = Some(file);
        let trusting = config::Egress {
            root_ca_file,
            ..settings(true)
        };
        (trusting, folder)
    }

    fn trusting_client(&self) -> Client {
        let (settings, _folder) = self.trusted();
        client(&settings)
    }
}

/// Answers one request per connection, and counts those that it can read.
pub(super) async fn tls_server(acceptor: TlsAcceptor) -> (Server, Arc<AtomicUsize>) {
    let bodies = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&bodies);
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        let counter = Arc::clone(&counter);
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await;
    (server, bodies)
}

pub(super) fn https(server: &Server, host: &str) -> String {
    server.url(host).replace("http:", "https:")
}

#[tokio::test]
async fn a_certificate_is_believed_only_when_its_root_is_known() {
    let identity = Identity::local();
    let (server, bodies) = tls_server(identity.acceptor(&[])).await;
    let url = https(&server, "127.0.0.1");
    let answer = post(&client(&settings(true)), &url).await;
    assert_eq!(answer.outcome, Outcome::Tls);
    assert_eq!(
        bodies.load(Ordering::SeqCst),
        0,
        "nothing is sent before the certificate is believed"
    );
    let answer = post(&identity.trusting_client(), &url).await;
    assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failed_handshake_is_told_with_its_cause() {
    let local = Identity::local();
    let other = Identity::new("other.example", |_| {});
    let expired = Identity::expired();
    let early = Identity::early();
    let authority = Identity::authority();
    for (name, acceptor, client, words) in [
        (
            "self-signed",
            local.acceptor(&[]),
            client(&settings(true)),
            "is not trusted",
        ),
        (
            "authority",
            authority.acceptor(&[]),
            client(&settings(true)),
            "is not trusted",
        ),
        (
            "other",
            other.acceptor(&[]),
            other.trusting_client(),
            "is for another host name",
        ),
        (
            "expired",
            expired.acceptor(&[]),
            expired.trusting_client(),
            "has expired",
        ),
        (
            "early",
            early.acceptor(&[]),
            early.trusting_client(),
            "is not valid yet",
        ),
        (
            "asking",
            local.asking_acceptor(),
            local.trusting_client(),
            "wants a client certificate",
        ),
        (
            "smtp",
            local.acceptor(&[b"smtp"]),
            local.trusting_client(),
            "neither HTTP/1.1 nor HTTP/2",
        ),
    ] {
        let (server, bodies) = tls_server(acceptor).await;
        let answer = post(&client, &https(&server, "127.0.0.1")).await;
        assert_eq!(answer.outcome, Outcome::Tls, "{name}: {answer:?}");
        let error = answer.error.expect("words");
        assert!(
            error.starts_with("TLS: ") && error.contains(words),
            "{name}: {error}"
        );
        assert_eq!(bodies.load(Ordering::SeqCst), 0, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told_with_its_cause() {
    const WRONG_VERSION: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
    const WRONG_CIPHER: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    let client = client(&settings(true));
    for (bytes, words) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "does not speak TLS",
        ),
        (b"220 smtp.example ready\r\n", "does not speak TLS"),
        (b"", "closed during the handshake"),
        (WRONG_VERSION, "no version or cipher in common"),
        (WRONG_CIPHER, "refused the handshake"),
    ] {
        let server = Server::answering(bytes).await;
        let answer = post(&client, &https(&server, "127.0.0.1")).await;
        let error = answer.error.expect("words");
        assert_eq!(answer.outcome, Outcome::Tls, "{error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    // Closed before anything was read: the system may send a reset.
    let server = Server::start(async |stream: TcpStream| drop(stream)).await;
    let answer = post(&client, &https(&server, "127.0.0.1")).await;
    let error = answer.error.expect("words");
    assert!(error.contains("closed during the handshake"), "{error}");
}
