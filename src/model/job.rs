//! Work that sends many deliveries again, and outlives the node that does it.

use serde::{Deserialize, Serialize};

use super::{ClientId, EventId, EventStatus, JobId, Kind, Phone, Timestamp, Webhook, WebhookId};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No node has taken it up, or another job of its client is before it.
    Queued,
    /// It counts what matches.
    Counting,
    /// It sends.
    Running,
    /// All that matched was sent or skipped.
    Done,
    /// Its owner ended it.
    Cancelled,
    /// It cannot be done; `error` says why.
    Failed,
}

impl JobState {
    /// Whether there is still something to do.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Counting | Self::Running)
    }
}

/// Which events a replay takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Only this webhook's; all of the client's otherwise.
    pub webhook: Option<WebhookId>,
    /// How they stand: failed or delivered.
    pub status: EventStatus,
    /// Only messages of this kind.
    pub kind: Option<Kind>,
    /// First published at or after.
    pub since: Option<Timestamp>,
    /// First published before: fixed when the job is made, so that it has an end.
    pub until: Timestamp,
}

/// How far a replay has come: webhook after webhook by id, in each from the newest event to the
/// oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCursor {
    /// In this webhook's events.
    pub webhook: WebhookId,
    /// Before (newer than or at) this one all is done.
    pub after: Option<EventId>,
    /// Whether this webhook is done.
    pub is_done: bool,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JobWork {
    /// Sends events again, at low priority.
    Replay {
        /// Which.
        filter: JobFilter,
        /// How many a second at most.
        rate_per_second: u32,
        /// All before this is done.
        place: Option<JobCursor>,
    },
    /// Sends what a webhook held meanwhile, in order. What is sent is no longer held, so it needs
    /// no place.
    Release {
        /// Whose.
        webhook: WebhookId,
        /// Its number.
        phone: Phone,
        /// How often the release was requested. If this grew while the job was ending, it looks
        /// for held deliveries once more.
        #[serde(rename = "asked")]
        request_count: u64,
    },
}

/// A job as its bucket keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Whose it is; it reads and sends nothing of anybody else.
    pub client_id: ClientId,
    /// What it does.
    pub work: JobWork,
    /// How far it is.
    pub state: JobState,
    /// Whether its owner asked for its end.
    #[serde(rename = "is_cancelled")]
    pub cancel_requested: bool,
    /// What it will take, once counted.
    pub matched: Option<u64>,
    /// What it put on its way.
    pub sent: u64,
    /// What it left out, since the webhook takes no deliveries, or none of this type.
    pub skipped: u64,
    /// Why it failed, or what it waits for; in words fit for its owner.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a node first took it up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Job {
    /// One that nobody has begun.
    pub fn new(id: JobId, client_id: ClientId, work: JobWork, created_at: Timestamp) -> Self {
        Self {
            id,
            client_id,
            work,
            state: JobState::Queued,
            cancel_requested: false,
            matched: None,
            sent: 0,
            skipped: 0,
            error: None,
            created_at,
            started_at: None,
            ended_at: None,
        }
    }

    /// The release of what this webhook holds. There is one per webhook at most: it goes by the
    /// webhook's id.
    pub fn release(webhook: &Webhook, created_at: Timestamp) -> Self {
        let work = JobWork::Release {
            webhook: webhook.id,
            phone: webhook.phone.clone(),
            request_count: 1,
        };
        Self::new(JobId(webhook.id.0), webhook.client_id, work, created_at)
    }

    /// Whether it is a release.
    pub fn is_release(&self) -> bool {
        matches!(self.work, JobWork::Release { .. })
    }

    /// Ends it.
    pub fn end(&mut self, state: JobState, at: Timestamp) {
        (self.state, self.ended_at) = (state, Some(at));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Nodes of different versions share the bucket.
    #[test]
    fn a_job_keeps_the_stored_names_of_its_fields() {
        let work = JobWork::Release {
            webhook: WebhookId(Uuid::from_u128(1)),
            phone: "4915112345678".parse().expect("valid"),
            request_count: 2,
        };
        let client = ClientId::try_from(3).expect("in range");
        let job = Job::new(JobId(Uuid::from_u128(1)), client, work, Timestamp::EPOCH);
        let stored = serde_json::to_value(&job).expect("has a JSON form");
        assert_eq!(stored["work"]["asked"], 2, "{stored}");
        assert_eq!(stored["is_cancelled"], false, "{stored}");
        let read: Job = serde_json::from_value(stored).expect("comes back");
        assert_eq!(read, job);
    }
}
