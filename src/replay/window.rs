//! What a replay may have under way.
//!
//! What a webhook does not take in time lies parked in the retry stream, which has no limit of its
//! own. So a replay that is some pages ahead waits until the audit shows that one of them was
//! attempted: it goes as fast as the webhook takes it, and never faster than attempts are recorded.
//! It waits for any, not for the oldest: what a node had in hand that died comes again only after
//! `bus.ack_wait`.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{Error, Page, context::Context};
use crate::model::{EventId, Job, WebhookId};

/// Pages that may be under way: some seconds' work, far more than recording takes.
const PAGES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Some are never attempted, like those of a type that their webhook does not want any more: they
/// hold nothing up for longer than this.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// From when on the job's owner is told what it waits for.
const TOLD_AFTER: Duration = Duration::from_secs(5);
const TOLD: &str = "the webhook does not keep up; the job goes on as it takes deliveries";
const PATIENCE: Duration = Duration::from_secs(10);

/// The last event of each page that is under way, and the number of its attempt before.
#[derive(Default)]
pub(super) struct Window(VecDeque<(WebhookId, EventId, u16)>);

impl Window {
    /// The first `sent` events of a page went out.
    pub(super) fn add(&mut self, page: &Page, sent: usize) {
        if let Some(event) = sent.checked_sub(1).and_then(|last| page.events.get(last)) {
            let last = event.last();
            self.0
                .push_back((page.webhook, last.delivery.event_id, last.number));
        }
    }

    /// Waits until there is room for one more page; `false` when the job is cancelled or this node
    /// stops.
    pub(super) async fn room(&mut self, context: &Context, job: &Job) -> Result<bool, Error> {
        tokio::select! {
            () = context.cancel.cancelled() => Ok(false),
            has_room = self.wait(context, job) => has_room,
        }
    }

    async fn wait(&mut self, context: &Context, job: &Job) -> Result<bool, Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        while self.0.len() >= PAGES {
            self.forget_attempted(context, job).await?;
            if began.elapsed() >= WAIT_MAX {
                self.0.pop_front();
            }
            if self.0.len() < PAGES {
                break;
            }
            if began.elapsed() >= TOLD_AFTER {
                let tell = |job: &mut Job| job.error = Some(TOLD.to_owned());
                let jobs = context.bus.jobs();
                let now = if told {
                    jobs.get(job.client_id, job.id).await?
                } else {
                    jobs.change(job, tell).await?
                };
                told = true;
                if now.is_none_or(|job| job.cancel_requested || !job.state.is_active()) {
                    return Ok(false);
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(true)
    }

    async fn forget_attempted(&mut self, context: &Context, job: &Job) -> Result<(), Error> {
        for (webhook, event, number) in std::mem::take(&mut self.0) {
            let found = timeout(PATIENCE, context.store.event(job.client_id, webhook, event));
            let found = found.await.map_err(|_| Error::Slow)??;
            if found.is_some_and(|event| event.last().number <= number) {
                self.0.push_back((webhook, event, number));
            }
        }
        Ok(())
    }
}
