//! Jobs in a bucket: what is wanted, how far it is, and each change.

use async_nats::jetstream::kv::{self, Operation, Watch};
use futures_util::{StreamExt, TryStreamExt};

use super::{
    Bus, Error, Registry,
    registry::{CONTENTION_MAX, read, write},
};
use crate::model::{ClientId, Delivery, Job, JobId, JobState, JobWork, Timestamp, Webhook};

const JOBS: &str = "wa_jobs";

/// Replays by their ids; a release by its webhook's, a level deeper: it is nobody's to list.
fn text(client: ClientId, id: JobId) -> String {
    format!("{client}.{id}")
}

fn key(job: &Job) -> String {
    let client = job.client_id;
    let id = job.id;
    if job.is_release() {
        format!("{client}.release.{id}")
    } else {
        text(client, id)
    }
}

/// All jobs, and then each change of one.
pub struct JobChanges {
    entries: Watch,
}

impl JobChanges {
    /// The next job as it is now; those that are removed had ended.
    ///
    /// # Errors
    /// When the bus does not answer any more: watch again.
    pub async fn next(&mut self) -> Result<Job, Error> {
        loop {
            let Some(entry) = self.entries.next().await else {
                return Err(Error::Closed("the watch on jobs"));
            };
            let entry = entry?;
            if entry.operation == Operation::Put {
                match read(JOBS, &entry.value) {
                    Ok(job) => return Ok(job),
                    Err(error) => tracing::error!(%error, "skipping a job"),
                }
            }
        }
    }
}

impl Registry {
    /// Asks for a job; `false` when this client has one of this id already.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn create_job(&self, job: &Job) -> Result<bool, Error> {
        let bucket = self.bucket(JOBS).await?;
        match bucket.create(key(job), write(JOBS, job)?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// A replay, if it is this client's.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn job(&self, client: ClientId, id: JobId) -> Result<Option<Job>, Error> {
        let bytes = self.bucket(JOBS).await?.get(text(client, id)).await?;
        bytes.map(|bytes| read(JOBS, &bytes)).transpose()
    }

    /// All replays of a client, the newest first. Asks for this client's keys alone.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn jobs(&self, client: ClientId) -> Result<Vec<Job>, Error> {
        let bucket = self.bucket(JOBS).await?;
        let filter = format!("{}{client}.*", bucket.prefix);
        let mut subjects = bucket
            .stream
            .info_builder()
            .subjects(filter)
            .fetch()
            .await?;
        let mut jobs: Vec<Job> = Vec::new();
        while let Some((subject, _)) = subjects.try_next().await? {
            let Some(key) = subject.strip_prefix(&bucket.prefix) else {
                continue;
            };
            if let Some(bytes) = bucket.get(key).await? {
                jobs.push(read(JOBS, &bytes)?);
            }
        }
        jobs.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.id)));
        Ok(jobs)
    }

    /// Changes a job and gives it back as it is then; `None` when it is there no more.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn change_job(
        &self,
        job: &Job,
        mut change: impl FnMut(&mut Job),
    ) -> Result<Option<Job>, Error> {
        let bucket = self.bucket(JOBS).await?;
        for _ in 0..CONTENTION_MAX {
            let entry = bucket.entry(key(job)).await?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
                return Ok(None);
            };
            let mut job: Job = read(JOBS, &entry.value)?;
            change(&mut job);
            let bytes = write(JOBS, &job)?;
            if self
                .replace(&bucket, &key(&job), bytes, entry.revision)
                .await?
                .is_some()
            {
                return Ok(Some(job));
            }
        }
        Err(Error::Contended)
    }

    /// Forgets a replay that has ended. Without the trace that deleting a key leaves: each would
    /// cost every list a look.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn remove_job(&self, client: ClientId, id: JobId) -> Result<(), Error> {
        let bucket = self.bucket(JOBS).await?;
        let subject = format!("{}{}", bucket.prefix, text(client, id));
        bucket.stream.purge().filter(subject).await?;
        Ok(())
    }

    /// All jobs as they are, and each change from now on.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn watch_jobs(&self) -> Result<JobChanges, Error> {
        let entries = self.bucket(JOBS).await?.watch_with_history(">").await?;
        Ok(JobChanges { entries })
    }

    /// Asks for the release of what a webhook holds. One that is under way already will look again
    /// before it ends.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn want_release(&self, webhook: &Webhook, now: Timestamp) -> Result<(), Error> {
        let bucket = self.bucket(JOBS).await?;
        let fresh = Job::release(webhook, now);
        let key = key(&fresh);
        for _ in 0..CONTENTION_MAX {
            let entry = bucket.entry(&key).await?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
                if self.create_job(&fresh).await? {
                    return Ok(());
                }
                continue;
            };
            let mut job: Job = read(JOBS, &entry.value)?;
            match &mut job.work {
                JobWork::Release { request_count, .. } if job.state.is_active() => {
                    *request_count += 1
                }
                _ => job = fresh.clone(),
            }
            if self
                .replace(&bucket, &key, write(JOBS, &job)?, entry.revision)
                .await?
                .is_some()
            {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Ends a release, unless it was asked for again since it was asked for `seen` times; whether
    /// it ended.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn end_release(&self, job: &Job, seen: u64, now: Timestamp) -> Result<bool, Error> {
        let job = self.change_job(job, |job| {
            if matches!(job.work, JobWork::Release { request_count, .. } if request_count == seen) {
                job.end(JobState::Done, now);
            }
        });
        Ok(job.await?.is_none_or(|job| !job.state.is_active()))
    }
}

impl Bus {
    /// Sends deliveries on their way again for a job, without waiting between them. A second
    /// publish of one by the same job is not stored within the stream's duplicate window.
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
