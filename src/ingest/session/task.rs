//! One session's task on this node, from its lease to its end.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument as _;

use super::{
    client::ClientSetup,
    exit::{Exit, Unlinked, wait_for_change},
    live::{Live, Scope, status_ticks},
    status::StatusWriter,
    unlink::delete,
};
use crate::{
    bus::{self, Lease},
    ingest::{context::Context, lock::Lock},
    model::{Session, SessionState},
    tasks::{TaskKind, Tasks},
};

/// The wait after a refused login; it doubles with each further refusal. Many logins in a row are
/// themselves a reason for WhatsApp to refuse.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);
const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// What a session runs with.
pub(in crate::ingest) struct SessionTask {
    pub(in crate::ingest) context: Arc<Context>,
    pub(in crate::ingest) wanted: watch::Receiver<Session>,
    pub(in crate::ingest) lease: Arc<Lease>,
    /// Held until the lease is given back. The kernel drops it when the process dies.
    pub(in crate::ingest) lock: Option<Lock>,
    pub(in crate::ingest) tasks: Tasks,
    pub(in crate::ingest) cancel: CancellationToken,
}

impl SessionTask {
    /// Runs until this node stops, the lease is lost, or the session is deleted.
    pub(in crate::ingest) async fn run(mut self) -> anyhow::Result<()> {
        let session = self.wanted.borrow().clone();
        let lost = CancellationToken::new();
        let renewal = renew(Arc::clone(&self.lease), lost.clone()).in_current_span();
        let renewal = self.tasks.once(TaskKind::LeaseRenewal, renewal);
        let renewal = AbortOnDropHandle::new(renewal);
        let sessions = self.context.bus.sessions();
        let earlier = sessions.status(session.client_id, session.id).await?;
        let mut status = StatusWriter::new(self.context.bus.clone(), session, earlier);
        let result = self.run_clients(&mut status, &lost).await;
        if self.lease.is_valid() && !self.wanted.borrow().is_deleted {
            status.write().await;
        }
        drop(renewal);
        self.lease.release().await;
        drop(self.lock);
        result
    }

    /// Runs one client after another until the session leaves this node.
    async fn run_clients(
        &mut self,
        status: &mut StatusWriter,
        lost: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut unlinked = Unlinked::No;
        let mut pause = None;
        loop {
            let session = self.wanted.borrow_and_update().clone();
            if self.wanted.has_changed().is_err() {
                // The session's key is gone: another node was faster, and has unlinked it.
                return delete(self.setup(&session), status, Unlinked::Yes).await;
            }
            if session.is_deleted {
                return delete(self.setup(&session), status, unlinked).await;
            }
            if !status.is_of(session.generation) {
                if status.state() == SessionState::LoggedOut {
                    status.set_phone(None);
                }
                status.begin(session.generation);
            }
            let exit = if status.state().is_final() {
                self.wait_for_owner(status, lost).await
            } else if let Some(pause) = pause.take() {
                let owner = self.wait_for_owner(status, lost);
                timeout(pause, owner).await.unwrap_or(Exit::Restart)
            } else {
                self.run_client(&session, status, lost).await?
            };
            match exit {
                Exit::HandOver => return Ok(()),
                Exit::Deleted(by_client) => unlinked = by_client,
                Exit::Restart | Exit::Final => {}
                Exit::Refused => {
                    let wait = refusal_pause(status.refusals());
                    status.announce_next_try(wait);
                    pause = Some(wait);
                }
                Exit::LoggedOut => {
                    let storage = &self.context.storage;
                    storage.erase(session.id, &self.lease).await?;
                    status.set_phone(None);
                    status.set_keys_number(None);
                }
            }
        }
    }

    fn setup<'a>(&'a self, session: &'a Session) -> ClientSetup<'a> {
        ClientSetup {
            context: &self.context,
            session,
            lease: &self.lease,
            tasks: &self.tasks,
        }
    }

    /// Connects, and follows the client until something ends it.
    async fn run_client(
        &mut self,
        session: &Session,
        status: &mut StatusWriter,
        lost: &CancellationToken,
    ) -> anyhow::Result<Exit> {
        tokio::select! {
            () = self.context.turn() => {}
            () = self.cancel.cancelled() => return Ok(Exit::HandOver),
        }
        status.begin(session.generation);
        let scope = Scope {
            setup: ClientSetup {
                context: &self.context,
                session,
                lease: &self.lease,
                tasks: &self.tasks,
            },
            context: &self.context,
            status: &mut *status,
            wanted: &mut self.wanted,
            cancel: &self.cancel,
            lost,
        };
        match Live::start(scope).await {
            Ok(live) => Ok(live.run().await),
            Err(error) if is_rolled_back(&error) => {
                tracing::error!(%error, "a session is not connected");
                let reason = "its stored keys are older than those that it used last, and its \
                              contacts could not read what it sends: restore the newer stream \
                              WA_KEYS and restart it, or delete it and link the phone again";
                status.set(SessionState::KeysOutdated, Some(reason.to_owned()));
                Ok(Exit::Final)
            }
            Err(error) => {
                let reason = "the WhatsApp client could not be started; the node's log says why";
                status.set(status.state(), Some(reason.to_owned()));
                Err(error)
            }
        }
    }

    async fn wait_for_owner(
        &mut self,
        status: &mut StatusWriter,
        lost: &CancellationToken,
    ) -> Exit {
        let mut ticks = status_ticks();
        let generation = self.wanted.borrow().generation;
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Exit::HandOver,
                () = lost.cancelled() => return Exit::HandOver,
                exit = wait_for_change(&mut self.wanted, generation) => return exit,
                _ = ticks.tick() => {
                    lost.run_until_cancelled(status.write()).await;
                }
            }
        }
    }
}

fn is_rolled_back(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<bus::Error>();
    matches!(error, Some(bus::Error::KeysRolledBack { .. }))
}

/// How long to wait after the last of several refused logins in a row.
fn refusal_pause(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(31);
    REFUSAL_PAUSE
        .saturating_mul(1 << doublings)
        .min(REFUSAL_PAUSE_MAX)
}

/// Keeps the lease until it is lost.
async fn renew(lease: Arc<Lease>, lost: CancellationToken) {
    // Also when this panics: nothing renews the lease any more.
    let _lost = lost.drop_guard();
    lease.keep().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_with_each_refusal_up_to_its_maximum() {
        let seconds = |refusals| refusal_pause(refusals).as_secs();
        assert_eq!([0, 1, 2, 3, 7].map(seconds), [10, 10, 20, 40, 640]);
        assert_eq!([8, 9, 40, u32::MAX].map(seconds), [900; 4]);
    }
}
