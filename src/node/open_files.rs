//! How many files and connections the process may have open.

#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Idle connections to endpoints, where the limit of open files does not ask for fewer.
const IDLE_CONNECTIONS_MAX: usize = 4096;

/// Raises the soft limit of open files to the hard one. Shells and systemd set a soft limit of 1024
/// for the sake of old programs; every endpoint needs a connection.
#[cfg(target_os = "linux")]
pub(super) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = before.current, "the limit of open files cannot be raised");
        return;
    }
    // `None` means that there is no limit.
    let shown = |limit: Option<u64>| limit.map_or("none".to_owned(), |files| files.to_string());
    tracing::info!(
        limit_before = shown(before.current),
        limit = shown(before.maximum),
        "the limit of open files"
    );
}

#[cfg(not(target_os = "linux"))]
pub(super) fn raise_limit() {}

/// A quarter of the open files may be idle connections.
pub(super) fn idle_connections_max() -> usize {
    limit()
        .and_then(|files| usize::try_from(files / 4).ok())
        .map_or(IDLE_CONNECTIONS_MAX, |quarter| {
            quarter.min(IDLE_CONNECTIONS_MAX)
        })
}

#[cfg(target_os = "linux")]
fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
fn limit() -> Option<u64> {
    None
}
