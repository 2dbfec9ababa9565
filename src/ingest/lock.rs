//! Whether whoever held a session's lease on this machine is dead.
//!
//! A process that is killed leaves its leases behind, and its successor would wait ten seconds for
//! their end. But the kernel drops a process's file locks with the process. So whoever runs a
//! session holds a lock on a file beside it, and writes into the lease which kernel keeps that
//! lock. A process on the same kernel that gets the lock knows that the holder is gone, and may
//! take the lease at once; its new, higher epoch fences what of the holder may still be running,
//! like the remains of a task that panicked.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::files;
use crate::model::SessionId;

/// Linux makes a new one at every boot of a kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The lock on one session's files; dropped with the process at the latest.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes the lock unless another holds it, on a file that is there already unless `create`.
    pub(super) fn take(folder: &Path, id: SessionId, create: bool) -> Option<Self> {
        let path = files::lock(folder, id);
        let opened = OpenOptions::new()
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        match opened.and_then(|file| file.try_lock().map(|()| file).map_err(Into::into)) {
            Ok(file) => Some(Self(file)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => {
                None
            }
            Err(error) => {
                // Without it the session is taken over later, not less safely.
                tracing::debug!(%error, file = %path.display(), "no lock");
                None
            }
        }
    }
}

/// How this node names itself in leases.
pub(super) struct Name {
    kernel: Option<String>,
    own: String,
}

impl Name {
    pub(super) fn new() -> Self {
        let kernel = std::fs::read_to_string(BOOT_ID)
            .ok()
            .map(|id| id.trim().to_owned());
        let kernel = kernel.filter(|id| !id.is_empty());
        Self {
            kernel,
            own: format!("{}-{}", std::process::id(), rand::random::<u32>()),
        }
    }

    /// What goes into a lease. Only with the lock may the kernel be named.
    pub(super) fn holding(&self, lock: Option<&Lock>) -> String {
        match (&self.kernel, lock) {
            (Some(kernel), Some(_)) => format!("{kernel}/{}", self.own),
            _ => self.own.clone(),
        }
    }

    /// Whether the holder of a lease is dead, now that this node has the session's lock.
    pub(super) fn outlives(&self, holder: &str, _lock: &Lock) -> bool {
        let kernel = holder.split_once('/').map(|(kernel, _)| kernel);
        kernel.is_some() && kernel == self.kernel.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = SessionId(Uuid::now_v7());
        assert!(
            Lock::take(folder.path(), id, false).is_none(),
            "never run here"
        );
        let first = Lock::take(folder.path(), id, true).expect("nobody has it");
        assert!(
            Lock::take(folder.path(), id, true).is_none(),
            "a second file handle is another owner"
        );
        drop(first);
        assert!(Lock::take(folder.path(), id, false).is_some());
    }

    #[test]
    fn only_who_held_the_lock_on_this_kernel_is_outlived() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock =
            Lock::take(folder.path(), SessionId(Uuid::now_v7()), true).expect("nobody has it");
        let on = |kernel: Option<&str>| Name {
            kernel: kernel.map(str::to_owned),
            own: "1-2".to_owned(),
        };
        let here = on(Some("a"));
        assert!(here.outlives(&here.holding(Some(&lock)), &lock));
        assert!(
            !here.outlives(&here.holding(None), &lock),
            "it held no lock: its absence says nothing"
        );
        assert!(
            !here.outlives(&on(Some("b")).holding(Some(&lock)), &lock),
            "another machine's locks are its own"
        );
        assert!(!here.outlives(&on(None).holding(Some(&lock)), &lock));
    }
}
