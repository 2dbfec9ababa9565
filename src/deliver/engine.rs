//! Decides about one message and does it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    chat::{Came, Head, Lines, Place, Ticket},
    health,
    limiter::{Lane, Lanes, Park, Turn},
    results::Settled,
    route::{self, Read, Route},
    shared::Shared,
    steps,
};
use crate::{
    bus::{Error, Incoming, Work},
    model::{Attempt, Delivery, Priority, Timestamp, Verdict, Webhook},
    policy::{self, Backoff, RetryPolicy},
    telemetry,
    wire::{self, DeadLetter},
};

/// Until a message that could not join its line tries again.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);

/// Messages of one loop in memory at once.
pub(super) const SLOTS: usize = 512;

/// Waiters of one lane that a loop bears when the lane hardly moves.
const CROWD: usize = SLOTS / 4;

/// How the message is to be settled.
pub(super) enum Settle {
    /// All is done and durable.
    Ack,
    /// Nothing was done: another node shall.
    GiveBack,
    /// Nothing was done, and it cannot be done soon.
    GiveBackLater,
    /// Nothing was done, and another node may be doing it.
    Forget,
    /// It can never be read.
    Undecodable,
    /// Ack it once this is durable. The permit is kept until then, so that no more than
    /// `in_flight_max` requests are made again when this node dies.
    Publish(Box<Attempt>, Option<OwnedSemaphorePermit>),
}

