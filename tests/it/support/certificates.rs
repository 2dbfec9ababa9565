//! Certificates of a test's own.

use std::path::Path;

use ::certificates::{Authority, Error};

/// Writes an authority's certificate (`ca.pem`), a certificate by it for 127.0.0.1 with its key
/// (`node.crt`, `node.key`, and both in `node.pem`), and that of another authority (`other.pem`).
pub(crate) fn write(folder: &Path) {
    let files = make().expect("certificates");
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("is written");
    }
}

fn make() -> Result<[(&'static str, String); 5], Error> {
    let authority = Authority::new()?;
    let other = Authority::new()?;
    let (certificate, key) = authority.sign("127.0.0.1")?;
    let both = format!("{key}{certificate}");
    Ok([
        ("ca.pem", authority.pem().to_owned()),
        ("other.pem", other.pem().to_owned()),
        ("node.crt", certificate),
        ("node.key", key),
        ("node.pem", both),
    ])
}
