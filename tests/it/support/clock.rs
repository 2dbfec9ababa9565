//! A wrong wall clock for one process.

use std::{path::Path, process::Command};

use super::process::Env;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/clock.c");

/// What a process needs in its environment for a wall clock that is so many seconds ahead. Its
/// other clocks stay right.
pub(crate) fn ahead_by(seconds: i64, folder: &Path) -> Env {
    let library = folder.join("clock.so");
    // Rust links with it, so it is there.
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([SOURCE, "-ldl"])
        .status();
    assert!(made.is_ok_and(|status| status.success()), "cc {SOURCE}");
    vec![
        ("LD_PRELOAD".to_owned(), library.display().to_string()),
        ("CLOCK_OFFSET".to_owned(), seconds.to_string()),
    ]
}
