//! Telling whether the holder of a session's lease on this machine is dead.
//!
//! A process that is killed leaves its leases behind, and its successor would wait ten seconds for
//! them to expire. But the kernel drops a process's file locks with the process. So a node that
//! runs a session locks a file beside it, and writes into the lease which kernel keeps that lock. A
//! process on the same kernel that gets the lock knows that the holder is dead, and may take the
//! lease at once. Its new, higher epoch fences off what of the holder may still run, like the rest
//! of a task that panicked.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::files;
use crate::model::SessionId;

/// Linux makes a new id at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The lock on one session's files. The kernel drops it with the process.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes the lock unless it is held, and creates its file when it is missing.
    pub(super) fn take(folder: &Path, id: SessionId) -> Option<Self> {
        Self::take_with(OpenOptions::new().create(true), folder, id)
    }

    /// Takes the lock unless it is held or its file is missing.
    pub(super) fn take_existing(folder: &Path, id: SessionId) -> Option<Self> {
        Self::take_with(&mut OpenOptions::new(), folder, id)
    }

    fn take_with(options: &mut OpenOptions, folder: &Path, id: SessionId) -> Option<Self> {
        let path = files::lock(folder, id);
        let opened = options.write(true).truncate(false).mode(0o600).open(&path);
        match opened.and_then(|file| file.try_lock().map(|()| file).map_err(Into::into)) {
            Ok(file) => Some(Self(file)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => {
                None
            }
            Err(error) => {
                // Without the lock the session is taken over later, but as safely.
                tracing::debug!(%error, path = %path.display(), "no lock");
                None
            }
        }
    }
}

/// How this node names itself in leases.
pub(super) struct NodeIdentity {
    kernel: Option<String>,
    own: String,
}

impl NodeIdentity {
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

    /// A name that no other node has, also not one of the same machine.
    pub(super) fn name(&self) -> &str {
        &self.own
    }

    /// What goes into a lease. It names the kernel only if this node has the session's lock.
    pub(super) fn lease_value(&self, lock: Option<&Lock>) -> String {
        match (&self.kernel, lock) {
            (Some(kernel), Some(_)) => format!("{kernel}/{}", self.own),
            _ => self.own.clone(),
        }
    }

    /// Whether the holder of a lease is dead, given that this node has the session's lock.
    pub(super) fn holder_is_dead(&self, holder: &str, _lock: &Lock) -> bool {
        let kernel = holder.split_once('/').map(|(kernel, _)| kernel);
        kernel.is_some() && kernel == self.kernel.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn on(kernel: Option<&str>) -> NodeIdentity {
        NodeIdentity {
            kernel: kernel.map(str::to_owned),
            own: "1-2".to_owned(),
        }
    }

    #[test]
    fn lock_is_refused_while_another_handle_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = SessionId(Uuid::now_v7());
        assert!(
            Lock::take_existing(folder.path(), id).is_none(),
            "never run here"
        );
        let first = Lock::take(folder.path(), id).expect("nobody has it");
        assert!(
            Lock::take(folder.path(), id).is_none(),
            "a second file handle is another owner"
        );
        drop(first);
        assert!(Lock::take_existing(folder.path(), id).is_some());
    }

    #[test]
    fn holder_is_dead_only_if_its_lease_names_this_kernel() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = Lock::take(folder.path(), SessionId(Uuid::now_v7())).expect("nobody has it");

        let here = on(Some("a"));
        assert!(here.holder_is_dead(&here.lease_value(Some(&lock)), &lock));
        assert!(
            !here.holder_is_dead(&here.lease_value(None), &lock),
            "it held no lock: its absence says nothing"
        );
        assert!(
            !here.holder_is_dead(&on(Some("b")).lease_value(Some(&lock)), &lock),
            "another machine's locks are its own"
        );
        assert!(!here.holder_is_dead(&on(None).lease_value(Some(&lock)), &lock));
    }
}
