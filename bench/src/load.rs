//! Publishing, waiting, and matching what the sink saw with what was acknowledged.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::Map;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;
use wahook::model::{ClientId, Kind, Message, Phone, SigningSecret, Timestamp, Webhook, WebhookId};

use crate::{
    lab::{Lab, http_client},
    report::Report,
    sink::{ID_PREFIX, Seen, now_micros},
};

/// Publishes under way at once.
const IN_FLIGHT: usize = 256;
/// A run is over when nothing came for so long.
const QUIET: Duration = Duration::from_secs(5);
/// Rate limits are not what is measured here.
const UNLIMITED: u32 = 100_000;
/// About 1 KiB of body with its frame.
const CONTENT_BYTES: usize = 700;

/// How messages are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As fast as they are acknowledged.
    Flat,
    /// So many a second, at times planned beforehand.
    Rate(u32),
}

/// One run.
pub(crate) struct Load {
    pub(crate) messages: u32,
    pub(crate) endpoints: u32,
    pub(crate) pace: Pace,
    /// Whether one more endpoint gets as much as each other, and never answers.
    pub(crate) hanging: bool,
}

impl Load {
    pub(crate) async fn run(&self, lab: &Lab) -> anyhow::Result<Report> {
        self.register(lab).await?;
        self.measure(lab).await
    }

    /// The same once the webhooks are there.
    pub(crate) async fn measure(&self, lab: &Lab) -> anyhow::Result<Report> {
        let (cpu_before, _) = lab.usage()?;
        let began = now_micros();
        let acks = self.publish(lab).await?;
        let seen = self.wait(lab).await?;
        let (cpu, rss_bytes) = lab.usage()?;
        self.report(began, &acks, &seen, cpu.saturating_sub(cpu_before), rss_bytes)
    }

    pub(crate) fn phone(endpoint: u32) -> Phone {
        format!("49{:09}", endpoint + 1).parse().expect("eleven digits")
    }

    pub(crate) async fn register(&self, lab: &Lab) -> anyhow::Result<()> {
        let hanging = u32::from(self.hanging);
        for endpoint in 0..self.endpoints + hanging {
            let path = if endpoint < self.endpoints { "ok" } else { "hang" };
            let url = format!("http://127.0.0.1:{}/{path}/{endpoint}", lab.sink_port);
            let now = Timestamp::from_system(SystemTime::now());
            let (client_id, phone) = (client(), Self::phone(endpoint));
            lab.bus
                .registry()
                .register(client_id, &phone, |_| Webhook {
                    rate_per_second: UNLIMITED,
                    secrets: vec![SigningSecret::from_key(&[7; 32])],
                    ..Webhook::new(WebhookId(Uuid::now_v7()), client_id, phone.clone(), url.clone(), now)
                })
                .await?;
        }
        Ok(())
    }

    /// When each message was acknowledged, in microseconds since 1970.
    async fn publish(&self, lab: &Lab) -> anyhow::Result<Vec<u64>> {
        let noise = self.hanging.then(|| self.hang(lab));
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut tasks: JoinSet<anyhow::Result<(u32, u64)>> = JoinSet::new();
        let began = Instant::now();
        for number in 0..self.messages {
            if let Pace::Rate(rate) = self.pace {
                sleep_until(began + Duration::from_secs_f64(f64::from(number) / f64::from(rate))).await;
            }
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let (bus, message) = (lab.bus.clone(), message(number, number % self.endpoints));
            tasks.spawn(async move {
                bus.publish_message(&message).await?;
                drop(permit);
                Ok((number, now_micros()))
            });
        }
        let mut acks = vec![0; self.messages as usize];
        while let Some(done) = tasks.join_next().await {
            let (number, at) = done??;
            acks[number as usize] = at;
        }
        if let Some(noise) = noise {
            noise.abort();
        }
        Ok(acks)
    }

    /// Gives the hanging endpoint its share of the rate for as long as the run takes.
    fn hang(&self, lab: &Lab) -> JoinHandle<()> {
        let rate = match self.pace {
            Pace::Rate(rate) => rate,
            Pace::Flat => 1_000,
        };
        let gap = Duration::from_secs_f64(f64::from(self.endpoints) / f64::from(rate));
        let (bus, endpoint, first) = (lab.bus.clone(), self.endpoints, self.messages);
        tokio::spawn(async move {
            for number in first.. {
                // The hanging endpoint's loss is the point of the run.
                let _ = bus.publish_message(&message(number, endpoint)).await;
                sleep(gap).await;
            }
        })
    }

    /// Asks the sink until all came, or nothing new did for a while.
    async fn wait(&self, lab: &Lab) -> anyhow::Result<Vec<Seen>> {
        let (mut counts, mut last_change) = (VecDeque::from([0]), Instant::now());
        loop {
            let mut seen = seen(lab).await?;
            // What else came is not this load's.
            seen.retain(|(number, _)| *number < u64::from(self.messages));
            if counts.back() != Some(&seen.len()) {
                counts = VecDeque::from([seen.len()]);
                last_change = Instant::now();
            }
            // A second after the last one, so that a duplicate has time to come.
            let complete = seen.len() >= self.messages as usize;
            if (complete && last_change.elapsed() > Duration::from_secs(1)) || last_change.elapsed() > QUIET {
                return Ok(seen);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    fn report(&self, began: u64, acks: &[u64], seen: &[Seen], cpu: Duration, rss_bytes: u64) -> anyhow::Result<Report> {
        let mut micros = Histogram::new(3)?;
        let mut first: Vec<Option<u64>> = vec![None; acks.len()];
        let (mut duplicates, mut last) = (0, began);
        for (number, at) in seen {
            let Some(slot) = usize::try_from(*number).ok().and_then(|n| first.get_mut(n)) else { continue };
            if slot.replace(slot.map_or(*at, |earlier| earlier.min(*at))).is_some() {
                duplicates += 1;
            }
            last = last.max(*at);
        }
        let mut delivered = 0;
        for (ack, at) in acks.iter().zip(&first) {
            if let Some(at) = at {
                delivered += 1;
                // A POST may overtake its ack on the way back to the publisher.
                micros.record(at.saturating_sub(*ack).max(1))?;
            }
        }
        let span = Duration::from_micros(last.saturating_sub(began).max(1));
        Ok(Report { micros, published: self.messages, delivered, duplicates, span, cpu, rss_bytes })
    }
}

/// All that the sink saw so far.
pub(crate) async fn seen(lab: &Lab) -> anyhow::Result<Vec<Seen>> {
    let url = format!("http://127.0.0.1:{}/report", lab.sink_port);
    let answer = timeout(QUIET, http_client()?.get(&url).send()).await.context("asking the sink")??;
    Ok(answer.bytes().await?.chunks_exact(16).map(decode).collect())
}

fn decode(bytes: &[u8]) -> Seen {
    let (number, at) = bytes.split_at(8);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of sixteen bytes"));
    (word(number), word(at))
}

pub(crate) fn client() -> ClientId {
    ClientId::try_from(1).expect("one is a client id")
}

pub(crate) fn message(number: u32, endpoint: u32) -> Message {
    let phone = Load::phone(endpoint);
    Message {
        client_id: client(),
        message_id: format!("{ID_PREFIX}{number}").parse().expect("letters and digits"),
        chat: "4915100000000".to_owned(),
        from: "4915100000000".to_owned(),
        to: phone.as_str().to_owned(),
        phone,
        timestamp: Timestamp::from_system(SystemTime::now()),
        kind: Kind::Text,
        content: "x".repeat(CONTENT_BYTES),
        metadata: Map::new(),
    }
}
