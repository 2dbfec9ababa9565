//! TLS to endpoints: which certificates are trusted, and why a handshake failed.

use std::{io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::failure::cause;
use crate::config;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The extra root certificates cannot be used.
    #[error("egress.root_ca_file: {0}")]
    RootCa(String),
    /// TLS could not be set up.
    #[error("HTTP client: {0}")]
    Setup(String),
}

/// The public authorities, and those of `egress.root_ca_file`.
pub(super) fn client_config(settings: &config::Egress) -> Result<ClientConfig, Error> {
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
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Why a handshake failed, in words for the client.
pub(super) fn words(error: &io::Error) -> &'static str {
    if let Some(error) = cause::<rustls::Error>(error) {
        return words_of(error);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "TLS: the connection was closed during the handshake",
        _ => "TLS: the handshake failed",
    }
}

/// The same of an error of TLS itself.
pub(super) fn words_of(error: &rustls::Error) -> &'static str {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => of_certificate(error),
        Tls::NoCertificatesPresented => "TLS: the endpoint showed no certificate",
        Tls::InvalidMessage(_) | Tls::PeerSentOversizedRecord => {
            "TLS: the endpoint does not speak TLS on this port"
        }
        Tls::PeerIncompatible(_) => {
            "TLS: wahook and the endpoint have no version or cipher in common; TLS 1.2 or 1.3 is \
             needed"
        }
        Tls::NoApplicationProtocol => NO_HTTP,
        Tls::AlertReceived(alert) => of_alert(*alert),
        _ => "TLS: the handshake failed",
    }
}

const NO_HTTP: &str = "TLS: the endpoint speaks neither HTTP/1.1 nor HTTP/2";

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "TLS: the certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS: the certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "TLS: the certificate is for another host name"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "TLS: the certificate is not trusted: it is self-signed, of an unknown authority, or \
             an intermediate certificate is missing"
        }
        CertificateError::Revoked => "TLS: the certificate was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "TLS: the certificate is not made for servers"
        }
        // A self-signed certificate that is marked as an authority's comes here: rustls has no
        // variant for it.
        CertificateError::Other(_) => {
            "TLS: the certificate is not trusted: it is self-signed, or an authority's own"
        }
        _ => "TLS: the certificate cannot be used",
    }
}

fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            "TLS: wahook and the endpoint have no version or cipher in common; TLS 1.2 or 1.3 is \
             needed"
        }
        AlertDescription::CertificateRequired => "TLS: the endpoint wants a client certificate",
        AlertDescription::UnrecognisedName => "TLS: the endpoint does not know this host name",
        AlertDescription::NoApplicationProtocol => NO_HTTP,
        _ => "TLS: the endpoint refused the handshake",
    }
}
