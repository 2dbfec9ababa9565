//! Reading the log of a session's keys, and what it adds up to.

use std::time::Duration;

use async_nats::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::{Bus, Error, Stream, stream::is_missing};
use crate::{
    model::{KeyTables, SessionId},
    wire::{self, KeyEntry, KeyRecord, KeyRecordError, subject},
};

/// Records of one read, and their bytes.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// How long the next record of a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers "no more".
const END: u16 = 204;

/// A record as it is stored.
#[derive(Clone)]
pub(super) struct StoredRecord {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

/// What a log adds up to.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) tables: KeyTables,
    /// Of the last record. 0: there is none.
    pub(super) sequence: u64,
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// Bytes of the last snapshot, and of the records behind it.
    pub(super) snapshot_bytes: usize,
    pub(super) log_bytes: usize,
    /// Whether a record is sealed with another key than the newest.
    pub(super) has_old_seal: bool,
    /// Whether the last snapshot is in parts.
    pub(super) has_parts: bool,
}

impl Bus {
    /// The log as the stream's leader has it. Most comes from any server that has the stream, many
    /// records at a time: what such a one does not have yet, the leader is asked for.
    pub(super) async fn key_records(&self, log: &str) -> Result<Vec<StoredRecord>, Error> {
        let mut all = Vec::new();
        loop {
            let read = self.key_record_batch(log, after(&all)).await?;
            let is_end = read.len() < BATCH;
            all.extend(read);
            if is_end {
                break;
            }
        }
        self.further_key_records(log, &mut all).await?;
        Ok(all)
    }

    /// Adds what the leader has behind these records.
    pub(super) async fn further_key_records(
        &self,
        log: &str,
        all: &mut Vec<StoredRecord>,
    ) -> Result<(), Error> {
        let stream = self.stream(Stream::SessionKeys).await?;
        loop {
            let next = stream
                .raw_message_builder()
                .sequence(after(all))
                .next_by_subject(log);
            match next.send().await {
                Ok(found) => all.push(StoredRecord {
                    sequence: found.sequence,
                    payload: found.payload,
                }),
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(Error::Refused(error.to_string())),
            }
        }
    }

    /// The last record under a subject, as the stream's leader has it.
    pub(super) async fn last_key_record(
        &self,
        subject: &str,
    ) -> Result<Option<StoredRecord>, Error> {
        let stream = self.stream(Stream::SessionKeys).await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(found) => Ok(Some(StoredRecord {
                sequence: found.sequence,
                payload: found.payload,
            })),
            Err(error)
                if error.kind()
                    == async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn key_record_batch(&self, log: &str, from: u64) -> Result<Vec<StoredRecord>, Error> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let request = json!({
            "seq": from,
            "next_by_subj": log,
            "batch": BATCH,
            "max_bytes": BATCH_BYTES,
        });
        let subject = self.api_subject(format!("DIRECT.GET.{}", Stream::SessionKeys));
        let body = serde_json::to_vec(&request)?;
        self.client
            .publish_with_reply(subject, inbox, body.into())
            .await?;
        let mut all = Vec::new();
        loop {
            let answer = timeout(READ_TIMEOUT, answers.next())
                .await
                .map_err(|_| Error::Timeout("answer with a session's keys"))?
                .ok_or(Error::Closed("a read of a session's keys"))?;
            match answer.status {
                None => all.push(StoredRecord {
                    sequence: sequence_of(answer.headers.as_ref())?,
                    payload: answer.payload,
                }),
                Some(status) if status.as_u16() == END || status == StatusCode::NOT_FOUND => {
                    return Ok(all);
                }
                Some(status) => {
                    let text = answer.description.unwrap_or_default();
                    return Err(Error::Refused(format!("{status} {text}")));
                }
            }
        }
    }

