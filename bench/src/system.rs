//! What can be put under load: wahook, the floor beneath it, a rival. All publish the same messages
//! to the same sink.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{sink::now_micros, usage::Part, webhooks::Endpoint};

/// Publishes under way at once.
pub(crate) const PUBLISHES_MAX: usize = 256;

/// A system that is running.
pub(crate) trait System {
    /// Where its endpoints are.
    fn sink_port(&self) -> u16;

    /// Its processes as they are now, and those of the harness.
    fn parts(&self) -> anyhow::Result<Vec<Part>>;

    /// Makes endpoints known.
    async fn register(&self, endpoints: Vec<Endpoint>) -> anyhow::Result<()>;

    /// Starts what delivers, once endpoints are registered.
    async fn deliver(&mut self) -> anyhow::Result<()>;

    /// Publishes, and waits until all publishes have ended, one way or the other.
    async fn publish(&self, plan: Plan) -> anyhow::Result<Vec<Sent>>;

    /// Numbers of the newest messages for this endpoint that the audit shows; none where there is
    /// no audit.
    async fn newest_recorded(&self, endpoint: u32) -> anyhow::Result<Vec<u64>>;

    /// Names and versions of what is not built here.
    fn versions(&self) -> anyhow::Result<String>;

    /// Ends all processes.
    async fn stop(self) -> anyhow::Result<()>;
}

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As fast as they are acknowledged.
    Flat,
    /// So many a second, at times planned beforehand.
    Rate(u32),
}

/// Messages to publish: number `first + i` goes to endpoint `i mod endpoints`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) first: u32,
    pub(crate) messages: u32,
    pub(crate) endpoints: u32,
    pub(crate) pace: Pace,
}

/// A publish, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// When it was planned; where nothing was planned, when it began.
    pub(crate) due: u64,
    /// When its acknowledgement came, if ever.
    pub(crate) acked: Option<u64>,
}

/// Follows a plan with one task per publish. A system that is slow to acknowledge holds up the
/// publishes beyond [`PUBLISHES_MAX`], but not the times that they are counted from.
pub(crate) async fn open_loop<F>(
    plan: Plan,
    publish: impl Fn(u32, u32) -> F,
) -> anyhow::Result<Vec<Sent>>
where
    F: Future<Output = bool> + Send + 'static,
{
    open_loop_until(&CancellationToken::new(), plan, publish).await
}

/// The same, as far as it came when it is told to stop.
pub(crate) async fn open_loop_until<F>(
    stop: &CancellationToken,
    plan: Plan,
    publish: impl Fn(u32, u32) -> F,
) -> anyhow::Result<Vec<Sent>>
where
    F: Future<Output = bool> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(PUBLISHES_MAX));
    let mut tasks = JoinSet::<(u32, Sent)>::new();
    let mut sent = Vec::new();
    let began = Instant::now();
    let began_micros = now_micros();
    for place in 0..plan.messages {
        let planned = match plan.pace {
            Pace::Flat => None,
            Pace::Rate(rate) => Some(Duration::from_secs_f64(f64::from(place) / f64::from(rate))),
        };
        if let Some(after) = planned {
            sleep_until(began + after).await;
        }
        if stop.is_cancelled() {
            break;
        }
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let due = planned.map_or_else(now_micros, |after| began_micros + after.as_micros() as u64);
        let published = publish(plan.first + place, place % plan.endpoints);
        tasks.spawn(async move {
            let acked = published.await.then(now_micros);
            drop(permit);
            (place, Sent { due, acked })
        });
        while let Some(done) = tasks.try_join_next() {
            sent.push(done?);
        }
    }
    while let Some(done) = tasks.join_next().await {
        sent.push(done?);
    }
    sent.sort_unstable_by_key(|(place, _)| *place);
    Ok(sent.into_iter().map(|(_, one)| one).collect())
}
