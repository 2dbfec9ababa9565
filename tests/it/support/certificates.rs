//! Certificates of a test's own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, Error, IsCa, Issuer, KeyPair};

/// Writes an authority's certificate (`ca.pem`), a certificate by it for 127.0.0.1 with its key
/// (`node.crt`, `node.key`, and both in `node.pem`), and that of another authority (`other.pem`).
pub(crate) fn write(folder: &Path) {
    let files = make().expect("certificates");
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("is written");
    }
}

fn make() -> Result<[(&'static str, String); 5], Error> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let other_key = KeyPair::generate()?;
    let node_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.pem();
    let other = params.self_signed(&other_key)?.pem();
    let node = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let certificate = node
        .signed_by(&node_key, &Issuer::from_params(&params, &ca_key))?
        .pem();
    let key = node_key.serialize_pem();
    let both = format!("{key}{certificate}");
    Ok([
        ("ca.pem", ca),
        ("other.pem", other),
        ("node.crt", certificate),
        ("node.key", key),
        ("node.pem", both),
    ])
}
