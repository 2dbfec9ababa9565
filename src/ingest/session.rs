//! One session's life on this node, from its lease to its end.

use std::{
    sync::{Arc, atomic::AtomicI64, atomic::Ordering},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use whatsapp_rust::{
    bot::BotHandle,
    pair_code::PairCodeOptions,
    prelude::{Bot, Client, TokioRuntime},
    transport::TokioWebSocketTransportFactory,
    types::events::Event,
    wacore::{iq::devices::RemoveCompanionDeviceSpec, store::DevicePropsOverride},
    waproto::whatsapp::device_props::PlatformType,
};

use super::{
    Context,
    backend::{Fence, Fenced},
    events::{Forward, Meaning, QUEUE, meaning},
    files,
    hook::Publisher,
    lock::Lock,
    send::{Pace, send},
    status::Board,
};
use crate::{
    bus::{LEASE_TTL, Lease},
    model::{Pairing, PairingMethod, SendOutcome, Session, SessionState, Timestamp},
    tasks::{End, TaskKind, Tasks},
};

/// How often the status is written, when it changed.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Disconnecting flushes keys: the client takes up to 10 s.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(12);
/// How long it may go on with that once nobody waits for it any more.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);
/// Handing one message to WhatsApp: the keys of a new contact, and a file, included.
const SEND_PATIENCE: Duration = Duration::from_secs(8);
/// Telling WhatsApp that the device is gone.
const LOGOUT_PATIENCE: Duration = Duration::from_secs(10);
/// Connecting for no other reason than that.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(20);

/// The wait after a refused login; it doubles with each further refusal. Many logins in a row are
/// themselves a reason for WhatsApp to refuse.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);
const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// Why the client stopped.
enum Ended {
    /// The node stops, or the lease is lost, or the stream takes nothing: another node, or this one
    /// later, goes on.
    Leave,
    /// The owner wants it gone; whether WhatsApp has been told.
    Deleted { is_told: bool },
    /// The owner asked to begin anew.
    Anew,
    /// Only its owner can bring it back.
    Final,
    /// WhatsApp logged it out, so its keys are worthless.
    LoggedOut,
    /// WhatsApp refused the login. The keys are kept for the next try.
    Refused,
}

/// What a session runs with.
pub(super) struct Running {
    pub(super) context: Arc<Context>,
    pub(super) wanted: watch::Receiver<Session>,
    pub(super) lease: Arc<Lease>,
    /// Held until the lease is given back, and dropped by the kernel when the process dies.
    pub(super) lock: Option<Lock>,
    pub(super) tasks: Tasks,
    pub(super) cancel: CancellationToken,
}

impl Running {
    /// Runs until this node is to leave it, or it is deleted.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let session = self.wanted.borrow().clone();
        let lost = CancellationToken::new();
        let renewal = renew(Arc::clone(&self.lease), lost.clone());
        let renewal = self.tasks.once(TaskKind::LeaseRenewal, renewal);
        let renewal = AbortOnDropHandle::new(renewal);
        let registry = self.context.bus.registry().clone();
        let earlier = registry
            .session_status(session.client_id, session.id)
            .await?;
        let mut board = Board::new(self.context.bus.clone(), session.clone(), earlier);
        let mut is_told = false;
        let mut pause = None;
        let result = loop {
            let session = self.wanted.borrow_and_update().clone();
            // The key may be gone already: another node was faster.
            let is_gone = self.wanted.has_changed().is_err();
            if session.is_deleted || is_gone {
                break self.delete(&session, &mut board, is_told || is_gone).await;
            }
            if !board.is_of(session.generation) {
                if board.state() == SessionState::LoggedOut {
                    board.set_phone(None);
                }
                board.begin(session.generation);
            }
            let ended = if board.state().is_final() {
                self.wait_for_owner(&mut board, &lost).await
            } else if let Some(pause) = pause.take() {
                let owner = self.wait_for_owner(&mut board, &lost);
                timeout(pause, owner).await.unwrap_or(Ended::Anew)
            } else {
                match self.live(&session, &mut board, &lost).await {
                    Ok(ended) => ended,
                    Err(error) => {
                        let reason =
                            "the WhatsApp client could not be started; the node's log says why"
                                .to_owned();
                        board.set(board.state(), Some(reason));
                        break Err(error);
                    }
                }
            };
            match ended {
                Ended::Leave => break Ok(()),
                Ended::Deleted { is_told: told } => is_told = told,
                Ended::Anew => {}
                Ended::Refused => {
                    let wait = refusal_pause(board.refusals());
                    board.announce_next_try(wait);
                    pause = Some(wait);
                }
                Ended::LoggedOut => {
                    // Its keys are worth nothing any more, and pairing again needs fresh ones.
                    if let Err(error) = files::erase(&self.context.folder(), session.id) {
                        break Err(error);
                    }
                    board.set_phone(None);
                }
                Ended::Final => {}
            }
        };
        if self.lease.is_valid() && !self.wanted.borrow().is_deleted {
            board.write().await;
        }
        drop(renewal);
        self.lease.release().await;
        drop(self.lock);
        result
    }

    /// Connects, and follows what happens until something ends it.
    async fn live(
        &mut self,
        session: &Session,
        board: &mut Board,
        lost: &CancellationToken,
    ) -> anyhow::Result<Ended> {
        tokio::select! {
            () = self.context.turn() => {}
            () = self.cancel.cancelled() => return Ok(Ended::Leave),
        }
        board.begin(session.generation);
        let (sender, mut events) = mpsc::channel(QUEUE);
        let publisher = self.publisher(session);
        let bot = self
            .bot(session, board, publisher.clone(), Forward(sender))
            .await?;
        let mut handle = bot.spawn();
        let mut is_over = false;
        let mut sends = self
            .context
            .bus
            .serve_sends(session.client_id, session.id)
            .await?;
        let mut pace = Pace::new(self.context.settings.sends_per_minute, Instant::now());
        // Aborted with the session.
        let mut sending = JoinSet::new();
        let mut ticks = status_ticks();
        let ended = loop {
            tokio::select! {
                // What ends it comes first, and what somebody waits for before what is only noted.
                biased;
                () = self.cancel.cancelled() => break Ended::Leave,
                () = lost.cancelled() => break Ended::Leave,
                () = publisher.offline.notified() => {
                    board.set(SessionState::Reconnecting, Some("messages cannot be stored now".to_owned()));
                    break Ended::Leave;
                }
                ended = wish(&mut self.wanted, session.generation) => break ended,
                _ = ticks.tick() => {
                    let last = publisher.last_message.load(Ordering::Relaxed);
                    board.set_last_message(Timestamp::from_millis(last));
                    lost.run_until_cancelled(board.write()).await;
                }
                Some((outgoing, reply)) = sends.next() => match pace.take(Instant::now()) {
                    Ok(at) => {
                        let client = handle.client();
                        let context = Arc::clone(&self.context);
                        let send_it = async move {
                            sleep_until(at).await;
                            let sent = timeout(SEND_PATIENCE, send(&client, &context, &outgoing)).await;
                            // Without an answer whoever asked learns that it is not known.
                            if let Ok(outcome) = sent {
                                reply.answer(&outcome).await;
                            }
                        };
                        self.tasks
                            .once_in(&mut sending, TaskKind::OutboundMessage, send_it);
                    }
                    Err(wait) => {
                        let retry_after_seconds = wait.as_secs() + 1;
                        reply.answer(&SendOutcome::TooFast { retry_after_seconds }).await;
                    }
                },
                Some(_) = sending.join_next() => {}
                Some(event) = events.recv() => {
                    let looked = self.on_event(&event, session, board, &publisher, &handle);
                    let looked = lost.run_until_cancelled(looked).await;
                    if let Some(ended) = looked.flatten() {
                        break ended;
                    }
                }
                () = &mut handle, if !is_over => {
                    is_over = true;
                    // What ended it may still be waiting to be looked at.
                    let mut told = None;
                    while let Ok(event) = events.try_recv() {
                        told = told.or(self.on_event(&event, session, board, &publisher, &handle).await);
                    }
                    if let Some(ended) = told {
                        break ended;
                    }
                    // Without a code that was used in time it waits for its owner; else it is
                    // started anew.
                    if board.state() != SessionState::Pairing {
                        break Ended::Leave;
                    }
                }
            }
        };
        // Who asks to send from now on is told at once that nobody is there.
        drop(sends);
        let ended = match ended {
            Ended::Deleted { .. } => Ended::Deleted {
                is_told: unlink(&handle.client()).await,
            },
            other => other,
        };
        let has_stopped = stop(&self.tasks, handle, session).await;
        let ended = match ended {
            // It may still write: only a new lease fences it off.
            Ended::Anew if !has_stopped => Ended::Leave,
            other => other,
        };
        if matches!(ended, Ended::Leave) && board.state() == SessionState::Connected {
            board.set(
                SessionState::Reconnecting,
                Some("moving to another node".to_owned()),
            );
        }
        Ok(ended)
    }

    fn publisher(&self, session: &Session) -> Publisher {
        Publisher {
            bus: self.context.bus.clone(),
            session: session.clone(),
            media_secret: Arc::clone(&self.context.media_secret),
            patience: self.context.settings.publish_patience,
            offline: Arc::new(Notify::new()),
            last_message: Arc::new(AtomicI64::new(0)),
        }
    }

    async fn bot(
        &self,
        session: &Session,
        board: &Board,
        publisher: Publisher,
        forward: Forward,
    ) -> anyhow::Result<Bot> {
        let settings = &self.context.settings;
        let folder = self.context.folder();
        let epoch = files::epoch(&folder, session.id);
        let fence = Fence::claim(epoch, self.lease.epoch()).context("claiming the files")?;
        let store = (self.context.open)(files::database(&folder, session.id)).await?;
        let props = DevicePropsOverride::new()
            .with_os(&settings.device_name)
            .with_platform_type(PlatformType::CHROME);
        let mut builder = Bot::builder()
            .with_backend(Fenced::new(store, fence))
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(&settings.url))
            .with_http_client(self.context.http.clone())
            .with_runtime(TokioRuntime)
            .with_version(self.context.version().await?)
            .with_device_props(props)
            .skip_history_sync()
            .with_inbound_durability_hook(publisher)
            .with_event_handler(forward);
        if let (PairingMethod::Code, Some(phone), None) =
            (session.method, &session.phone, board.phone())
        {
            let phone_number = phone.as_str().to_owned();
            builder = builder.with_pair_code(PairCodeOptions {
                phone_number,
                ..Default::default()
            });
        }
        builder
            .build()
            .await
            .context("setting up the WhatsApp client")
    }

    /// `Some` when the client is to stop.
    async fn on_event(
        &self,
        event: &Event,
        session: &Session,
        board: &mut Board,
        publisher: &Publisher,
        handle: &BotHandle,
    ) -> Option<Ended> {
        match meaning(event) {
            // A QR code is shown beside every pairing; it is not what was asked for.
            Meaning::Pairing {
                method,
                code,
                valid_for,
            } if method == session.method => {
                let expires_at = Timestamp::from_system(SystemTime::now()).after(valid_for);
                board.set(SessionState::Pairing, None);
                board.set_pairing(Pairing {
                    method,
                    code,
                    expires_at,
                });
                board.write().await;
            }
            Meaning::Paired(phone) => {
                if session.phone.is_some() && session.phone != phone {
                    let _ = timeout(LOGOUT_PATIENCE, handle.client().logout()).await;
                    let reason =
                        "a phone with another number was linked, and unlinked again".to_owned();
                    board.set(SessionState::LoggedOut, Some(reason));
                    return Some(Ended::LoggedOut);
                }
                board.set_phone(phone);
            }
            Meaning::State(state, reason) => {
                // A closed connection is no news while a code waits to be used.
                if state == SessionState::Reconnecting && board.state() == SessionState::Pairing {
                    return None;
                }
                if state == SessionState::Connected {
                    board.set_phone(handle.client().pn().and_then(|jid| jid.user.parse().ok()));
                }
                if state == SessionState::Outdated {
                    self.context.forget_version().await;
                }
                board.set(state, reason);
                board.write().await;
                return match state {
                    SessionState::LoggedOut => Some(Ended::LoggedOut),
                    SessionState::Refused => Some(Ended::Refused),
                    state => state.is_final().then_some(Ended::Final),
                };
            }
            Meaning::Remark(remark) => {
                tracing::warn!(session.id = %session.id, "{remark}");
                board.set(board.state(), Some(remark));
            }
            Meaning::Unhooked(batch) => {
                // WhatsApp will not hand these out again: one attempt is all there is.
                let client = handle.client();
                let published = timeout(
                    publisher.patience,
                    publisher.publish_all(&client, &batch.messages),
                )
                .await;
                if !matches!(published, Ok(Ok(()))) {
                    tracing::error!(session.id = %session.id, "messages outside the hook could \
                        not be published");
                }
            }
            Meaning::Receipt(receipt) => {
                let client = handle.client();
                let published = timeout(
                    publisher.patience,
                    publisher.publish_receipt(&client, &receipt),
                )
                .await;
                if !matches!(published, Ok(Ok(()))) {
                    tracing::error!(session.id = %session.id, "a receipt could not be published");
                }
            }
            Meaning::Pairing { .. } | Meaning::Nothing => {}
        }
        None
    }

    async fn wait_for_owner(&mut self, board: &mut Board, lost: &CancellationToken) -> Ended {
        let mut ticks = status_ticks();
        let generation = self.wanted.borrow().generation;
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ended::Leave,
                () = lost.cancelled() => return Ended::Leave,
                ended = wish(&mut self.wanted, generation) => return ended,
                _ = ticks.tick() => {
                    lost.run_until_cancelled(board.write()).await;
                }
            }
        }
    }

    /// Unlinks the device at WhatsApp, erases the keys, and lets the session disappear.
    async fn delete(
        &self,
        session: &Session,
        board: &mut Board,
        is_told: bool,
    ) -> anyhow::Result<()> {
        let folder = self.context.folder();
        let is_linked = board.phone().is_some() && board.state() != SessionState::LoggedOut;
        if is_linked && !is_told && files::database(&folder, session.id).exists() {
            let farewell = timeout(FAREWELL_PATIENCE, self.farewell(session, board)).await;
            if !matches!(farewell, Ok(Ok(true))) {
                tracing::warn!(session.id = %session.id, "WhatsApp could not be told that a \
                    session is deleted");
            }
        }
        files::erase(&folder, session.id)?;
        self.context
            .bus
            .registry()
            .remove_session(session.client_id, session.id)
            .await?;
        tracing::info!(session.id = %session.id, client.id = %session.client_id, "session deleted");
        Ok(())
    }

    /// Connects a session that nobody ran, to unlink it; whether WhatsApp took that.
    async fn farewell(&self, session: &Session, board: &Board) -> anyhow::Result<bool> {
        let (sender, _events) = mpsc::channel(QUEUE);
        let bot = self
            .bot(session, board, self.publisher(session), Forward(sender))
            .await?;
        let mut handle = bot.spawn();
        let client = handle.client();
        let is_connected = tokio::select! {
            connected = client.wait_for_connected(FAREWELL_PATIENCE) => connected.is_ok(),
            // Refused for good.
            () = &mut handle => false,
        };
        let is_told = is_connected && unlink(&client).await;
        stop(&self.tasks, handle, session).await;
        Ok(is_told)
    }
}

