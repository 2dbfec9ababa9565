//! Jobs in a bucket: what is wanted, how far it is, and each change.

use super::{
    Bus, Error,
    bucket::{Bucket, Buckets, Json, Write},
    bucket_watch::{Update, Watch},
};
use crate::model::{ClientId, Delivery, Job, JobId, JobState, JobWork, Timestamp, Webhook};

const JOBS: &str = "wa_jobs";

/// The key of a replay.
fn replay_key(client: ClientId, id: JobId) -> String {
    format!("{client}.{id}")
}

/// A release is a level deeper, so that no list shows it.
fn key(job: &Job) -> String {
    let client = job.client_id;
    let id = job.id;
    if job.is_release() {
        format!("{client}.release.{id}")
    } else {
        replay_key(client, id)
    }
}

/// All jobs, and then each change of one.
pub struct JobChanges {
    watch: Watch<Job, Json>,
}

impl JobChanges {
    /// The next job as it is now; those that are removed had ended. After an error, watch again.
    pub async fn next(&mut self) -> Result<Job, Error> {
        loop {
            match self.watch.next().await? {
                Update::Put(_, Ok(job)) => return Ok(job),
                Update::Put(_, Err(error)) => tracing::error!(%error, "skipping a job"),
                Update::Deleted(_) | Update::CaughtUp => {}
            }
        }
    }
}

/// Jobs that send many deliveries again: replays, and releases of what a webhook holds.
#[derive(Clone)]
pub struct Jobs {
    bucket: Bucket<Job>,
}

impl Jobs {
    pub(super) fn new(buckets: &Buckets) -> Self {
        let bucket = buckets.json(JOBS);
        Self { bucket }
    }

    /// Asks for a job; `false` when this client has one of this id already.
    pub async fn create(&self, job: &Job) -> Result<bool, Error> {
        Ok(self.bucket.create(&key(job), job).await?.is_some())
    }

    /// A replay, if it is this client's.
    pub async fn get(&self, client: ClientId, id: JobId) -> Result<Option<Job>, Error> {
        self.bucket.get(&replay_key(client, id)).await
    }

    /// All replays of a client, the newest first.
    pub async fn list(&self, client: ClientId) -> Result<Vec<Job>, Error> {
        let all = self.bucket.list(&format!("{client}.*")).await?;
        let mut jobs: Vec<Job> = all.into_iter().map(|(_, entry)| entry.value).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
        Ok(jobs)
    }

    /// Changes a job and gives it back as it is then; `None` when it was removed.
    pub async fn change(
        &self,
        job: &Job,
        mut change: impl FnMut(&mut Job),
    ) -> Result<Option<Job>, Error> {
        let changed = self
            .bucket
            .change(&key(job), |job| {
                change(job);
                Ok::<_, Error>(())
            })
            .await?;
        Ok(changed.map(|(job, ())| job))
    }

    /// Removes a replay that has ended.
    pub async fn remove(&self, client: ClientId, id: JobId) -> Result<(), Error> {
        self.bucket.forget(&replay_key(client, id)).await
    }

    /// All jobs as they are, and each change from now on.
    pub async fn watch(&self) -> Result<JobChanges, Error> {
        let watch = self.bucket.watch(">").await?;
        Ok(JobChanges { watch })
    }

    /// Asks for the release of what a webhook holds. A release that runs already looks again before
    /// it ends.
    pub async fn request_release(&self, webhook: &Webhook, now: Timestamp) -> Result<(), Error> {
        let fresh = Job::release(webhook, now);
        self.bucket
            .modify(&key(&fresh), |present| {
                let mut job = present.unwrap_or(&fresh).clone();
                match &mut job.work {
                    _ if present.is_none() => {}
                    JobWork::Release { request_count, .. } if job.state.is_active() => {
                        *request_count += 1;
                    }
                    _ => job = fresh.clone(),
                }
                Ok::<_, Error>((Write::Put(job), ()))
            })
            .await
            .map(drop)
    }

    /// Whether what a webhook holds is being released.
    pub async fn is_releasing(&self, webhook: &Webhook, now: Timestamp) -> Result<bool, Error> {
        let job = self.bucket.get(&key(&Job::release(webhook, now))).await?;
        Ok(job.is_some_and(|job| job.state.is_active()))
    }

    /// Ends a release, unless it was requested again since it was requested `seen` times; whether
    /// it ended.
    pub async fn end_release(&self, job: &Job, seen: u64, now: Timestamp) -> Result<bool, Error> {
        let job = self.change(job, |job| {
            if matches!(job.work, JobWork::Release { request_count, .. } if request_count == seen) {
                job.end(JobState::Done, now);
            }
        });
        Ok(job.await?.is_none_or(|job| !job.state.is_active()))
    }
}

impl Bus {
    /// Publishes deliveries again for a job, without waiting between them. The same delivery of the
    /// same job is stored once within the stream's duplicate window.
    ///
    /// # Errors
    /// When some are not acknowledged in time: publish all of them again.
    pub async fn publish_again(&self, job: JobId, deliveries: &[Delivery]) -> Result<(), Error> {
        let all = deliveries
            .iter()
            .map(|delivery| (delivery, format!("replay:{job}:{}", delivery.event_id)));
        self.publish_deliveries(all).await
    }
}
