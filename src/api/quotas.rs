//! Quotas of a client: what it may publish and store.

use std::time::{Duration, Instant};

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::time::sleep;

use super::{AppState, auth::Caller, problem::Problem};
use crate::{
    bus::{Stream, UsedUp},
    model::{ClientId, Limit, Quota},
    policy::{Rate, RateLimiters, Turns},
    telemetry,
};

/// When to look again whether less waits: deliveries may take any time.
const FULL_PAUSE: Duration = Duration::from_secs(30);
/// So many bytes a second for each message a second. A large message is written to disk up to six
/// times on its way, and what others publish waits behind that.
const COUNTED_BYTES: usize = 4 * 1024;
/// So many bytes may come at once, whatever the rate: a hundred of the largest texts and pictures.
const BURST_BYTES: usize = 64 << 20;

/// What has fewer bytes goes at once. Larger ones take turns.
const LARGE_BYTES: usize = 64 << 10;
/// So many bytes of large messages a second: a disk that syncs every tenth of a second lets nobody
/// wait for long behind them.
const LARGE_BYTES_PER_SECOND: usize = 8 << 20;
/// So many of them go at once after a pause.
const LARGE_BURST_BYTES: usize = 1 << 20;
/// A request that would wait longer for its turn is refused; below `api.request_timeout`.
const TURN_WAIT_MAX: Duration = Duration::from_secs(7);

const TOO_MANY: &str = "more messages than quota.messages_per_second: publish more slowly";
const TOO_LARGE: &str = "more bytes than 4 KiB for each message of quota.messages_per_second, \
                         after a burst of 64 MiB, or than 8 MiB a second of messages above \
                         64 KiB: publish more slowly";

/// What a client may store or do, and has.
#[derive(Serialize)]
struct Share {
    used: u64,
    max: u64,
}

/// The quotas of a client.
#[derive(Serialize)]
pub(super) struct UsageView {
    waiting_bytes: Share,
    dead_letter_bytes: Share,
    messages_per_second: u64,
    webhooks: Share,
}

impl AppState {
    /// Whether a client may store one more message of this size now. To be asked before one is
    /// accepted.
    ///
    /// # Errors
    /// 429 `quota` with the quota that is used up.
    pub(super) async fn admit(&self, client: ClientId, bytes: usize) -> Result<(), Problem> {
        let rate = self.bus.limit(client, Limit::MessagesPerSecond);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let now = Instant::now();
        if let Err((wait, detail)) = self.publish_rates.check(client, rate, bytes, now) {
            telemetry::quota_refused("messages_per_second");
            return Err(Problem::quota(wait, detail));
        }
        if let Some(used_up) = self.bus.used_up(client).await? {
            telemetry::quota_refused(used_up.as_str());
            return Err(Problem::quota(FULL_PAUSE, explanation(used_up)));
        }
        Ok(())
    }

    /// Waits until a message of this size may go, so that large ones come evenly.
    ///
    /// # Errors
    /// 429 `quota` where the wait would be too long.
    pub(super) async fn take_turn(&self, client: ClientId, bytes: usize) -> Result<(), Problem> {
        let wait = self.publish_rates.turn(client, bytes, Instant::now());
        let wait = wait.map_err(|wait| {
            telemetry::quota_refused("messages_per_second");
            Problem::quota(wait, TOO_LARGE)
        })?;
        sleep(wait).await;
        Ok(())
    }
}

/// How fast each client may publish.
#[derive(Debug)]
pub(super) struct PublishRates {
    messages: RateLimiters,
    units: RateLimiters,
    large: Turns<ClientId>,
}

impl Default for PublishRates {
    fn default() -> Self {
        Self {
            messages: RateLimiters::default(),
            units: RateLimiters::default(),
            large: Turns::new(units(LARGE_BYTES_PER_SECOND), units(LARGE_BURST_BYTES)),
        }
    }
}

impl PublishRates {
    /// How long a message of this size is to wait, so that large ones come evenly.
    ///
    /// # Errors
    /// When to try again, where the wait would be too long.
    fn turn(&self, client: ClientId, bytes: usize, now: Instant) -> Result<Duration, Duration> {
        if bytes < LARGE_BYTES {
            return Ok(Duration::ZERO);
        }
        self.large.take(client, units(bytes), now, TURN_WAIT_MAX)
    }

