//! The writing thread: it commits all waiting groups in one transaction, then answers each caller.

use std::{
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{health::Health, read::id};
use crate::{
    config,
    model::{Attempt, EventStatus, Outcome, Timestamp},
    store::Error,
    tasks::{Checkpoint, TaskKind, Tasks},
};

/// Calls that may wait in the thread's queue; further callers wait until it has room.
const QUEUE_MAX: usize = 256;

/// Attempts that one call deletes: writes must not wait for long.
const EXPIRED_MAX: i64 = 2000;
/// Pages that one call gives back to the file system: more than its attempts free, and quick even
/// where a whole index was dropped.
const VACUUM_PAGES: u32 = 4000;

/// After a transaction the thread is idle for this many times its duration, unless the next one is
/// full already. Larger transactions cost less processor time per row: a page is written once for
/// all rows that go into it.
const IDLE_FACTOR: u32 = 3;
const IDLE_MAX: Duration = Duration::from_millis(50);

/// The thread's niceness, from 0 to 19: a commit takes milliseconds, for which deliveries would
/// otherwise wait when all processors are busy.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

struct Group {
    attempts: Vec<Attempt>,
    done: oneshot::Sender<Result<(), Error>>,
}

struct Expiry {
    before: Timestamp,
    done: oneshot::Sender<Result<usize, Error>>,
}

enum Work {
    Write(Group),
    Expire(Expiry),
}

#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Work>);

impl Writer {
    /// Starts the thread, which ends when the last clone is dropped.
    pub(super) fn start(
        connection: Connection,
        settings: &config::Store,
        health: Health,
        tasks: &Tasks,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let queue = Queue {
            receiver,
            next: None,
            rows_max: settings.batch_max,
        };
        let wait = settings.batch_wait;
        let work = move |checkpoint: &Checkpoint| {
            run(connection, queue, wait, &health, checkpoint);
            // All writers are gone.
            true
        };
        tasks
            .thread(TaskKind::SqliteWriter, work)
            .expect("a thread can be started while the process starts");
        Self(sender)
    }

    pub(super) async fn write(&self, attempts: Vec<Attempt>) -> Result<(), Error> {
        let (done, written) = oneshot::channel();
        self.0
            .send(Work::Write(Group { attempts, done }))
            .await
            .map_err(|_| Error::closed())?;
        written.await.map_err(|_| Error::closed())?
    }

    pub(super) async fn expire(&self, before: Timestamp) -> Result<usize, Error> {
        let (done, expired) = oneshot::channel();
        self.0
            .send(Work::Expire(Expiry { before, done }))
            .await
            .map_err(|_| Error::closed())?;
        expired.await.map_err(|_| Error::closed())?
    }
}

/// Lets deliveries have processor time first. Results that wait to be written are safe in their
/// stream.
fn lower_thread_priority() {
    // Elsewhere this would lower the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "the store's thread keeps its priority");
    }
}

fn run(
    mut connection: Connection,
    mut queue: Queue,
    wait: Duration,
    health: &Health,
    checkpoint: &Checkpoint,
) {
    lower_thread_priority();
    let mut idle_until = Instant::now();
    while let Some(work) = queue.pop() {
        checkpoint.pass();
        let first = match work {
            Work::Write(group) => group,
            Work::Expire(Expiry { before, done }) => {
                let expired = expire(&mut connection, before);
                health.note(&expired);
                // The caller may have gone away.
                let _ = done.send(expired.map_err(Error::from));
                continue;
            }
        };
        let mut groups = vec![first];
        if queue.gather(&mut groups) == Gathered::QueueEmpty {
            let idle = idle_until.saturating_duration_since(Instant::now());
            thread::sleep(wait.max(idle));
            queue.gather(&mut groups);
        }
        let began = Instant::now();
        let written = commit(&mut connection, &groups);
        health.note_write(&written);
        let written = written.map_err(Error::from);
        idle_until = Instant::now() + (began.elapsed() * IDLE_FACTOR).min(IDLE_MAX);
        for group in groups {
            // The caller may have gone away.
            let _ = group.done.send(written.clone());
        }
    }
}

