//! One scenario of one system.

use std::{collections::HashMap, time::Duration};

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep};

use crate::{
    load::{Load, seen},
    report::Report,
    sink::now_micros,
    system::{Pace, Plan, System},
    usage::{Taken, Watch},
    webhooks::{Manner, Mix},
};

/// Messages before each run: Node.js compiles what is used often, all of them open connections, and
/// memory that is touched for the first time is slow.
const WARM_UP: u32 = 10_000;
const IDLE: Duration = Duration::from_secs(4);
/// Messages whose way into the audit is watched, and how many of them come per second.
const AUDITED: u32 = 200;
/// Their numbers begin here.
const FIRST: u32 = 1_500_000_000;
const AUDITED_RATE: u32 = 50;
/// Beyond that, the audit is taken to have lost them.
const AUDIT_MAX: Duration = Duration::from_secs(10);
const HANGING_OF: u32 = 100;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    /// As fast as it goes.
    Top { messages: u32, endpoints: u32 },
    /// All is published before anything delivers.
    Backlog { messages: u32, endpoints: u32 },
    /// At a rate that all can sustain; then idle; then the audit.
    Rate {
        rate: u32,
        seconds: u32,
        endpoints: u32,
    },
    /// At half of the system's own top rate.
    Half {
        rate: u32,
        seconds: u32,
        endpoints: u32,
    },
    /// The same rate for all, and some endpoints never answer.
    Hanging {
        rate: u32,
        seconds: u32,
        hanging: u32,
    },
}

/// What a phase showed.
pub(crate) struct Shown {
    pub(crate) phase: Phase,
    pub(crate) report: Report,
    /// What the parts took while nothing happened.
    pub(crate) idle: Option<Vec<Taken>>,
    /// From the POST until the audit shows it, in microseconds.
    pub(crate) audit: Option<Histogram<u64>>,
    pub(crate) versions: String,
}

impl Phase {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Top { .. } => "top",
            Self::Backlog { .. } => "backlog",
            Self::Rate { .. } => "rate",
            Self::Half { .. } => "half",
            Self::Hanging { .. } => "hanging",
        }
    }

    /// Messages offered per second; 0 where as many as are taken.
    pub(crate) fn rate(&self) -> u32 {
        match *self {
            Self::Top { .. } | Self::Backlog { .. } => 0,
            Self::Rate { rate, .. } | Self::Half { rate, .. } | Self::Hanging { rate, .. } => rate,
        }
    }

    fn load(&self) -> Load {
        match *self {
            Self::Top {
                messages,
                endpoints,
            }
            | Self::Backlog {
                messages,
                endpoints,
            } => Load::new(messages, endpoints, Pace::Flat),
            Self::Rate {
                rate,
                seconds,
                endpoints,
            }
            | Self::Half {
                rate,
                seconds,
                endpoints,
            } => Load::new(rate * seconds, endpoints, Pace::Rate(rate)),
            Self::Hanging {
                rate,
                seconds,
                hanging,
            } => {
                let load = Load::new(rate * seconds, HANGING_OF, Pace::Rate(rate));
                Load {
                    mix: Mix::Every(HANGING_OF / hanging, Manner::Hang),
                    ..load
                }
            }
        }
    }

    /// On a system that does not deliver yet; ends it.
    pub(crate) async fn run<S: System>(&self, mut system: S) -> anyhow::Result<Shown> {
        let load = self.load();
        load.register(&system).await?;
        let report = if let Self::Backlog { .. } = self {
            drain(&load, &mut system).await?
        } else {
            system.deliver().await?;
            load.warm_up(&system, WARM_UP).await?;
            load.measure_any(&system).await?
        };
        let versions = system.versions()?;
        let mut idle = None;
        let mut audit = None;
        if let Self::Rate { .. } = self {
            let watch = Watch::start(system.parts()?)?;
            sleep(IDLE).await;
            idle = Some(watch.end());
            audit = audit_lag(&system).await?;
        }
        system.stop().await?;
        let Report {
            published,
            offered,
            crossed,
            ..
        } = report;
        anyhow::ensure!(
            published == offered && crossed == 0,
            "not a run to compare:\n{report}"
        );
        Ok(Shown {
            phase: *self,
            report,
            idle,
            audit,
            versions,
        })
    }
}

/// Publishes all, then starts what delivers.
async fn drain(load: &Load, system: &mut impl System) -> anyhow::Result<Report> {
    let began = now_micros();
    let sent = system.publish(load.plan()).await?;
    system.deliver().await?;
    let watch = Watch::start(system.parts()?)?;
    let seen = load.wait(system, 0, &sent).await?;
    Report::of(load.books(&sent, &seen), began, watch.end())
}

/// From the POST until the audit shows the message, by asking again and again: as exact as an
/// answer is quick.
async fn audit_lag(system: &impl System) -> anyhow::Result<Option<Histogram<u64>>> {
    if system.newest_recorded(0).await?.is_empty() {
        return Ok(None);
    }
    let known = seen(system, 0).await?.len();
    // All to the first endpoint.
    let plan = Plan {
        first: FIRST,
        messages: AUDITED,
        endpoints: 1,
        pace: Pace::Rate(AUDITED_RATE),
    };
    let wanted = u64::from(FIRST)..u64::from(FIRST + AUDITED);
    let mut shown: HashMap<u64, u64> = HashMap::new();
    let watching = async {
        let end =
            Instant::now() + Duration::from_secs(u64::from(AUDITED / AUDITED_RATE)) + AUDIT_MAX;
        while shown.len() < AUDITED as usize && Instant::now() < end {
            let newest = system.newest_recorded(0).await?;
            let now = now_micros();
            newest
                .into_iter()
                .filter(|id| wanted.contains(id))
                .for_each(|id| {
                    shown.entry(id).or_insert(now);
                });
            sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    let (sent, watched) = tokio::join!(system.publish(plan), watching);
    sent?;
    watched?;
    anyhow::ensure!(
        shown.len() == AUDITED as usize,
        "the audit shows {} of {AUDITED}",
        shown.len()
    );
    let mut micros = Histogram::new(3)?;
    for one in seen(system, known).await? {
        if let Some(at) = shown.get(&one.id) {
            micros.record(at.saturating_sub(one.at).max(1))?;
        }
    }
    Ok(Some(micros))
}