    /// Counts a message of this size if it may be published now; `rate` are messages a second.
    ///
    /// # Errors
    /// When to try again, and why.
    fn check(
        &self,
        client: ClientId,
        rate: u32,
        bytes: usize,
        now: Instant,
    ) -> Result<(), (Duration, &'static str)> {
        self.messages
            .check(client, Rate::per_second(rate), 1, now)
            .map_err(|wait| (wait, TOO_MANY))?;
        let unit_rate = Rate {
            per_second: rate,
            burst: units(BURST_BYTES),
        };
        self.units
            .check(client, unit_rate, units(bytes), now)
            .map_err(|wait| (wait, TOO_LARGE))
    }
}

/// What is used up, and what its owner can do.
fn explanation(used_up: UsedUp) -> &'static str {
    match used_up {
        UsedUp::Waiting => {
            "more bytes wait than quota.waiting_bytes_max: make the endpoint take them, resume the \
             webhook, or delete it"
        }
        UsedUp::Share(Stream::Retries) => {
            "as many bytes of retries wait as the client's share of deliver.retry_bytes_max: make \
             the endpoint take them, or delete the webhook"
        }
        UsedUp::Share(Stream::Held) => {
            "as many bytes are held as the client's share of bus.hold_bytes_max: resume the \
             webhook, or delete it"
        }
        UsedUp::Share(_) => {
            "as many bytes wait as the client's share of bus.message_bytes_max: publish more \
             slowly, or make the endpoint take them"
        }
    }
}

/// How many times [`COUNTED_BYTES`] that is.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(COUNTED_BYTES)).unwrap_or(u32::MAX)
}

/// `GET /api/usage`: what the client has stored, and may.
pub(super) async fn get(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<Json<UsageView>, Problem> {
    let usage = app.bus.usage(client).await?;
    Ok(Json(UsageView {
        waiting_bytes: Share {
            used: usage.of(Quota::Waiting),
            max: app.bus.limit(client, Limit::WaitingBytes),
        },
        dead_letter_bytes: Share {
            used: usage.of(Quota::DeadLetters),
            max: app.bus.limit(client, Limit::DeadLetterBytes),
        },
        messages_per_second: app.bus.limit(client, Limit::MessagesPerSecond),
        webhooks: Share {
            used: app.bus.webhooks().count(client).await?,
            max: app.bus.limit(client, Limit::Webhooks),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many of at most 999 messages of this size may be published at once.
    fn taken(rates: &PublishRates, rate: u32, bytes: usize, now: Instant) -> usize {
        let client = ClientId::try_from(1).expect("in range");
        (0..999)
            .take_while(|_| rates.check(client, rate, bytes, now).is_ok())
            .count()
    }

    #[test]
    fn large_messages_have_a_burst_of_their_own_and_then_four_kib_each() {
        let rates = PublishRates::default();
        let now = Instant::now();
        assert_eq!(taken(&rates, 1_000, 500 << 10, now), 131, "64 MiB");
        let later = now + SECOND;
        assert_eq!(taken(&rates, 1_000, 500 << 10, later), 8, "4 MiB a second");
        let later = later + SECOND;
        assert_eq!(taken(&rates, 1_000, 2 << 20, later), 1, "one of 2 MiB");
    }

    #[test]
    fn large_messages_take_turns_and_small_ones_do_not_wait_for_them() {
        let rates = PublishRates::default();
        let client = ClientId::try_from(1).expect("in range");
        let now = Instant::now();
        let waits: Vec<_> = (0..100).map(|_| rates.turn(client, 480_000, now)).collect();
        assert_eq!(waits[2], Ok(Duration::ZERO), "1 MiB goes at once");
        let last = waits[99].expect("a hundred may come at once");
        assert!((5 * SECOND..7 * SECOND).contains(&last), "{last:?}");
        assert_eq!(rates.turn(client, LARGE_BYTES - 1, now), Ok(Duration::ZERO));
        let refused = (0..100).find_map(|_| rates.turn(client, 480_000, now).err());
        assert!(refused.is_some_and(|wait| wait > TURN_WAIT_MAX));
    }

    #[test]
    fn small_messages_are_counted_one_by_one() {
        let rates = PublishRates::default();
        let now = Instant::now();
        assert_eq!(taken(&rates, 100, 0, now), 200);
        assert_eq!(taken(&rates, 100, 300, now + SECOND), 100);
    }
}
