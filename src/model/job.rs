//! Jobs that send many deliveries again. If its node stops, another node continues a job.

use serde::{Deserialize, Serialize};

use super::{ClientId, EventId, EventStatus, JobId, Kind, Phone, Timestamp, Webhook, WebhookId};

/// The state of a job.
///
/// # Examples
///
/// ```
/// use wahook::model::JobState;
///
/// assert!(JobState::Queued.is_active());
/// assert!(!JobState::Cancelled.is_active());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No node runs it yet, or another job of its client runs first.
    Queued,
    /// It counts the matching events.
    Counting,
    /// It sends events.
    Running,
    /// All matching events were sent or skipped.
    Done,
    /// Its owner cancelled it.
    Cancelled,
    /// It failed; `error` says why.
    Failed,
}

impl JobState {
    /// Whether it has not ended.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Counting | Self::Running)
    }
}

/// Which events a replay includes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Only events of this webhook; without it, of all webhooks of the client.
    pub webhook: Option<WebhookId>,
    /// Only events with this status. Of those that are pending or sent, only the lost ones.
    pub status: EventStatus,
    /// Only messages of this kind.
    pub kind: Option<Kind>,
    /// Only events published at this time or later.
    pub since: Option<Timestamp>,
    /// Only events published before this time. It is fixed when the job is made, so the job ends.
    pub until: Timestamp,
}

/// The progress of a replay. It goes through the webhooks by id, and in each from the newest event
/// to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCursor {
    /// The webhook it is at.
    pub webhook: WebhookId,
    /// This event and all newer ones are done.
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
        /// Which events.
        filter: JobFilter,
        /// The most events per second.
        rate_per_second: u32,
        /// The progress; `None` before the first event.
        place: Option<JobCursor>,
    },
    /// Sends the held deliveries of a webhook, in order. Sent ones are no longer held, so it needs
    /// no cursor.
    Release {
        /// The webhook.
        webhook: WebhookId,
        /// The number of the webhook.
        phone: Phone,
        /// How often the release was requested. If this grew while the job was ending, it looks
        /// for held deliveries once more.
        #[serde(rename = "asked")]
        request_count: u64,
    },
}

/// A job as its bucket stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The client that owns it. It reads and sends only events of this client.
    pub client_id: ClientId,
    /// What it does.
    pub work: JobWork,
    /// Its state.
    pub state: JobState,
    /// Whether its owner wants it to end.
    #[serde(rename = "is_cancelled")]
    pub cancel_requested: bool,
    /// The number of matching events, once counted.
    pub matched: Option<u64>,
    /// The number of events sent.
    pub sent: u64,
    /// The number of events skipped, because the webhook gets no deliveries now, or none of this
    /// type.
    pub skipped: u64,
    /// Why it failed, or what it waits for; its owner sees this text.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a node first ran it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Job {
    /// A job that has not started.
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

    /// The release of this webhook's held deliveries. It has the webhook's id, so that there is one
    /// per webhook at most.
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

    /// Ends it in this state.
    pub fn end(&mut self, state: JobState, at: Timestamp) {
        self.state = state;
        self.ended_at = Some(at);
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