/// One partition's deliveries, whichever loop brings them.
pub(super) struct Engine {
    shared: Arc<Shared>,
    lanes: Lanes,
    lines: Arc<Lines>,
    schedule: Backoff,
    cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let settings = &shared.deliver;
        let schedule = Backoff {
            base: settings.retry_base,
            jitter: settings.retry_jitter,
            max: settings.retry_max,
        };
        Self {
            lanes: Lanes::new(settings.clone(), CROWD, shared.tasks.clone()),
            lines: Arc::default(),
            schedule,
            shared,
            cancel,
        }
    }

    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }

    /// The partition was another node's until now.
    pub(super) fn taken_over(&self) {
        self.lanes.taken_over(Instant::now());
    }

    /// Waits until more may be taken up, or no more: retries of new messages would have to be
    /// stored.
    pub(super) async fn room(&self, work: Work, wanted: bool) {
        if work == Work::Message {
            // An error means that the node ends.
            let _ = self
                .shared
                .room
                .subscribe()
                .wait_for(|room| *room == wanted)
                .await;
        } else if !wanted {
            std::future::pending::<()>().await;
        }
    }

    /// Where attempts go that are over.
    pub(super) fn results(&self) -> &mpsc::Sender<Settled> {
        &self.shared.results
    }

    /// See [`Membership::term`](crate::bus::Membership::term).
    pub(super) fn term(&self) -> u64 {
        self.shared.membership.term()
    }

    /// Returns once no other node can take this one for dead.
    pub(super) async fn current(&self) {
        self.shared.membership.current().await;
    }

    /// When this node's last silence began, and whether what lay here through it may be handed out
    /// elsewhere by now.
    pub(super) fn last_silence(&self) -> Option<(Instant, bool)> {
        let since = self.shared.membership.silent_since()?;
        Some((since, self.is_stale(since)))
    }

    /// Whether what lies here since then may have been handed out elsewhere.
    pub(super) fn is_stale(&self, since: Instant) -> bool {
        since.elapsed() * 2 >= self.shared.ack_wait
    }

    /// What a message is.
    pub(super) fn read(&self, work: Work, incoming: &Incoming) -> Read {
        route::read(&self.shared.bus, work, incoming.payload())
    }

    /// A message's turn in its chat, where that matters. To be taken in the order in which messages
    /// come.
    pub(super) fn ticket(&self, read: &Read) -> Option<Ticket> {
        let (webhook, chat) = match read {
            Read::Message(message, Some(webhook)) => (webhook.id, steps::line(message, webhook)),
            Read::Delivery(delivery) => (delivery.webhook_id, delivery.chat.clone()),
            Read::Message(_, None) | Read::Undecodable => return None,
        };
        (!chat.is_empty()).then(|| self.lines.ticket(webhook, &chat))
    }

    /// Takes a message as far as it can go now. On an error nothing that matters is lost by trying
    /// it all again.
    ///
    /// Thousands wait here for their turn: what may follow that is boxed, so that they do not hold
    /// its room already.
    pub(super) async fn process(
        &self,
        read: Read,
        incoming: &Incoming,
        ticket: Option<Ticket>,
    ) -> Result<Settle, Error> {
        let work = if matches!(read, Read::Delivery(_)) {
            Work::Retry
        } else {
            Work::Message
        };
        let came = Came::new(work, incoming);
        let (delivery, webhook) =
            match Box::pin(route::route(&self.shared.bus, read, incoming.published_at)).await? {
                Route::To(delivery, webhook) => (delivery, webhook),
                Route::Undecodable => return Ok(Settle::Undecodable),
                Route::Gone(delivery) => {
                    Box::pin(self.shared.bus.dequeue(&delivery, came.again)).await?;
                    return Ok(publish(steps::gone(delivery, now())));
                }
                Route::Unrouted => {
                    telemetry::unrouted();
                    return Ok(Settle::Ack);
                }
            };
        if !webhook.wants(&delivery.kind) {
            // What is new and was never handed out cannot be in line.
            if work == Work::Retry || came.again {
                Box::pin(self.shared.bus.dequeue(&delivery, came.again)).await?;
            }
            return Ok(Settle::Ack);
        }
        if came.again && Box::pin(self.shared.bus.is_recorded(&delivery)).await {
            telemetry::spared();
            return Ok(Settle::Ack);
        }
        let head = match ticket {
            Some(ticket) if !delivery.chat.is_empty() => {
                match Box::pin(ticket.place(&self.shared.bus, &delivery, came)).await? {
                    Place::Go(head) => Some(head),
                    Place::Queued => {
                        return Ok(steps::in_line(delivery, now()).map_or(Settle::Ack, publish));
                    }
                    Place::Surplus => return Ok(Settle::Ack),
                    Place::UnderWay => return Ok(Settle::GiveBackLater),
                    Place::NoRoom => return Box::pin(self.put_off(&delivery)).await,
                }
            }
            _ => None,
        };
        // It may have been paused while this one waited for its place.
        let known = head.is_some().then(|| {
            self.shared
                .bus
                .registry()
                .cached_by_phone(delivery.client_id, &delivery.phone)
        });
        let webhook = known
            .flatten()
            .filter(|known| known.id == webhook.id)
            .unwrap_or(webhook);
        // Only now, so that what is held is in the order of its chat.
        if !webhook.takes_deliveries() {
            return Box::pin(self.hold(delivery, work, incoming, head)).await;
        }
        let lane = self.lanes.of(&webhook);
        let turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Settle::GiveBack),
            turn = lane.turn(delivery.priority) => turn,
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(park) => return Box::pin(self.park(&delivery, park, head)).await,
        };
        let permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Settle::GiveBack),
            permit = self.place(delivery.priority) => permit,
        };
        let Some(permit) = permit else {
            return Box::pin(self.park(&delivery, lane.park("node", delivery.priority), head))
                .await;
        };
        // Others may take this node for dead: first they must see that it lives.
        if timeout(
            self.shared.deliver.lane_wait,
            self.shared.membership.current(),
        )
        .await
        .is_err()
        {
            return Ok(Settle::GiveBackLater);
        }
        if let Err(park) = lane.still(&turn, delivery.priority) {
            return Box::pin(self.park(&delivery, park, head)).await;
        }
        // What lay here for that long was handed out elsewhere.
        if !incoming.is_ours(
            self.shared
                .ack_wait
                .saturating_sub(self.shared.deliver.timeout),
        ) {
            if let Some(head) = head {
                head.forsake();
            }
            return Ok(Settle::Forget);
        }
        if self.cancel.is_cancelled() {
            return Ok(Settle::GiveBack);
        }
        let (attempt, verdict) = Box::pin(self.attempt(delivery, &webhook, &lane, turn)).await;
        Box::pin(self.follow(&attempt, verdict, head, came.again)).await?;
        Ok(Settle::Publish(Box::new(attempt), Some(permit)))
    }

    /// A place among the requests of this node; half of them are for live traffic alone.
    async fn place(&self, priority: Priority) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.shared.permits);
        let most = self.shared.deliver.in_flight_max;
        match priority {
            Priority::Low if permits.available_permits() <= most / 2 => None,
            Priority::Low => permits.try_acquire_owned().ok(),
            Priority::Normal => timeout(self.shared.deliver.lane_wait, permits.acquire_owned())
                .await
                .ok()?
                .ok(),
        }
    }

    /// Keeps the bytes of what nobody can read.
    pub(super) async fn keep_undecodable(
        &self,
        work: Work,
        incoming: &Incoming,
    ) -> Result<(), Error> {
        self.shared
            .bus
            .undecodable(
                work.stream(),
                incoming.sequence,
                incoming.subject(),
                incoming.payload(),
            )
            .await
    }

    async fn attempt(
        &self,
        delivery: Delivery,
        webhook: &Webhook,
        lane: &Lane,
        turn: Turn,
    ) -> (Attempt, Verdict) {
        let started_at = now();
        let number = delivery.attempt_count.saturating_add(1);
        let headers = wire::request_headers(
            webhook,
            delivery.event_id,
            number,
            started_at,
            &delivery.body,
        );
        let answer = {
            let _under_way = UnderWay::new();
            let egress = &self.shared.egress;
            egress
                .post(
                    lane.target(webhook, egress),
                    &headers,
                    delivery.body.clone(),
                )
                .await
        };
        let opened = lane.ended(turn, answer.latency, steps::ails(answer.outcome));
        telemetry::attempt(answer.outcome, answer.latency);
        let now = now();
        let asked = answer
            .retry_after
            .as_deref()
            .and_then(|text| policy::parse_retry_after(text, now));
        let tries = delivery.attempts_this_round.saturating_add(1);
        let plan = match &webhook.retry_schedule[..] {
            [] => RetryPolicy::Doubling(webhook.max_retries, &self.schedule),
            listed => RetryPolicy::Listed(listed, &self.schedule),
        };
        let verdict = policy::verdict(
            answer.outcome,
            tries,
            &plan,
            asked,
            now,
            rand::random::<f64>(),
        );
        // What is replayed may be weeks old, which is no delay.
        if verdict == Verdict::Delivered && delivery.priority == Priority::Normal {
            telemetry::end_to_end(now.since(delivery.created_at));
        }
        let health = health::Sign::of(verdict, opened);
        self.shared.health.note(webhook, health, now).await;
        (
            steps::attempt(delivery, answer, verdict, started_at),
            verdict,
        )
    }

    /// What the verdict asks for, durable before the attempt is. `again`: the message was handed
    /// out before, and that time may have ended between parking the next try and the
    /// acknowledgement.
    async fn follow(
        &self,
        attempt: &Attempt,
        verdict: Verdict,
        head: Option<Head>,
        again: bool,
    ) -> Result<(), Error> {
        if again && !matches!(verdict, Verdict::Retry { .. }) {
            self.shared.bus.unpark(&attempt.delivery).await?;
        }
        if let (Some(head), Verdict::Retry { .. }) = (&head, verdict) {
            head.later(&self.shared.bus).await?;
        }
        match verdict {
            Verdict::Delivered => {}
            Verdict::Retry { at } => {
                self.shared
                    .bus
                    .park(&steps::next(&attempt.delivery), at)
                    .await?;
                telemetry::parked("retry");
            }
            Verdict::Failed { .. } => {
                let reason = attempt
                    .error
                    .clone()
                    .unwrap_or_else(|| attempt.outcome.as_str().to_owned());
                let delivery = steps::next(&attempt.delivery);
                let letter = DeadLetter {
                    delivery,
                    reason,
                    http_status: attempt.http_status,
                    at: attempt.ended_at(),
                };
                self.shared.bus.dead_letter(&letter).await?;
                telemetry::dead_letter(attempt.outcome.as_str());
                self.shared.notices.dead_letter(&attempt.delivery);
            }
        }
        if let Some(head) = head
            && !matches!(verdict, Verdict::Retry { .. })
        {
            head.done(&self.shared.bus, again).await?;
        }
        Ok(())
    }

    async fn park(
        &self,
        delivery: &Delivery,
        park: Park,
        head: Option<Head>,
    ) -> Result<Settle, Error> {
        if let Some(head) = &head {
            head.later(&self.shared.bus).await?;
        }
        let at = now().after(park.at.saturating_duration_since(Instant::now()));
        self.shared.bus.park(delivery, at).await?;
        telemetry::parked(park.cause);
        Ok(Settle::Ack)
    }

    /// There is no room in the stream for those who wait behind others: it waits by itself.
    async fn put_off(&self, delivery: &Delivery) -> Result<Settle, Error> {
        self.shared
            .bus
            .park(delivery, now().after(NO_ROOM_PAUSE))
            .await?;
        telemetry::parked("line_full");
        Ok(Settle::Ack)
    }

    async fn hold(
        &self,
        delivery: Delivery,
        work: Work,
        incoming: &Incoming,
        head: Option<Head>,
    ) -> Result<Settle, Error> {
        self.shared
            .bus
            .hold(&delivery, work, incoming.sequence)
            .await?;
        telemetry::held();
        // The next of its chat comes here, too, and is held behind it.
        if let Some(head) = head {
            head.done(&self.shared.bus, incoming.deliveries > 1).await?;
        }
        // Its owner may have resumed it, and what was held released, between our look and the hold:
        // look again.
        let webhook = self
            .shared
            .bus
            .registry()
            .fetch_by_phone(delivery.client_id, &delivery.phone)
            .await?;
        let its = webhook
            .filter(|webhook| webhook.id == delivery.webhook_id && webhook.takes_deliveries());
        if let Some(webhook) = its {
            self.shared
                .bus
                .registry()
                .want_release(&webhook, now())
                .await?;
        }
        Ok(steps::held(delivery, now()).map_or(Settle::Ack, publish))
    }
}

fn publish(attempt: Attempt) -> Settle {
    Settle::Publish(Box::new(attempt), None)
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Counts a request as under way, whatever ends it.
struct UnderWay;

impl UnderWay {
    fn new() -> Self {
        telemetry::inflight(1);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        telemetry::inflight(-1);
    }
}
