//! The log of a WhatsApp session's keys: one subject, one writer.
//!
//! Every record is stored only if it follows on the last one that this owner knows. So from the
//! record with which another node takes over, none of this owner's is stored any more, however
//! late it comes.

use std::time::Duration;

use async_nats::{HeaderMap, header, jetstream::context::PublishErrorKind};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Bus, Error, Stream, key_reading::Replayed};
use crate::{
    model::{KeyChange, KeyTables, SessionId},
    wire::{self, KeyEntry, KeyRecord, Keyring, subject},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of rows in one record, well below what a server takes in one message.
const RECORD_BYTES_MAX: usize = 700 * 1024;
/// Bytes of records after which a snapshot replaces them, if it is not larger itself.
const LOG_BYTES_MAX: usize = 256 * 1024;

/// How a record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storing {
    /// Behind the others under its subject.
    Behind,
    /// In place of them.
    InPlace,
}

/// The log of one session's keys, in its owner's hands.
///
/// After an error it takes nothing more: what is stored is known only to who takes over next.
pub struct KeyLog {
    bus: Bus,
    session: SessionId,
    subject: String,
    epoch: u64,
    /// Of the last record, in the stream and in the log.
    sequence: u64,
    number: u64,
    snapshot_bytes: usize,
    log_bytes: usize,
    has_old_seal: bool,
    has_parts: bool,
    is_broken: bool,
}

impl KeyLog {
    pub(super) fn new(bus: &Bus, session: SessionId, epoch: u64, from: &Replayed) -> Self {
        Self {
            bus: bus.clone(),
            session,
            subject: subject::session_keys(session),
            epoch,
            sequence: from.sequence,
            number: from.number,
            snapshot_bytes: from.snapshot_bytes,
            log_bytes: from.log_bytes,
            has_old_seal: from.has_old_seal,
            has_parts: from.has_parts,
            is_broken: false,
        }
    }

    /// The number of the last record.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether a snapshot is due.
    pub fn is_long(&self) -> bool {
        self.has_old_seal || self.log_bytes > LOG_BYTES_MAX.max(self.snapshot_bytes)
    }

    /// Stores changes, in their order; all of them once it returns. After an error, or cut off,
    /// the first of them may be stored.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another owner has written since.
    pub async fn append(&mut self, changes: Vec<KeyChange>) -> Result<(), Error> {
        for some in split(changes) {
            self.write(KeyEntry::Changes(some), Storing::Behind).await?;
        }
        Ok(())
    }

    /// Stores a snapshot in place of all records before it.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another owner has written since.
    pub async fn snapshot(&mut self, tables: &KeyTables) -> Result<(), Error> {
        let mut parts = split(tables.changes());
        let before = self.log_bytes;
        if parts.len() <= 1 {
            let rows = parts.pop().unwrap_or_default();
            self.write(KeyEntry::Snapshot(rows), Storing::InPlace)
                .await?;
        } else {
            self.write_parts(parts).await?;
        }
        self.snapshot_bytes = self.log_bytes - before;
        self.log_bytes = 0;
        self.has_old_seal = false;
        if self.has_parts {
            self.delete_parts(Some(self.number)).await;
            self.has_parts = self.is_in_parts(tables);
        }
        Ok(())
    }

    fn is_in_parts(&self, tables: &KeyTables) -> bool {
        split(tables.changes()).len() > 1
    }

    async fn write_parts(&mut self, parts: Vec<Vec<KeyChange>>) -> Result<(), Error> {
        let count = u16::try_from(parts.len()).map_err(|_| Error::TooLarge)?;
        let number = self.number + 1;
        for (part, rows) in (0..).zip(parts) {
            let subject = subject::session_key_part(self.session, self.epoch, number, part);
            let record = KeyRecord {
                epoch: self.epoch,
                number,
                entry: KeyEntry::Part(rows),
            };
            let payload = Bytes::from(self.encode(&record, &subject)?);
            self.log_bytes += payload.len();
            // Nobody else writes under this subject.
            self.bus
                .store_key_record(&subject, payload, 0, Storing::Behind)
                .await?;
        }
        self.has_parts = true;
        self.write(KeyEntry::SnapshotInParts(count), Storing::InPlace)
            .await
    }

    /// Leaves a record in place of all others that says that there are no keys. The log must not
    /// be empty: an owner of the past could go on with an empty one.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another owner has written since.
    pub async fn erase(mut self) -> Result<(), Error> {
        self.write(KeyEntry::Erased, Storing::InPlace).await?;
        self.delete_parts(None).await;
        Ok(())
    }

