//! The folder `node.data_dir`: created for its user alone, and locked by `wahook dev`.
//!
//! Of all commands only `dev` needs the folder for itself: two nats-servers on one JetStream store
//! destroy each other's messages. Roles that `serve` share a folder without harm. They write only
//! the keys file there, and that in one step.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

const LOCK_FILE: &str = "lock";
/// Digits of a process id, with its line break.
const PID_BYTES_MAX: u64 = 20;
/// How long to wait for the lock. A process that was killed a moment ago still has it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The same if the holder is seen to be ending.
const ENDING_TIMEOUT: Duration = Duration::from_secs(15);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Permissions of anyone but the user.
const OTHERS: u32 = 0o077;

/// A locked folder. The kernel drops the lock with the process, however that ends.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// When another process has the lock: says which, and what to do.
    pub(super) async fn lock(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        create_private_folder(folder)?;
        // The paths of a server's settings must name this folder, wherever that server was started.
        let path = folder
            .canonicalize()
            .with_context(|| format!("node.data_dir {shown}"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .with_context(|| {
                format!("node.data_dir {shown}: name a folder in which files can be created")
            })?;
        wait_for_lock(&mut file, folder).await?;
        warn_if_open(&path)?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("writing {}", path.join(LOCK_FILE).display()))?;
        Ok(Self { path, _lock: file })
    }

    /// The absolute path, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks the file.
///
/// # Errors
/// When another process keeps the lock: names it, and says what to do.
async fn wait_for_lock(file: &mut File, folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| {
                    format!("node.data_dir {shown} cannot be locked: use a local file system")
                });
            }
        }
        let holder = read_holder(file);
        let limit = match is_ending(&holder) {
            true => ENDING_TIMEOUT,
            false => LOCK_TIMEOUT,
        };
        if started.elapsed() > limit {
            bail!(
                "node.data_dir {shown} is in use by `wahook dev` with process id {holder}: stop \
                 that one, or set node.data_dir, store.path, whatsapp.sessions_dir, nats.url, \
                 api.listen and admin.listen to others"
            );
        }
        sleep(LOCK_POLL_INTERVAL).await;
    }
}

/// The process id that the holder of the lock has written.
fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(PID_BYTES_MAX).read_to_string(&mut holder));
    match read {
        Ok(_) => holder.trim().to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

/// A process that is ending has no command line any longer.
fn is_ending(pid: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline"));
    line.is_ok_and(|line| line.is_empty())
}

/// Creates a folder, and its parents, for this user alone. One that exists stays as it is.
pub(super) fn create_private_folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("creating the folder {}", folder.display()))
}

/// Writes a file that only this user can read, also if it existed with another mode.
pub(super) fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file)?;
        open.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        open.write_all(text.as_bytes())
    };
    write().with_context(|| format!("writing {}", file.display()))
}

/// The folder may be one that the user shares on purpose, so its mode is not changed.
fn warn_if_open(folder: &Path) -> anyhow::Result<()> {
    let mode = folder.metadata()?.permissions().mode();
    if mode & OTHERS != 0 {
        tracing::warn!(
            path = %folder.display(),
            mode = format!("{:o}", mode & 0o777),
            "other users of this machine can look into node.data_dir; `chmod 700` on it ends that"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        let metadata = path.metadata().expect("it exists");
        metadata.permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_folder_is_locked_once_and_again_after_its_holder_ended() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("a/data");
        let first = DataDir::lock(&folder).await.expect("it is free");
        assert_eq!((mode(&folder), mode(&folder.join("lock"))), (0o700, 0o600));

        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("a symbolic link");
        for same in [&folder, &link] {
            let refused = DataDir::lock(same).await.expect_err("it is locked");
            let refused = refused.to_string();
            let holder = format!("process id {}:", std::process::id());
            assert!(refused.contains(&holder), "{refused}");
            assert!(refused.contains("set node.data_dir"), "{refused}");
        }
        drop(first);
        DataDir::lock(&link).await.expect("it is free again");
    }

    #[test]
    fn a_private_file_is_private_whatever_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "a longer text").expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its own");
        write_private(&file, "new").expect("it can be written");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "new");
    }
}
