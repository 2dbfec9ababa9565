//! Publishing, waiting, and the books of what was acknowledged and what the sink saw.

use std::{collections::HashSet, time::Duration};

use anyhow::Context;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use wahook::bus::Bus;

use crate::{
    lab::Lab,
    process::http_client,
    report::{Books, Report},
    sink::{SEEN_BYTES, Seen, now_micros},
    stages::Stages,
    system::{Pace, Plan, Sent, System},
    usage::Watch,
    webhooks::{Endpoint, Manner, Mix, UNLIMITED, message},
};

/// A run is over when nothing came for so long: longer than `bus.ack_wait`, after which what got
/// stuck comes again, so that late is not taken for lost.
const QUIET: Duration = Duration::from_secs(75);
const METRICS_MAX: Duration = Duration::from_secs(5);
/// Numbers of messages that come before a run begin here.
const WARM_UP: u32 = 2_000_000_000;

/// An endpoint beside the measured ones, for as long as the run takes. Its messages are not
/// counted.
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
    /// What endpoints do. Messages for those that are not well are published like all, but not
    /// measured.
    pub(crate) mix: Mix,
    /// They are numbered from `endpoints` on.
    pub(crate) others: Vec<Other>,
}

impl Load {
    /// All endpoints answer at once.
    pub(crate) fn new(messages: u32, endpoints: u32, pace: Pace) -> Self {
        Self {
            messages,
            endpoints,
            pace,
            mix: Mix::All(Manner::Ok),
            others: Vec::new(),
        }
    }

    pub(crate) async fn run(&self, lab: &Lab) -> anyhow::Result<Report> {
        self.register(lab).await?;
        self.measure(lab).await
    }

    /// Registers the endpoints, those beside them too.
    pub(crate) async fn register(&self, system: &impl System) -> anyhow::Result<()> {
        let measured = (0..self.endpoints).map(|number| Endpoint {
            number,
            manner: self.mix.of(number),
            rate_per_second: UNLIMITED,
        });
        let others = (self.endpoints..).zip(&self.others).map(|(number, other)| {
            let Other {
                manner,
                rate_per_second,
                ..
            } = *other;
            Endpoint {
                number,
                manner,
                rate_per_second,
            }
        });
        system.register(measured.chain(others).collect()).await
    }

    /// So many messages before the run, all of them taken: connections are open then, and code is
    /// compiled where that happens late. They go to the endpoints before the first that is not
    /// well.
    pub(crate) async fn warm_up(&self, system: &impl System, messages: u32) -> anyhow::Result<()> {
        let well = (0..self.endpoints)
            .take_while(|endpoint| self.mix.of(*endpoint).is_well())
            .count();
        let plan = Plan {
            first: WARM_UP,
            messages,
            endpoints: u32::try_from(well)?,
            pace: Pace::Flat,
        };
        system.publish(plan).await?;
        let end = Instant::now() + QUIET;
        while seen(system, 0)
            .await?
            .iter()
            .filter(|one| one.taken())
            .count()
            < messages as usize
        {
            anyhow::ensure!(
                Instant::now() < end,
                "the messages before the run did not come"
            );
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The run itself, once all are registered. Endpoints beside the measured ones are wahook's
    /// only.
    pub(crate) async fn measure(&self, lab: &Lab) -> anyhow::Result<Report> {
        let beside: Vec<_> = (self.endpoints..)
            .zip(&self.others)
            .map(|(endpoint, other)| self.beside(lab, endpoint, other))
            .collect();
        let before = lab.metrics().await?;
        let report = self.measure_any(lab).await;
        beside.iter().for_each(JoinHandle::abort);
        let mut report = report?;
        let after = lab.metrics().await?;
        let publish_ms = report.publish.mean() / 1e3;
        let queue_ms = report.micros.mean() / 1e3;
        report.stages = Some(Stages::between(publish_ms, queue_ms, &before, &after));
        Ok(report)
    }

    /// The same of any system.
    pub(crate) async fn measure_any(&self, system: &impl System) -> anyhow::Result<Report> {
        let known = seen(system, 0).await?.len();
        let watch = Watch::start(system.parts()?)?;
        let began = now_micros();
        let sent = system.publish(self.plan()).await?;
        let seen = self.wait(system, known, &sent).await?;
        Report::of(self.books(&sent, &seen), began, watch.end())
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            first: 0,
            messages: self.messages,
            endpoints: self.endpoints,
            pace: self.pace,
        }
    }

    /// Numbers and endpoints of the messages that are measured.
    fn measured(&self, plan: Plan) -> impl Iterator<Item = (u32, u32)> + use<> {
        let mix = self.mix;
        let all = (0..plan.messages).map(move |place| (place, place % plan.endpoints));
        all.filter(move |(_, endpoint)| mix.of(*endpoint).is_well())
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

    /// Asks the sink until all that was acknowledged was taken, or nothing new came for a while.
    /// All after the first `known`.
    pub(crate) async fn wait(
        &self,
        system: &impl System,
        known: usize,
        sent: &[Sent],
    ) -> anyhow::Result<Vec<Seen>> {
        let measured = self
            .measured(self.plan())
            .filter(|(number, _)| sent[*number as usize].acked.is_some());
        let mut left: HashSet<u64> = measured.map(|(number, _)| number.into()).collect();
        let mut all: Vec<Seen> = Vec::new();
        let mut last_change = Instant::now();
        loop {
            let new = seen(system, known + all.len()).await?;
            let before = left.len();
            new.iter().filter(|one| one.taken()).for_each(|one| {
                left.remove(&one.id);
            });
            all.extend(new);
            if left.len() < before {
                last_change = Instant::now();
            }
            // A second after the last one, so that a duplicate has time to come.
            if (left.is_empty() && last_change.elapsed() > Duration::from_secs(1))
                || last_change.elapsed() > QUIET
            {
                return Ok(all);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    pub(crate) fn books<'a>(&self, sent: &'a [Sent], seen: &'a [Seen]) -> Books<'a> {
        Books {
            sent,
            seen,
            measured: self.measured(self.plan()).collect(),
            faults: Vec::new(),
        }
    }
}

/// All that the sink saw after so many.
pub(crate) async fn seen(system: &impl System, known: usize) -> anyhow::Result<Vec<Seen>> {
    let url = format!("http://127.0.0.1:{}/report?{known}", system.sink_port());
    let answer = timeout(METRICS_MAX, http_client().get(&url).send())
        .await
        .context("asking the sink")??;
    Ok(answer
        .bytes()
        .await?
        .chunks_exact(SEEN_BYTES)
        .map(Seen::decode)
        .collect())
}