    /// What these records add up to.
    ///
    /// # Errors
    /// When one does not open, or does not follow on the one before it.
    pub(super) async fn replay_keys(
        &self,
        session: SessionId,
        stored: &[StoredRecord],
    ) -> Result<Replayed, Error> {
        let log = subject::session_keys(session);
        let keys = self.keyring()?;
        let mut records = Vec::with_capacity(stored.len());
        for one in stored {
            let (record, key) = wire::decode_key_record(&one.payload, &log, keys)
                .map_err(|source| refused(one.sequence, source))?;
            records.push((record, key != keys.newest()));
        }
        let is_start = |entry: &KeyEntry| {
            matches!(
                entry,
                KeyEntry::Snapshot(_) | KeyEntry::SnapshotInParts(_) | KeyEntry::Erased
            )
        };
        let start = records.iter().rposition(|(one, _)| is_start(&one.entry));
        let mut replayed = Replayed::default();
        let from = start.unwrap_or_default();
        for (one, (record, has_old_seal)) in stored.iter().zip(records).skip(from) {
            self.replay_record(session, &mut replayed, one, record)
                .await?;
            replayed.has_old_seal |= has_old_seal;
        }
        Ok(replayed)
    }

    async fn replay_record(
        &self,
        session: SessionId,
        replayed: &mut Replayed,
        stored: &StoredRecord,
        record: KeyRecord,
    ) -> Result<(), Error> {
        let KeyRecord {
            epoch,
            number,
            entry,
        } = record;
        let damaged = || refused(stored.sequence, KeyRecordError::Damaged);
        let is_first = replayed.sequence == 0;
        let follows = number == replayed.number + 1 && epoch >= replayed.epoch;
        replayed.log_bytes += stored.payload.len();
        let rows = match entry {
            KeyEntry::Owner if follows => Vec::new(),
            KeyEntry::Changes(changes) if follows && !is_first => changes,
            KeyEntry::Erased if is_first => Vec::new(),
            KeyEntry::Snapshot(rows) if is_first => {
                replayed.snapshot_bytes = std::mem::take(&mut replayed.log_bytes);
                rows
            }
            KeyEntry::SnapshotInParts(parts) if is_first => {
                let mut rows = Vec::new();
                for part in 0..parts {
                    let subject = subject::session_key_part(session, epoch, number, part);
                    rows.extend(
                        self.key_part(&subject, replayed)
                            .await?
                            .ok_or_else(damaged)?,
                    );
                }
                replayed.has_parts = true;
                replayed.snapshot_bytes = std::mem::take(&mut replayed.log_bytes);
                rows
            }
            _ => return Err(damaged()),
        };
        for row in &rows {
            replayed.tables.apply(row);
        }
        replayed.sequence = stored.sequence;
        replayed.number = number;
        replayed.epoch = epoch;
        Ok(())
    }

    async fn key_part(
        &self,
        subject: &str,
        replayed: &mut Replayed,
    ) -> Result<Option<Vec<crate::model::KeyChange>>, Error> {
        let Some(stored) = self.last_key_record(subject).await? else {
            return Ok(None);
        };
        let keys = self.keyring()?;
        let (record, key) = wire::decode_key_record(&stored.payload, subject, keys)
            .map_err(|source| refused(stored.sequence, source))?;
        replayed.has_old_seal |= key != keys.newest();
        replayed.log_bytes += stored.payload.len();
        match record.entry {
            KeyEntry::Part(rows) => Ok(Some(rows)),
            _ => Ok(None),
        }
    }
}

/// Where to read on.
fn after(all: &[StoredRecord]) -> u64 {
    all.last().map_or(1, |last| last.sequence + 1)
}

fn refused(sequence: u64, source: KeyRecordError) -> Error {
    Error::SessionKeys { sequence, source }
}

fn sequence_of(headers: Option<&HeaderMap>) -> Result<u64, Error> {
    let value = headers.and_then(|headers| headers.get_last(header::NATS_SEQUENCE));
    let sequence = value.and_then(|value| value.as_str().parse().ok());
    sequence.ok_or_else(|| Error::Refused("an answer without its number".to_owned()))
}
