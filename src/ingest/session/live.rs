//! A session while its client runs: events, requests to send, and what ends it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::{bot::BotHandle, types::events::Event};

use super::{
    client::{ClientSetup, Shutdown, stop},
    events::{EVENTS_MAX, EventForwarder, SessionEvent, meaning},
    exit::{Exit, wait_for_change},
    gap::Gap,
    liveness::Liveness,
    status::StatusWriter,
    unlink::{UNLINK_TIMEOUT, unlink},
};
use crate::{
    bus::{SendReply, SendRequests},
    ingest::{
        backfill::History,
        context::Context,
        hook::Publisher,
        send::{Known, SendLimiter},
        storage::{OpenKeys, Opened},
    },
    model::{Pairing, Phone, Session, SessionRequest, SessionState, Timestamp},
    tasks::End,
};

/// How often the status is written, if it has changed.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// How often what was published is stored; well within the time in which the stream drops a second
/// copy of a message.
const SEEN_INTERVAL: Duration = Duration::from_secs(5);

/// What the session's task lends to a running client.
pub(super) struct Scope<'a> {
    pub(super) setup: ClientSetup<'a>,
    pub(super) context: &'a Arc<Context>,
    pub(super) status: &'a mut StatusWriter,
    pub(super) wanted: &'a mut watch::Receiver<Session>,
    /// The node stops.
    pub(super) cancel: &'a CancellationToken,
    /// The lease is lost.
    pub(super) lost: &'a CancellationToken,
}

/// A session whose client runs.
pub(super) struct Live<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) publisher: Publisher,
    keys: OpenKeys,
    pub(super) handle: BotHandle,
    has_ended: bool,
    events: mpsc::Receiver<Arc<Event>>,
    requests: SendRequests,
    pub(super) send_limiter: SendLimiter,
    /// For what is no message and no look-up: it costs WhatsApp little, and must not slow messages.
    pub(super) act_limiter: SendLimiter,
    pub(super) known: Arc<Known>,
    pub(super) history: History,
    pub(super) liveness: Liveness,
    pub(super) gap: Gap,
    /// Messages that are being sent; aborted with the session.
    pub(super) sending: JoinSet<End>,
    ticks: Interval,
    /// When what was published is stored again.
    seen_due: Instant,
}

/// What happens next to a session.
enum Step {
    Leave(Exit),
    /// The stream takes no messages, so WhatsApp is to keep them.
    StreamIsDown,
    /// The session's keys cannot be written any more: nothing that the client does would last.
    KeysAreLost,
    Tick,
    Send(Box<(SessionRequest, SendReply)>),
    Sent,
    Event(Arc<Event>),
    ClientEnded,
}

impl<'a> Live<'a> {
    /// Starts the session's client.
    ///
    /// # Errors
    /// When the client cannot be set up, or the bus does not answer.
    pub(super) async fn start(scope: Scope<'a>) -> anyhow::Result<Self> {
        let Session { client_id, id, .. } = *scope.setup.session;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let publisher = scope.setup.publisher();
        let forwarder = EventForwarder::new(sender, &publisher);
        let linked = scope.status.phone();
        let Opened { backend, keys } = scope.setup.open_keys(scope.status.keys_number()).await?;
        let bot = scope
            .setup
            .bot(backend, linked, publisher.clone(), forwarder);
        let bot = bot.await?;
        let backend = bot.client().persistence_manager().backend();
        let unknown_before = scope.status.unknown_before();
        publisher.seen.load(&*backend, unknown_before).await?;
        let handle = bot.spawn();
        let mut gap = Gap::new(scope.context.settings.gap_check_chats);
        if let Some(newest) = publisher.seen.anchors().first() {
            gap.away(Timestamp::from_millis(newest.at_ms));
        }
        let requests = scope.context.bus.serve_sends(client_id, id).await?;
        let per_minute = scope.context.settings.sends_per_minute;
        Ok(Self {
            scope,
            publisher,
            keys,
            handle,
            has_ended: false,
            events,
            requests,
            send_limiter: SendLimiter::new(per_minute, Instant::now()),
            act_limiter: SendLimiter::new(per_minute, Instant::now()),
            known: Arc::default(),
            history: History::default(),
            liveness: Liveness::new(Instant::now()),
            gap,
            sending: JoinSet::new(),
            ticks: status_ticks(),
            seen_due: Instant::now(),
        })
    }