/// What waits for the thread.
struct Queue {
    receiver: mpsc::Receiver<Work>,
    /// Received while groups were gathered, but not a group.
    next: Option<Work>,
    rows_max: usize,
}

#[derive(PartialEq, Eq)]
enum Gathered {
    /// The transaction is full, or other work comes first.
    Enough,
    QueueEmpty,
}

impl Queue {
    /// Waits for work; `None` when all callers are gone.
    fn pop(&mut self) -> Option<Work> {
        self.next.take().or_else(|| self.receiver.blocking_recv())
    }

    /// Adds the groups that wait, up to the size of a transaction.
    fn gather(&mut self, groups: &mut Vec<Group>) -> Gathered {
        while self.next.is_none() && rows(groups) < self.rows_max {
            match self.receiver.try_recv() {
                Ok(Work::Write(group)) => groups.push(group),
                Ok(other) => self.next = Some(other),
                Err(_) => return Gathered::QueueEmpty,
            }
        }
        Gathered::Enough
    }
}

fn rows(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.attempts.len()).sum()
}

fn commit(connection: &mut Connection, groups: &[Group]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for attempt in groups.iter().flat_map(|group| &group.attempts) {
        // An attempt that was there before is counted already.
        if insert(&transaction, attempt)? {
            upsert_event_status(&transaction, attempt)?;
            fold_into_webhook_state(&transaction, attempt)?;
        }
    }
    transaction.commit()
}

/// The text of an enum's value, as serde writes it.
fn name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("an enum without fields has a name, not {other:?}"),
    }
}

/// Inserts an attempt; `false` when it was there. A crash can cause one to be made twice under one
/// number. Of the two, the one that was delivered is kept, or else the one that started later.
fn insert(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<bool> {
    let delivery = &attempt.delivery;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO attempts (
             client_id, webhook_id, event_id, number, phone, message_id, kind, body, tries,
             outcome, status, http_status, response, error, created_at, started_at, latency_ms,
             next_retry_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             outcome = excluded.outcome,
             status = excluded.status,
             http_status = excluded.http_status,
             response = excluded.response,
             error = excluded.error,
             started_at = excluded.started_at,
             latency_ms = excluded.latency_ms,
             next_retry_at = excluded.next_retry_at
         WHERE (excluded.status = 'delivered', excluded.started_at)
             > (attempts.status = 'delivered', attempts.started_at)",
    )?;
    let rows = statement.execute(params![
        id(delivery.client_id),
        delivery.webhook_id.to_string(),
        delivery.event_id.to_string(),
        attempt.number,
        delivery.phone.as_str(),
        delivery.message_id.as_str(),
        delivery.kind.as_str(),
        &delivery.body[..],
        delivery.attempts_this_round,
        name(attempt.outcome),
        attempt.status.as_str(),
        attempt.http_status,
        attempt.response,
        attempt.error,
        delivery.created_at.millis(),
        attempt.started_at.millis(),
        attempt.latency_ms,
        attempt.next_retry_at.map(|at| at.millis()),
    ])?;
    Ok(rows == 1)
}

/// Writes the status that the event's newest attempt has.
fn upsert_event_status(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO events (client_id, webhook_id, event_id, number, status)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             number = excluded.number,
             status = excluded.status
         WHERE excluded.number >= events.number",
    )?;
    let delivery = &attempt.delivery;
    statement.execute(params![
        id(delivery.client_id),
        delivery.webhook_id.to_string(),
        delivery.event_id.to_string(),
        attempt.number,
        attempt.status.as_str(),
    ])?;
    Ok(())
}