    /// The record with which this owner begins.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.write(KeyEntry::Owner, Storing::Behind).await
    }

    async fn write(&mut self, entry: KeyEntry, storing: Storing) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::TakenOver);
        }
        let record = KeyRecord {
            epoch: self.epoch,
            number: self.number + 1,
            entry,
        };
        let payload = Bytes::from(self.encode(&record, &self.subject)?);
        let bytes = payload.len();
        // Also if this is cut off: what the server did then is not known here.
        self.is_broken = true;
        self.sequence = self
            .bus
            .store_key_record(&self.subject, payload, self.sequence, storing)
            .await?;
        self.number = record.number;
        self.log_bytes += bytes;
        self.is_broken = false;
        Ok(())
    }

    fn encode(&self, record: &KeyRecord, subject: &str) -> Result<Vec<u8>, Error> {
        Ok(wire::encode_key_record(
            record,
            subject,
            self.bus.keyring()?,
        ))
    }

    /// Deletes the parts of all snapshots but this one. What is left is deleted with the next.
    async fn delete_parts(&self, but: Option<u64>) {
        let filter = subject::session_key_parts(self.session);
        let kept = but.map(|number| subject::session_key_part(self.session, self.epoch, number, 0));
        let kept = kept.as_deref().and_then(|first| first.strip_suffix('0'));
        if let Err(error) = self.bus.delete_key_parts(&filter, kept).await {
            tracing::debug!(%error, "parts of an old snapshot are deleted later");
        }
    }
}

impl Bus {
    pub(super) fn keyring(&self) -> Result<&Keyring, Error> {
        self.loaded_keys().get()
    }

    /// Stores a record behind the message `expected` of its subject, and gives its number in the
    /// stream. Without an answer it tries again: the record can be stored only once. When the
    /// server says that another is there, that may be this one.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another is there.
    pub(super) async fn store_key_record(
        &self,
        subject: &str,
        payload: Bytes,
        expected: u64,
        storing: Storing,
    ) -> Result<u64, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            expected.to_string().as_str(),
        );
        if storing == Storing::InPlace {
            headers.insert(header::NATS_ROLLUP, "sub");
        }
        let deadline = Instant::now() + self.settings.publish_deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let once = async {
                self.context
                    .publish_with_headers(subject.to_owned(), headers.clone(), payload.clone())
                    .await?
                    .await
            };
            let error = match timeout_at(deadline, once).await {
                Ok(Ok(ack)) => return Ok(ack.sequence),
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::Unacknowledged("deadline passed".to_owned())),
            };
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => return Err(Error::TooLarge),
                PublishErrorKind::WrongLastSequence => {
                    return match self.last_key_record(subject).await? {
                        // Sealed with a nonce of its own: no other record has these bytes.
                        Some(last) if last.payload == payload => Ok(last.sequence),
                        _ => Err(Error::TakenOver),
                    };
                }
                _ => {}
            }
            let no_room = Error::no_room(&error);
            if no_room.is_some() || Instant::now() + pause >= deadline {
                return Err(no_room.unwrap_or_else(|| Error::Unacknowledged(error.to_string())));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn delete_key_parts(&self, filter: &str, kept: Option<&str>) -> Result<(), Error> {
        let stream = self.stream(Stream::SessionKeys).await?;
        let found = stream.info_builder().subjects(filter).fetch().await?;
        let subjects: Vec<(String, usize)> = futures_util::TryStreamExt::try_collect(found).await?;
        let is_old = |subject: &str| kept.is_none_or(|kept| !subject.starts_with(kept));
        for (subject, _) in subjects.iter().filter(|(subject, _)| is_old(subject)) {
            if let Some(last) = self.last_key_record(subject).await? {
                self.delete(Stream::SessionKeys, last.sequence).await?;
            }
        }
        Ok(())
    }
}

/// Changes in groups of which each fits into a record.
fn split(changes: Vec<KeyChange>) -> Vec<Vec<KeyChange>> {
    let mut groups: Vec<Vec<KeyChange>> = Vec::new();
    let mut bytes = RECORD_BYTES_MAX;
    for change in changes {
        bytes += change.bytes();
        match groups.last_mut() {
            Some(group) if bytes <= RECORD_BYTES_MAX => group.push(change),
            _ => {
                bytes = change.bytes();
                groups.push(vec![change]);
            }
        }
    }
    groups
}
