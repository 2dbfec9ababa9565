//! One question to the server each second, about the bucket of webhooks. The answer of its leader
//! shows the server's time, and whether the cache of webhooks lacks something. And a server that
//! sends nothing at all is noticed: it hangs.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, Revision, patience::patiently, webhooks::WEBHOOKS};
use crate::{
    model::Timestamp,
    tasks::{TaskKind, Tasks},
    telemetry,
};

const INTERVAL: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the watch may lag behind the answer.
const LAG_MAX: Duration = Duration::from_millis(500);
const LISTEN_INTERVAL: Duration = Duration::from_millis(250);

/// What the server says of the bucket of webhooks, and when.
#[derive(Deserialize)]
struct StreamInfo {
    ts: String,
    created: String,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    last_seq: u64,
}

impl StreamInfo {
    fn parse(&self) -> Option<(Timestamp, Revision)> {
        let newest = Revision {
            bucket_created_at: self.created.parse().ok()?,
            number: self.state.last_seq,
        };
        Some((self.ts.parse().ok()?, newest))
    }
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

    /// For how long the server has sent nothing, not even the answer to a ping.
    pub fn silence(&self) -> Duration {
        self.hearing.silence(Instant::now())
    }

    /// Asks the server once, so that its time is known, and then each second for as long as the
    /// process lives. [`Self::load_webhooks`] does so by itself.
    pub async fn start_pulse(&self, tasks: &Tasks) -> Result<(), Error> {
        patiently(async || self.read_clock().await).await?;
        let bus = self.clone();
        // Not among the tasks that a drain waits for: deliveries need the time to their end.
        let never = CancellationToken::new();
        tasks.group().keep(TaskKind::ServerPulse, &never, move || {
            let bus = bus.clone();
            async move {
                tokio::join!(bus.keep_asking(), bus.keep_listening());
            }
        });
        Ok(())
    }

    async fn keep_asking(&self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked_at = Instant::now();
            match self.ask_clock(ANSWER_TIMEOUT).await {
                Ok(newest) => {
                    self.webhooks().confirm(newest, asked_at, LAG_MAX).await;
                }
                Err(error) => {
                    telemetry::error("bus", "pulse");
                    tracing::debug!(%error, "no answer about the webhooks");
                }
            }
        }
    }

    async fn keep_listening(&self) {
        let statistics = self.client.statistics();
        let mut ticks = interval(LISTEN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let bytes = statistics.in_bytes.load(Ordering::Relaxed);
            self.hearing.note(bytes, Instant::now());
        }
    }

    /// Asks the server for its time; a process that serves does so each second by itself. Returns
    /// the newest revision of the webhooks.
    pub async fn read_clock(&self) -> Result<Revision, Error> {
        // Nothing is asked again here, so a busy server has more time than in the pulse.
        self.ask_clock(self.request_timeout).await
    }

    async fn ask_clock(&self, patience: Duration) -> Result<Revision, Error> {
        let subject = self.api_subject(format_args!("STREAM.INFO.KV_{WEBHOOKS}"));
        let asked_at = Instant::now();
        let answer = timeout(patience, self.client.request(subject, "".into())).await;
        let answer = answer.map_err(|_| Error::Timeout("answer about the webhooks"))??;
        let answered_at = Instant::now();
        let info: StreamInfo = serde_json::from_slice(&answer.payload)?;
        let (time, newest) = info
            .parse()
            .ok_or_else(|| Error::Damaged("the server's time".to_owned()))?;
        self.clock.read(time, asked_at, answered_at);
        if let Some(offset) = self.clock.offset_ms() {
            telemetry::clock_offset(offset as f64 / 1000.0);
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_the_server_is_read() {
        let answer = r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{},
            "created":"2026-11-24T08:30:00.123456789Z","state":{"messages":2,"last_seq":7},
            "ts":"2026-11-24T08:31:00.5Z"}"#;
        let info: StreamInfo = serde_json::from_str(answer).expect("an answer");
        let (time, newest) = info.parse().expect("readable");
        assert_eq!(time.to_string(), "2026-11-24T08:31:00.5Z");
        assert_eq!(newest.number, 7);
        let created = newest.bucket_created_at.to_string();
        assert_eq!(created, "2026-11-24T08:30:00.123Z");
    }
}