/// Folds an attempt into its webhook's state, in whatever order attempts are written: times only
/// grow, a failure counts only if it is newer than the newest success, and a success that is
/// written after newer failures counts those again.
const FOLD_INTO_WEBHOOK_STATE: &str = "
    INSERT INTO webhook_state (
        client_id, webhook_id, failure_count, last_error, last_error_at,
        last_success_at, last_failed_at, last_attempt_at)
    VALUES (
        :client, :webhook, NOT :success, :error, iif(:success, 0, :ended),
        iif(:success, :ended, NULL), iif(:given_up, :ended, NULL), :ended)
    ON CONFLICT DO UPDATE SET
        failure_count = CASE
            WHEN :success AND last_success_at >= :ended THEN failure_count
            WHEN :success AND :ended >= last_error_at THEN 0
            WHEN :success THEN (
                SELECT count(*)
                FROM attempts a INDEXED BY attempts_failed
                WHERE a.webhook_id = :webhook
                    AND a.started_at + a.latency_ms > :ended
                    AND a.status <> 'delivered'
                    AND a.outcome NOT IN ('held', 'webhook_gone'))
            WHEN :ended > ifnull(last_success_at, -1) THEN failure_count + 1
            ELSE failure_count
        END,
        last_error = iif(
            NOT :success
                AND (:ended, ifnull(:error, '')) >= (last_error_at, ifnull(last_error, '')),
            :error,
            last_error),
        last_error_at = iif(:success, last_error_at, max(last_error_at, :ended)),
        last_success_at = iif(
            :success, max(ifnull(last_success_at, 0), :ended), last_success_at),
        last_failed_at = iif(
            :given_up, max(ifnull(last_failed_at, 0), :ended), last_failed_at),
        last_attempt_at = max(last_attempt_at, :ended)";

fn fold_into_webhook_state(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
) -> rusqlite::Result<()> {
    // No request was made: it says nothing about the webhook.
    if matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone) {
        return Ok(());
    }
    let ended = attempt.ended_at().millis();
    let success = attempt.status == EventStatus::Delivered;
    let given_up = attempt.status == EventStatus::Failed;
    let mut statement = transaction.prepare_cached(FOLD_INTO_WEBHOOK_STATE)?;
    statement.execute(rusqlite::named_params! {
        ":client": id(attempt.delivery.client_id),
        ":webhook": attempt.delivery.webhook_id.to_string(),
        ":success": success,
        ":given_up": given_up,
        ":error": attempt.error,
        ":ended": ended,
    })?;
    Ok(())
}

/// Deletes some of the oldest attempts that began before this time, and events without any left;
/// returns how many attempts.
fn expire(connection: &mut Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let expired = oldest_attempts(&transaction, before)?;
    delete_attempts(&transaction, &expired)?;
    transaction.commit()?;
    if !expired.is_empty() {
        // Gives pages back to the file system; each step of the statement frees one.
        let pragma = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        let mut vacuum = connection.prepare_cached(&pragma)?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(expired.len())
}

/// The row, webhook and event of an attempt.
type Expired = (i64, String, String);

fn oldest_attempts(
    transaction: &Transaction<'_>,
    before: Timestamp,
) -> rusqlite::Result<Vec<Expired>> {
    // `seq` is the order of writing, so the oldest rows have the lowest ones.
    let mut statement = transaction.prepare_cached(
        "SELECT seq, webhook_id, event_id
         FROM (SELECT * FROM attempts ORDER BY seq LIMIT ?)
         WHERE started_at < ?",
    )?;
    let rows = statement.query_map(params![EXPIRED_MAX, before.millis()], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    rows.collect()
}

fn delete_attempts(transaction: &Transaction<'_>, expired: &[Expired]) -> rusqlite::Result<()> {
    let mut attempts = transaction.prepare_cached("DELETE FROM attempts WHERE seq = ?")?;
    let mut events = transaction.prepare_cached(
        "DELETE FROM events
         WHERE webhook_id = ?1
             AND event_id = ?2
             AND NOT EXISTS (
                 SELECT 1 FROM attempts WHERE webhook_id = ?1 AND event_id = ?2)",
    )?;
    for (seq, webhook, event) in expired {
        attempts.execute([seq])?;
        events.execute([webhook, event])?;
    }
    Ok(())
}
