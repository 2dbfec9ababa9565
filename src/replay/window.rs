//! How far a replay may be ahead of its webhook.
//!
//! Events that a webhook does not take in time are parked in the retry stream, which has no limit
//! of its own. So a replay that is some pages ahead waits until the audit shows that one of them
//! was attempted: it goes as fast as the webhook takes events, and never faster than attempts are
//! recorded. It waits for any page, not for the oldest: events that a dead node had in flight come
//! again only after `bus.ack_wait`.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{Error, Page, context::Context};
use crate::model::{EventId, Job, WebhookId};

/// Pages that may be in flight: some seconds' work, far more than recording takes.
const PAGES_MAX: usize = 4;
const CHECK_PAUSE_MIN: Duration = Duration::from_millis(50);
const CHECK_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The longest wait for one page. Some events are never attempted, for example those of a type that
/// their webhook does not want any more.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(300);
/// After this time the job's `error` says what it waits for.
const EXPLAINED_AFTER: Duration = Duration::from_secs(5);
const EXPLANATION: &str = "the webhook does not keep up; the job goes on as it takes deliveries";
/// How long the store may take for one event.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The last event of each page in flight, and the number of its attempt before.
#[derive(Default)]
pub(super) struct Window(VecDeque<(WebhookId, EventId, u16)>);

impl Window {
    /// Adds a page of which the first `sent` events went out.
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
        let mut pause = CHECK_PAUSE_MIN;
        let mut is_explained = false;
        while self.0.len() >= PAGES_MAX {
            self.forget_attempted(context, job).await?;
            if began.elapsed() >= PAGE_WAIT_MAX {
                self.0.pop_front();
            }
            if self.0.len() < PAGES_MAX {
                break;
            }
            if began.elapsed() >= EXPLAINED_AFTER {
                let explain = |job: &mut Job| job.error = Some(EXPLANATION.to_owned());
                let jobs = context.bus.jobs();
                let now = if is_explained {
                    jobs.get(job.client_id, job.id).await?
                } else {
                    jobs.change(job, explain).await?
                };
                is_explained = true;
                if now.is_none_or(|job| job.cancel_requested || !job.state.is_active()) {
                    return Ok(false);
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(CHECK_PAUSE_MAX);
        }
        Ok(true)
    }

    async fn forget_attempted(&mut self, context: &Context, job: &Job) -> Result<(), Error> {
        for (webhook, event, number) in std::mem::take(&mut self.0) {
            let found = timeout(
                LOOKUP_TIMEOUT,
                context.store.event(job.client_id, webhook, event),
            );
            let found = found.await.map_err(|_| Error::Slow)??;
            if found.is_some_and(|event| event.last().number <= number) {
                self.0.push_back((webhook, event, number));
            }
        }
        Ok(())
    }
}
