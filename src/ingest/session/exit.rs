//! Why a session's client stops.

use tokio::sync::watch;

use crate::model::Session;

/// Why a session's client stops, and with it what comes next.
pub(super) enum Exit {
    /// The node stops, or the lease is lost, or the stream takes nothing. Another node goes on, or
    /// this one later.
    HandOver,
    /// The owner deleted the session.
    Deleted(Unlinked),
    /// The owner asked for a restart, or the next try is due.
    Restart,
    /// Only the owner can bring the session back.
    Final,
    /// WhatsApp logged the session out, so its keys are worthless.
    LoggedOut,
    /// WhatsApp refused the login. The keys are kept for the next try.
    Refused,
}

/// Whether WhatsApp has confirmed that the device is off the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlinked {
    Yes,
    No,
}

/// Waits until the owner deletes the session or asks for another generation than this.
pub(super) async fn wait_for_change(
    wanted: &mut watch::Receiver<Session>,
    generation: u32,
) -> Exit {
    loop {
        let changed = wanted.changed().await;
        let session = wanted.borrow_and_update();
        if changed.is_err() || session.is_deleted {
            return Exit::Deleted(Unlinked::No);
        }
        if session.generation != generation {
            return Exit::Restart;
        }
    }
}
