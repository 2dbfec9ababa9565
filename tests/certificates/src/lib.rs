//! An authority and certificates by it, for tests and for trying out a cluster.
//!
//! The authority's key is never written down: nobody can sign another certificate later.

use std::{fmt, fs, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long they hold: long enough to try something out, too short to forget about.
const VALID_FOR: Duration = Duration::days(365);
/// For machines whose clock is behind.
const VALID_SINCE: Duration = Duration::days(1);
/// Every certificate is good for this machine, too.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The file with the authority's certificate.
pub const AUTHORITY: &str = "ca.pem";

/// Why there are no certificates.
#[derive(Debug)]
pub enum Error {
    /// A name that no certificate can have, or no randomness.
    Certificate(rcgen::Error),
    /// The folder cannot be written.
    Folder(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => write!(f, "making a certificate: {error}"),
            Self::Folder(error) => write!(f, "writing the folder: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate(error) => Some(error),
            Self::Folder(error) => Some(error),
        }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Folder(error)
    }
}

/// An authority.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn new() -> Result<Self, Error> {
        let mut params = valid(CertificateParams::new([])?);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "wahook for trying out");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { params, key, pem })
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a host name or address, and its key. A server shows it to clients, and to
    /// other servers as their client.
    ///
    /// # Errors
    /// When the name is none.
    pub fn sign(&self, name: &str) -> Result<(String, String), Error> {
        let names = std::iter::once(name).chain(LOOPBACK.into_iter().filter(|own| *own != name));
        let mut params = valid(CertificateParams::new(
            names.map(str::to_owned).collect::<Vec<_>>(),
        )?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn valid(mut params: CertificateParams) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - VALID_SINCE;
    params.not_after = now + VALID_FOR;
    params
}

/// Writes the certificate of a new authority ([`AUTHORITY`]), and for each name `NAME.crt` and
/// `NAME.key`.
///
/// # Errors
/// When a name is none, or the folder cannot be written.
pub fn write(folder: &Path, names: &[&str]) -> Result<(), Error> {
    let authority = Authority::new()?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join(AUTHORITY), authority.pem())?;
    for name in names {
        let (certificate, key) = authority.sign(name)?;
        fs::write(folder.join(format!("{name}.crt")), certificate)?;
        write_secret(&folder.join(format!("{name}.key")), &key)?;
    }
    Ok(())
}

/// Only its owner may read it.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