    /// Follows the client until something ends it, and stops it.
    pub(super) async fn run(mut self) -> Exit {
        let exit = loop {
            let step = self.next_step().await;
            if let Some(exit) = self.take_step(step).await {
                break exit;
            }
        };
        // From now on a request to send is answered at once: no session is there.
        drop(self.requests);
        let exit = match exit {
            Exit::Deleted(_) => Exit::Deleted(unlink(&self.handle.client()).await),
            other => other,
        };
        let backend = self.handle.client().persistence_manager().backend();
        let seen = Arc::clone(&self.publisher.seen);
        self.sending.shutdown().await;
        let shutdown = stop(self.scope.setup.tasks, self.handle).await;
        seen.store(&*backend).await;
        self.keys.close().await;
        let status = self.scope.status;
        status.set_keys_number(self.keys.number());
        let exit = match exit {
            Exit::Restart if shutdown == Shutdown::Unfinished => Exit::HandOver,
            other => other,
        };
        if matches!(exit, Exit::HandOver) && status.state() == SessionState::Connected {
            let reason = "moving to another node".to_owned();
            status.set(SessionState::Reconnecting, Some(reason));
        }
        exit
    }

    /// What ends the session comes first, then what somebody waits for.
    async fn next_step(&mut self) -> Step {
        let generation = self.scope.setup.session.generation;
        tokio::select! {
            biased;
            () = self.scope.cancel.cancelled() => Step::Leave(Exit::HandOver),
            () = self.scope.lost.cancelled() => Step::Leave(Exit::HandOver),
            () = self.publisher.offline.notified() => Step::StreamIsDown,
            _ = self.keys.lost() => Step::KeysAreLost,
            exit = wait_for_change(self.scope.wanted, generation) => Step::Leave(exit),
            _ = self.ticks.tick() => Step::Tick,
            Some(request) = self.requests.next() => Step::Send(Box::new(request)),
            Some(_) = self.sending.join_next() => Step::Sent,
            Some(event) = self.events.recv() => Step::Event(event),
            () = &mut self.handle, if !self.has_ended => Step::ClientEnded,
        }
    }

    /// `Some` when the client is to stop.
    async fn take_step(&mut self, step: Step) -> Option<Exit> {
        match step {
            Step::Leave(exit) => return Some(exit),
            Step::StreamIsDown => {
                let reason = "messages cannot be stored now".to_owned();
                let status = &mut self.scope.status;
                status.set(SessionState::Reconnecting, Some(reason));
                return Some(Exit::HandOver);
            }
            Step::KeysAreLost => return Some(self.on_keys_lost()),
            Step::Tick => {
                // After many failures the client saves nothing any more, and goes on.
                if self.handle.client().persistence_manager().is_saver_halted() {
                    return Some(self.on_keys_lost());
                }
                let last = self.publisher.last_message.load(Ordering::Relaxed);
                let status = &mut self.scope.status;
                status.set_last_message(Timestamp::from_millis(last));
                status.set_keys_number(self.keys.number());
                self.scope.lost.run_until_cancelled(status.write()).await;
                self.store_seen().await;
                self.look_for_gap();
                return self.look_for_silence().await;
            }
            Step::Send(request) => self.send(*request).await,
            Step::Sent => {}
            Step::Event(event) => {
                let lost = self.scope.lost;
                let handled = lost.run_until_cancelled(self.on_event(&event));
                return handled.await.flatten();
            }
            Step::ClientEnded => return self.on_client_end().await,
        }
        None
    }

    /// Stores what was published since the last time.
    async fn store_seen(&mut self) {
        if Instant::now() >= self.seen_due {
            let backend = self.handle.client().persistence_manager().backend();
            self.publisher.seen.store(&*backend).await;
            self.seen_due = Instant::now() + SEEN_INTERVAL;
        }
    }

