//! One endpoint's lane: how many requests at once, how many a second, and when to leave it alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout_at},
};

use crate::{
    config,
    model::{Outcome, Webhook, WebhookId},
    policy::{Admit, Breaker, Limiter},
    telemetry,
};

/// Lanes remembered before idle ones are forgotten.
const LANES_MAX: usize = 100_000;
/// What a request is taken to last before the first one is over.
const LATENCY_GUESS: Duration = Duration::from_millis(250);
/// Part of a new latency in the moving average.
const LATENCY_WEIGHT: f64 = 0.2;
/// A wait so short that a lane may use as many slots as it likes.
const SHORT_WAIT: Duration = Duration::from_millis(50);
/// Otherwise so many deliveries of one lane wait in memory.
const WAITING_MAX: u32 = super::SLOTS as u32 / 4;

/// Why a delivery is parked before an attempt: the label of a metric.
pub(super) type Cause = &'static str;

/// Whether an attempt may be made.
pub(super) enum Turn {
    /// Now, as long as this lives.
    Go(OwnedSemaphorePermit),
    /// Not before this time.
    Park(Duration, Cause),
}

pub(super) struct Lane {
    rate_per_second: u32,
    in_flight: u32,
    permits: Arc<Semaphore>,
    limiter: Limiter,
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    latency: Duration,
    /// When a request last ended, or the first began.
    progress: Instant,
    waiting: u32,
    /// The next free place among the parked.
    next_slot: Instant,
}

/// How long a newcomer would wait behind so many others.
fn expected_wait(waiting: u32, latency: Duration, in_flight: u32, rate_per_second: u32) -> Duration {
    let by_permits = latency.mul_f64(f64::from(waiting) / f64::from(in_flight.max(1)));
    let by_rate = Duration::from_secs_f64(f64::from(waiting) / f64::from(rate_per_second.max(1)));
    by_permits.max(by_rate)
}

