//! The file with the keys that secrets are sealed with.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    bus::{Bus, patiently},
    config::Config,
    wire::Keyring,
};

const FILE_HEADER: &str = "# Keys that seal stored secrets: the first one seals, all of them \
    open. Without this file the secrets are lost.";

/// Permissions that a keys file must not have: writing for the group, anything for others.
const OPEN_TO_OTHERS: u32 = 0o027;

/// The keys of this node. If no file is set, the first node on a bus creates one.
pub(super) async fn keyring(config: &Config, bus: &Bus) -> anyhow::Result<Keyring> {
    let file = file(config);
    if let Some(keys) = read(&file)? {
        patiently(async || bus.key_rotation().check_keys(&keys).await)
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
    if patiently(async || bus.key_rotation().is_sealed().await).await? {
        bail!(
            "the secrets on this bus are sealed, and {} does not exist: set secrets.keys_file to \
             the keys file of the running nodes",
            file.display()
        );
    }
    make(&file)?;
    let keys = read(&file)?.context("the keys file was removed while it was created")?;
    let checked = patiently(async || bus.key_rotation().check_keys(&keys).await).await;
    if let Err(error) = checked {
        // Another node created its file first. The key of this file has not sealed anything.
        let _ = std::fs::remove_file(&file);
        return Err(error).context(
            "another node created its keys first: set secrets.keys_file to that node's file",
        );
    }
    tracing::info!(path = %file.display(), "created a file with the key that seals secrets; keep \
        a copy");
    Ok(keys)
}

pub(super) fn file(config: &Config) -> PathBuf {
    config
        .secrets
        .keys_file
        .clone()
        .unwrap_or_else(|| config.node.data_dir.join("secrets.keys"))
}

/// The keys of a file; `None` if it does not exist.
///
/// # Errors
/// When it cannot be read, holds something else, or users beyond its owner and group can read it,
/// or others than its owner can write it. The group may read it: that is how Kubernetes hands
/// files to a user who is not root.
pub(super) fn read(file: &Path) -> anyhow::Result<Option<Keyring>> {
    let shown = file.display();
    let mut open = match std::fs::File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("reading {shown}"))?,
    };
    let mode = open.metadata()?.mode() & 0o777;
    if mode & OPEN_TO_OTHERS != 0 {
        bail!(
            "{shown} has mode {mode:o}, so that others can read or change the keys that seal all \
             secrets: run `chmod 600 {shown}`"
        );
    }
    let mut text = String::new();
    open.read_to_string(&mut text)
        .with_context(|| format!("reading {shown}"))?;
    let keys = Keyring::parse(&text).with_context(|| format!("reading {shown}"))?;
    Ok(Some(keys))
}

/// Creates the file in one step. A file that exists by then stays.
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
        open.write_all(format!("{FILE_HEADER}\n{line}\n").as_bytes())?;
        open.sync_all()?;
        let linked = std::fs::hard_link(&part, file);
        std::fs::remove_file(&part)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::File::open(folder)?.sync_all(),
        }
    };
    write().with_context(|| format!("creating {}", file.display()))
}

pub(super) fn random_id() -> String {
    format!("k{:08x}", rand::random::<u32>())
}
