//! One question to the server each second. Its answer shows the server's time.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, webhooks::WEBHOOKS};
use crate::{
    model::Timestamp,
    tasks::{TaskKind, Tasks},
    telemetry,
};

const INTERVAL: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What the server says of the bucket of webhooks, and when.
#[derive(Deserialize)]
struct StreamInfo {
    ts: String,
}

impl Bus {
    /// The time of nats-server's clock: what schedules, records and signatures are made with.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// By how many milliseconds the wall clock of this machine is ahead of nats-server's; negative
    /// when it is behind, `None` before the server was asked.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.clock.offset_ms()
    }

    /// Asks the server once, so that its time is known, and then each second for as long as the
    /// process lives.
    pub(super) async fn start_pulse(&self, tasks: &Tasks) -> Result<(), Error> {
        self.read_clock().await?;
        let bus = self.clone();
        // Not among the tasks that a drain waits for: deliveries need the time to their end.
        let never = CancellationToken::new();
        tasks.group().keep(TaskKind::ServerPulse, &never, move || {
            bus.clone().keep_asking()
        });
        Ok(())
    }

    async fn keep_asking(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.read_clock().await {
                telemetry::error("bus", "pulse");
                tracing::debug!(%error, "the server does not tell its time");
            }
        }
    }

    /// Asks the server for its time; a process that serves does so each second by itself.
    pub async fn read_clock(&self) -> Result<(), Error> {
        let subject = format!("$JS.API.STREAM.INFO.KV_{WEBHOOKS}");
        let asked_at = Instant::now();
        let answer = timeout(ANSWER_TIMEOUT, self.client.request(subject, "".into())).await;
        let answer = answer.map_err(|_| Error::Timeout("answer about the webhooks"))??;
        let answered_at = Instant::now();
        let info: StreamInfo = serde_json::from_slice(&answer.payload)?;
        let time = info.ts.parse();
        let time = time.map_err(|_| Error::Damaged("the server's time".to_owned()))?;
        self.clock.read(time, asked_at, answered_at);
        if let Some(offset) = self.clock.offset_ms() {
            telemetry::clock_offset(offset as f64 / 1000.0);
        }
        Ok(())
    }
}