/// Counts a waiting delivery for as long as it lives.
struct Waiting<'a>(&'a Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Lane {
    fn new(webhook: &Webhook, settings: &config::Deliver) -> Self {
        let now = Instant::now();
        let in_flight = webhook.in_flight.max(1);
        Self {
            rate_per_second: webhook.rate_per_second,
            in_flight: webhook.in_flight,
            permits: Arc::new(Semaphore::new(in_flight as usize)),
            limiter: Limiter::new(webhook.rate_per_second),
            state: Mutex::new(State {
                breaker: Breaker::new(settings.breaker_failures, settings.breaker_open),
                latency: LATENCY_GUESS,
                progress: now,
                waiting: 0,
                next_slot: now,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, if one is likely within `patience`.
    pub(super) async fn turn(&self, patience: Duration) -> Turn {
        let now = Instant::now();
        let waiting = {
            let mut state = self.state();
            if let Some(wait) = state.breaker.closed_off_for(now) {
                return Turn::Park(self.slot(&mut state, now, wait), "breaker");
            }
            let full = self.permits.available_permits() == 0;
            if !full && state.waiting == 0 {
                state.progress = now;
            }
            // While nothing ends, requests last at least as long as they have lasted by now.
            let latency = if full { state.latency.max(now - state.progress) } else { state.latency };
            let expected = expected_wait(state.waiting, latency, self.in_flight, self.rate_per_second);
            if expected > patience || (expected > SHORT_WAIT && state.waiting >= WAITING_MAX) {
                return Turn::Park(self.slot(&mut state, now, patience), "lane");
            }
            state.waiting += 1;
            Waiting(self)
        };
        let turn = timeout_at((now + patience).into(), self.permit_and_token()).await;
        drop(waiting);
        let now = Instant::now();
        let mut state = self.state();
        let Ok(permit) = turn else { return Turn::Park(self.slot(&mut state, now, patience), "lane") };
        match state.breaker.admit(now) {
            Admit::Go | Admit::Probe => Turn::Go(permit),
            Admit::Wait(wait) => Turn::Park(self.slot(&mut state, now, wait), "breaker"),
        }
    }

    async fn permit_and_token(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        while let Err(wait) = self.limiter.check() {
            sleep(wait).await;
        }
        permit
    }

    /// The next free place among the parked, at least `wait` from now; so they come back at the lane's rate.
    fn slot(&self, state: &mut State, now: Instant, wait: Duration) -> Duration {
        let at = state.next_slot.max(now + wait);
        state.next_slot = at + Duration::from_secs(1) / self.rate_per_second.max(1);
        at - now
    }

    /// Learns from an attempt.
    pub(super) fn ended(&self, outcome: Outcome, latency: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        state.latency = state.latency.mul_f64(1.0 - LATENCY_WEIGHT) + latency.mul_f64(LATENCY_WEIGHT);
        state.progress = now;
        let reached = matches!(
            outcome,
            Outcome::Ok
                | Outcome::Http3xx
                | Outcome::Http4xx
                | Outcome::Gone
                | Outcome::RateLimited
                | Outcome::TryAgain
        );
        if reached {
            state.breaker.success();
        } else if state.breaker.failure(now) {
            telemetry::breaker("open");
        }
    }

    fn fits(&self, webhook: &Webhook) -> bool {
        (self.rate_per_second, self.in_flight) == (webhook.rate_per_second, webhook.in_flight)
    }

    fn is_idle(&self) -> bool {
        self.permits.available_permits() == self.in_flight.max(1) as usize && self.state().waiting == 0
    }
}

/// All lanes of this node.
pub(super) struct Lanes {
    settings: config::Deliver,
    lanes: Mutex<HashMap<WebhookId, Arc<Lane>>>,
}

impl Lanes {
    pub(super) fn new(settings: config::Deliver) -> Self {
        Self { settings, lanes: Mutex::default() }
    }

    /// The webhook's lane; a new one when its settings changed.
    pub(super) fn of(&self, webhook: &Webhook) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&webhook.id).filter(|lane| lane.fits(webhook)) {
            return Arc::clone(lane);
        }
        if lanes.len() >= LANES_MAX {
            lanes.retain(|_, lane| !lane.is_idle());
        }
        let lane = Arc::new(Lane::new(webhook, &self.settings));
        lanes.insert(webhook.id, Arc::clone(&lane));
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_expected_wait_follows_the_narrower_of_permits_and_rate() {
        assert_eq!(expected_wait(0, ms(250), 8, 50), ms(0));
        assert_eq!(expected_wait(80, ms(10), 8, 1_000), ms(100), "permits");
        assert_eq!(expected_wait(80, ms(1), 8, 50), ms(1_600), "rate");
        assert_eq!(expected_wait(8, ms(10_000), 8, 50), ms(10_000), "a hanging endpoint");
    }

    fn lane(rate_per_second: u32, in_flight: u32) -> Lane {
        let settings = config::load(&config::Sources::default()).expect("the defaults are right").config.deliver;
        let settings = config::Deliver { breaker_failures: 2, ..settings };
        let now = crate::model::Timestamp::EPOCH;
        let webhook = Webhook {
            id: WebhookId(uuid::Uuid::nil()),
            client_id: 1.try_into().expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            url: String::new(),
            is_active: true,
            disabled: None,
            max_retries: 3,
            rate_per_second,
            in_flight,
            secrets: Vec::new(),
            metadata: serde_json::Map::new(),
            created_at: now,
            updated_at: now,
        };
        Lane::new(&webhook, &settings)
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_never_exceeded_and_the_next_one_is_parked() {
        let lane = lane(100, 2);
        let first = [lane.turn(ms(100)).await, lane.turn(ms(100)).await];
        assert!(first.iter().all(|turn| matches!(turn, Turn::Go(_))));
        assert!(matches!(lane.turn(ms(100)).await, Turn::Park(_, "lane")));
        drop(first);
        assert!(matches!(lane.turn(ms(100)).await, Turn::Go(_)));
    }

    #[tokio::test]
    async fn the_parked_come_back_one_by_one() {
        let lane = lane(10, 1);
        let _held = lane.turn(ms(10)).await;
        let mut waits = Vec::new();
        for _ in 0..3 {
            if let Turn::Park(wait, _) = lane.turn(ms(10)).await {
                waits.push(wait);
            }
        }
        assert_eq!(waits.len(), 3);
        assert!(waits.windows(2).all(|two| two[1] > two[0] + ms(50)), "{waits:?}");
    }

    #[tokio::test]
    async fn failures_in_a_row_close_the_endpoint_off() {
        let lane = lane(100, 2);
        lane.ended(Outcome::Connect, ms(1));
        assert!(matches!(lane.turn(ms(10)).await, Turn::Go(_)));
        lane.ended(Outcome::Timeout, ms(1));
        assert!(matches!(lane.turn(ms(10)).await, Turn::Park(wait, "breaker") if wait > ms(1_000)));
    }
}