    fn on_keys_lost(&mut self) -> Exit {
        let reason = "the session's keys cannot be stored now".to_owned();
        self.scope
            .status
            .set(SessionState::Reconnecting, Some(reason));
        Exit::HandOver
    }

    /// The client has ended by itself. The event that says why may still be in the queue.
    async fn on_client_end(&mut self) -> Option<Exit> {
        self.has_ended = true;
        let mut exit = None;
        while let Ok(event) = self.events.try_recv() {
            exit = exit.or(self.on_event(&event).await);
        }
        if exit.is_some() {
            return exit;
        }
        // A session whose code was not used in time waits for its owner. Any other is started
        // again.
        let is_pairing = self.scope.status.state() == SessionState::Pairing;
        (!is_pairing).then_some(Exit::HandOver)
    }

    /// `Some` when the client is to stop.
    async fn on_event(&mut self, event: &Event) -> Option<Exit> {
        self.note_life(event);
        match meaning(event) {
            SessionEvent::Pairing {
                method,
                code,
                valid_for,
            } => {
                let expires_at = self.scope.status.now().after(valid_for);
                let pairing = Pairing {
                    method,
                    code,
                    expires_at,
                };
                self.show_code(pairing).await;
                None
            }
            SessionEvent::Paired(phone) => self.on_paired(phone).await,
            SessionEvent::State(state, reason) => self.on_state(state, reason).await,
            SessionEvent::Remark(remark) => {
                tracing::warn!("{remark}");
                let status = &mut self.scope.status;
                status.set(status.state(), Some(remark));
                None
            }
            SessionEvent::BypassedHook(batch) => {
                self.publish_bypassed(&batch).await;
                None
            }
            SessionEvent::Unreadable(message) => {
                self.publish_unreadable(&message).await;
                None
            }
            SessionEvent::History(page) => {
                self.history.page(&page);
                None
            }
            SessionEvent::Receipt(receipt) => {
                self.publish_receipt(&receipt).await;
                None
            }
            SessionEvent::Nothing => None,
        }
    }

    /// The client makes QR codes for every pairing. They are shown only if the owner asked for
    /// them.
    async fn show_code(&mut self, pairing: Pairing) {
        if pairing.method != self.scope.setup.session.method {
            return;
        }
        let status = &mut self.scope.status;
        status.set(SessionState::Pairing, None);
        status.set_pairing(pairing);
        status.write().await;
    }

    async fn on_paired(&mut self, phone: Option<Phone>) -> Option<Exit> {
        let expected = self.scope.setup.session.phone.as_ref();
        let status = &mut self.scope.status;
        let is_expected = |expected: &Phone| {
            let linked = phone.as_ref();
            linked.is_some_and(|linked| linked.is_same_account(expected))
        };
        if expected.is_none_or(is_expected) {
            status.set_phone(phone);
            return None;
        }
        let _ = timeout(UNLINK_TIMEOUT, self.handle.client().logout()).await;
        let reason = "a phone with another number was linked, and unlinked again".to_owned();
        status.set(SessionState::LoggedOut, Some(reason));
        Some(Exit::LoggedOut)
    }

    async fn on_state(&mut self, state: SessionState, reason: Option<String>) -> Option<Exit> {
        let status = &mut self.scope.status;
        match state {
            // A closed connection is no news while a code waits to be used.
            SessionState::Reconnecting if status.state() == SessionState::Pairing => return None,
            // Its owner is to see why the connection was closed until there is another.
            SessionState::Reconnecting if status.state() == SessionState::Silent => return None,
            SessionState::Connected => {
                let jid = self.handle.client().pn();
                status.set_phone(jid.and_then(|jid| jid.user.parse().ok()));
            }
            SessionState::Outdated => self.scope.context.forget_version().await,
            _ => {}
        }
        status.set(state, reason);
        status.write().await;
        match state {
            SessionState::LoggedOut => Some(Exit::LoggedOut),
            SessionState::Refused => Some(Exit::Refused),
            state => state.is_final().then_some(Exit::Final),
        }
    }
}

/// When the status is written. After a slow write the next one waits for a whole interval.
pub(super) fn status_ticks() -> Interval {
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
