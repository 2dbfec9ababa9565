//! The file with the keys that secrets are sealed with.

use std::{
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{bus::Bus, config::Config, wire::Keyring};

const MADE: &str = "# Keys that stored secrets are sealed with: the first one seals, all of them \
    open. Without this file they are lost.";

/// The keys of this node. Where no file is set, the first node on a bus makes one.
pub(super) async fn keyring(config: &Config, bus: &Bus) -> anyhow::Result<Keyring> {
    let file = file(config);
    if let Some(keys) = read(&file)? {
        bus.key_rotation()
            .check_keys(&keys)
            .await
            .with_context(|| format!("opening with the keys of {}", file.display()))?;
        return Ok(keys);
    }
    if config.secrets.keys_file.is_some() {
        bail!(
            "secrets.keys_file: {} does not exist; `wahook secrets new-key` prints a key for it",
            file.display()
        );
    }
    if bus.key_rotation().is_sealed().await? {
        bail!(
            "the secrets on this bus are sealed, and {} does not exist: set secrets.keys_file to \
             the keys file of the \
             nodes that run already",
            file.display()
        );
    }
    make(&file)?;
    let keys = read(&file)?.context("the keys file vanished")?;
    if let Err(error) = bus.key_rotation().check_keys(&keys).await {
        // Another node was faster and has a file of its own: this one never sealed anything.
        let _ = std::fs::remove_file(&file);
        return Err(error).context(
            "another node made its keys first: set secrets.keys_file to that node's file",
        );
    }
    tracing::info!(file = %file.display(), "made a file with the key that secrets are sealed \
        with; keep a copy");
    Ok(keys)
}

pub(super) fn file(config: &Config) -> PathBuf {
    config
        .secrets
        .keys_file
        .clone()
        .unwrap_or_else(|| config.node.data_dir.join("secrets.keys"))
}

pub(super) fn read(file: &Path) -> anyhow::Result<Option<Keyring>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(
            Keyring::parse(&text).with_context(|| format!("reading {}", file.display()))?,
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Makes the file whole or not at all; one that is there by then stays.
fn make(file: &Path) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let part = file.with_extension(format!("keys.{}", std::process::id()));
        let line = Keyring::new_line(&random_id()).map_err(std::io::Error::other)?;
        let mut open = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        open.write_all(format!("{MADE}\n{line}\n").as_bytes())?;
        open.sync_all()?;
        let linked = std::fs::hard_link(&part, file);
        std::fs::remove_file(&part)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::File::open(folder)?.sync_all(),
        }
    };
    write().with_context(|| format!("making {}", file.display()))
}

pub(super) fn random_id() -> String {
    format!("k{:08x}", rand::random::<u32>())
}