/// Takes the device off the account; whether WhatsApp says that it is done.
async fn unlink(client: &Arc<Client>) -> bool {
    // What follows is an end that WhatsApp was asked for.
    client.enable_auto_reconnect.store(false, Ordering::Relaxed);
    let Some(device) = client.pn().filter(|_| client.is_logged_in()) else {
        return false;
    };
    let request = client.execute(RemoveCompanionDeviceSpec::new(&device));
    matches!(timeout(LOGOUT_PATIENCE, request).await, Ok(Ok(())))
}

/// Disconnects; whether it has stopped. A client that takes longer goes on with that by itself for
/// a while: dropped halfway, it would leave its connection open, and WhatsApp would go on handing
/// out messages to nobody.
async fn stop(tasks: &Tasks, handle: BotHandle, session: &Session) -> bool {
    let stopping = tasks.once(TaskKind::ClientShutdown, async move {
        timeout(SHUTDOWN_MAX, handle.shutdown()).await
    });
    match timeout(SHUTDOWN_PATIENCE, stopping).await {
        Ok(Ok(End::Ok)) => return true,
        Ok(Ok(End::Panic)) => {
            tracing::warn!(session.id = %session.id, "the client panicked while it stopped")
        }
        Ok(_) | Err(_) => {
            tracing::warn!(session.id = %session.id, "the client takes its time to stop")
        }
    }
    false
}

/// How long to wait after the last of several refused logins in a row.
fn refusal_pause(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(31);
    REFUSAL_PAUSE
        .saturating_mul(1 << doublings)
        .min(REFUSAL_PAUSE_MAX)
}

/// When the status is written; no sooner after a write that took long.
fn status_ticks() -> Interval {
    let mut ticks = interval(STATUS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until the owner wants something else than this generation.
async fn wish(wanted: &mut watch::Receiver<Session>, generation: u32) -> Ended {
    loop {
        let changed = wanted.changed().await;
        let now = wanted.borrow_and_update();
        if changed.is_err() || now.is_deleted {
            return Ended::Deleted { is_told: false };
        }
        if now.generation != generation {
            return Ended::Anew;
        }
    }
}

/// Keeps the lease until it is lost.
async fn renew(lease: Arc<Lease>, lost: CancellationToken) {
    // Also when this panics: nobody renews it any more.
    let _lost = lost.drop_guard();
    let mut ticks = interval(LEASE_TTL / 4);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match lease.renew().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if lease.is_valid() => tracing::debug!(%error, "renewing a lease again"),
            Err(_) => break,
        }
    }
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
