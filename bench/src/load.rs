//! Publishing, waiting, and the books of what was acknowledged and what the sink saw.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context;
use ledger::{Accepted, Ledgers, Sighting};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use wahook::bus::Bus;

use crate::{
    lab::{Lab, http_client},
    report::Report,
    sink::{SEEN_BYTES, Seen, now_micros},
    webhooks::{self, Endpoint, Manner, UNLIMITED, message},
};

/// Publishes under way at once.
const IN_FLIGHT: usize = 256;
/// A run is over when nothing came for so long: longer than `bus.ack_wait`, after which what got stuck comes again, so
/// that late is not taken for lost.
const QUIET: Duration = Duration::from_secs(75);

const PATIENCE: Duration = Duration::from_secs(5);

/// How messages are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As fast as they are acknowledged.
    Flat,
    /// So many a second, at times planned beforehand.
    Rate(u32),
}

/// An endpoint beside the measured ones, for as long as the run takes. Its messages are not counted.
#[derive(Clone, Copy)]
pub(crate) struct Other {
    pub(crate) manner: Manner,
    /// Messages that it gets offered per second.
    pub(crate) offered: f64,
    /// Its limit.
    pub(crate) rate_per_second: u32,
}

/// One run.
pub(crate) struct Load {
    pub(crate) messages: u32,
    pub(crate) endpoints: u32,
    pub(crate) pace: Pace,
    /// They are numbered from `endpoints` on.
    pub(crate) others: Vec<Other>,
}

impl Load {
    pub(crate) async fn run(&self, lab: &Lab) -> anyhow::Result<Report> {
        self.register(lab).await?;
        self.measure(lab).await
    }

    /// Registers the endpoints, those beside them too.
    pub(crate) async fn register(&self, lab: &Lab) -> anyhow::Result<()> {
        let measured =
            (0..self.endpoints).map(|number| Endpoint { number, manner: Manner::Ok, rate_per_second: UNLIMITED });
        let others = (self.endpoints..).zip(&self.others).map(|(number, other)| {
            let Other { manner, rate_per_second, .. } = *other;
            Endpoint { number, manner, rate_per_second }
        });
        webhooks::register(lab, measured.chain(others)).await
    }

    /// The run itself, once all are registered.
    pub(crate) async fn measure(&self, lab: &Lab) -> anyhow::Result<Report> {
        let (cpu_before, _) = lab.usage()?;
        let began = now_micros();
        let acks = self.publish(lab).await?;
        let seen = self.wait(lab).await?;
        let (cpu, rss_bytes) = lab.usage()?;
        Report::of(self.books(&acks, &seen), began, cpu.saturating_sub(cpu_before), rss_bytes)
    }

    fn endpoint(&self, number: u32) -> u32 {
        number % self.endpoints
    }

    /// When each message was acknowledged, in microseconds since 1970.
    async fn publish(&self, lab: &Lab) -> anyhow::Result<Vec<u64>> {
        let beside: Vec<_> =
            (self.endpoints..).zip(&self.others).map(|(endpoint, other)| self.beside(lab, endpoint, other)).collect();
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut tasks: JoinSet<anyhow::Result<(u32, u64)>> = JoinSet::new();
        let began = Instant::now();
        for number in 0..self.messages {
            if let Pace::Rate(rate) = self.pace {
                sleep_until(began + Duration::from_secs_f64(f64::from(number) / f64::from(rate))).await;
            }
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let (bus, message) = (lab.bus.clone(), message(number, self.endpoint(number)));
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
        beside.iter().for_each(JoinHandle::abort);
        Ok(acks)
    }

    /// Gives an endpoint beside the measured ones its share, at times planned beforehand.
    fn beside(&self, lab: &Lab, endpoint: u32, other: &Other) -> JoinHandle<()> {
        let gap = Duration::from_secs_f64(1.0 / other.offered);
        let step = u32::try_from(self.others.len()).expect("a few");
        let first = self.messages + endpoint - self.endpoints;
        let bus: Bus = lab.bus.clone();
        tokio::spawn(async move {
            // Spread, so that they do not come all at once.
            let mut due = Instant::now() + gap.mul_f64(f64::from(endpoint % 16) / 16.0);
            for number in (first..).step_by(step as usize) {
                sleep_until(due).await;
                due += gap;
                // What becomes of it is not measured.
                let _ = bus.publish_message(&message(number, endpoint)).await;
            }
        })
    }

    /// Asks the sink until all came, or nothing new did for a while.
    async fn wait(&self, lab: &Lab) -> anyhow::Result<Vec<Seen>> {
        let (mut all, mut measured, mut last_change): (Vec<Seen>, u32, _) = (Vec::new(), 0, Instant::now());
        loop {
            let new = seen(lab, all.len()).await?;
            // What else came is not this load's.
            let count = new.iter().filter(|one| one.id < self.messages.into()).count();
            all.extend(new);
            if count > 0 {
                measured += u32::try_from(count)?;
                last_change = Instant::now();
            }
            // A second after the last one, so that a duplicate has time to come.
            let complete = measured >= self.messages;
            if (complete && last_change.elapsed() > Duration::from_secs(1)) || last_change.elapsed() > QUIET {
                return Ok(all);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    fn books(&self, acks: &[u64], seen: &[Seen]) -> Ledgers {
        let accepted: HashMap<u64, Accepted> = (0..self.messages)
            .zip(acks)
            .map(|(number, at)| (number.into(), Accepted { at: *at, endpoint: self.endpoint(number) }))
            .collect();
        let offered = accepted.iter().map(|(id, accepted)| (*id, accepted.endpoint)).collect();
        let sighting = |one: &Seen| {
            let Seen { id, at, endpoint } = *one;
            // The sink answers 204 to all that it notes, and reads neither ids nor bodies beyond the number.
            Sighting { endpoint, id, same: 0, at, status: 204, under_way: 0 }
        };
        Ledgers { offered, accepted, sightings: seen.iter().map(sighting).collect(), ..Ledgers::default() }
    }
}

/// All that the sink saw after so many.
pub(crate) async fn seen(lab: &Lab, known: usize) -> anyhow::Result<Vec<Seen>> {
    let url = format!("http://127.0.0.1:{}/report?{known}", lab.sink_port);
    let answer = timeout(PATIENCE, http_client()?.get(&url).send()).await.context("asking the sink")??;
    Ok(answer.bytes().await?.chunks_exact(SEEN_BYTES).map(Seen::decode).collect())
}
