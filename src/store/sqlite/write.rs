//! The writing thread: it takes whatever waits, commits it as one, then tells each writer.

use std::{
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::read::id;
use crate::{
    config,
    model::{Attempt, EventStatus, Outcome, Timestamp},
    store::Error,
    tasks::{TaskKind, Tasks},
};

/// Groups that may wait for the thread; more of them wait outside.
const QUEUE: usize = 256;

/// Attempts that one call drops: the writing thread is not kept from writing for long.
const EXPIRED_MAX: i64 = 2000;
/// Pages that one call gives back to the file system: more than its attempts leave, and no more
/// than a moment's work where a whole index was dropped.
const VACUUM_PAGES: u32 = 4000;

/// How many times as long as the last transaction took the thread waits before the next one, unless
/// that is full. So it takes less processor time per row: a page is written once for all rows that
/// go into it.
const REST: u32 = 3;
const REST_MAX: Duration = Duration::from_millis(50);

/// How much less than others the thread gets where all want processor time: as `nice` says it, from
/// 0 to 19. A commit takes milliseconds, for which deliveries would wait.
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
    /// The thread ends when the last writer is gone.
    pub(super) fn start(connection: Connection, settings: &config::Store, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let max = settings.batch_max;
        let wait = settings.batch_wait;
        let work = move || {
            run(connection, receiver, max, wait);
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

/// What has processor time first, when there is not enough for all: deliveries. What they leave to
/// be written is safe where it comes from.
fn stand_back() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "the store's thread keeps its priority");
    }
}

fn run(mut connection: Connection, mut receiver: mpsc::Receiver<Work>, max: usize, wait: Duration) {
    stand_back();
    // What came in while a group was gathered, and is no group.
    let mut next = None;
    let mut rested = Instant::now();
    while let Some(work) = next.take().or_else(|| receiver.blocking_recv()) {
        let first = match work {
            Work::Write(group) => group,
            Work::Expire(Expiry { before, done }) => {
                // Who asked may have gone away.
                let _ = done.send(expire(&mut connection, before).map_err(Error::from));
                continue;
            }
        };
        let mut groups = vec![first];
        let mut gather = || {
            while next.is_none() && rows(&groups) < max {
                match receiver.try_recv() {
                    Ok(Work::Write(group)) => groups.push(group),
                    Ok(other) => next = Some(other),
                    Err(_) => return true,
                }
            }
            false
        };
        if gather() {
            thread::sleep(wait.max(rested.saturating_duration_since(Instant::now())));
            gather();
        }
        let began = Instant::now();
        let written = commit(&mut connection, &groups).map_err(Error::from);
        rested = Instant::now() + (began.elapsed() * REST).min(REST_MAX);
        for group in groups {
            // A writer that went away needs no answer.
            let _ = group.done.send(written.clone());
        }
    }
}

fn rows(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.attempts.len()).sum()
}

fn commit(connection: &mut Connection, groups: &[Group]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for attempt in groups.iter().flat_map(|group| &group.attempts) {
        // The state counts each attempt once: only what was not there before.
        if insert(&transaction, attempt)? {
            stand(&transaction, attempt)?;
            fare(&transaction, attempt)?;
        }
    }
    transaction.commit()
}

/// The name that serde gives an enum's value.
fn name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("an enum without fields has a name, not {other:?}"),
    }
}

/// Whether it was not there. An attempt that a crash made twice under one number is kept as it
/// ended.
fn insert(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<bool> {
    let delivery = &attempt.delivery;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO attempts (client_id, webhook_id, event_id, number, phone, message_id, kind, \
         body, tries, outcome,
             status, http_status, response, error, created_at, started_at, latency_ms, \
             next_retry_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET outcome = excluded.outcome, status = excluded.status,
             http_status = excluded.http_status, response = excluded.response, error = \
             excluded.error,
             started_at = excluded.started_at, latency_ms = excluded.latency_ms, next_retry_at = \
             excluded.next_retry_at
         WHERE excluded.started_at > attempts.started_at",
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

fn stand(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO events (client_id, webhook_id, event_id, number, status) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET number = excluded.number, status = excluded.status
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

/// Folds an attempt into its webhook's state, whatever the order of writing: times only grow, a
/// failure counts only when it is newer than the newest success, and a success that is written
/// after newer failures counts those again.
fn fare(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    if matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone) {
        return Ok(());
    }
    let ended = attempt.ended_at().millis();
    let success = attempt.status == EventStatus::Delivered;
    let given_up = attempt.status == EventStatus::Failed;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO webhook_state (client_id, webhook_id, failure_count, last_error, \
         last_error_at, last_success_at,
             last_failed_at, last_attempt_at)
         VALUES (:client, :webhook, NOT :success, :error, iif(:success, 0, :ended), iif(:success, \
         :ended, NULL),
             iif(:given_up, :ended, NULL), :ended)
         ON CONFLICT DO UPDATE SET
             failure_count = CASE
                 WHEN :success AND last_success_at >= :ended THEN failure_count
                 WHEN :success AND :ended >= last_error_at THEN 0
                 WHEN :success THEN (
                     SELECT count(*) FROM attempts a INDEXED BY attempts_failed
                     WHERE a.webhook_id = :webhook AND a.started_at + a.latency_ms > :ended
                       AND a.status <> 'delivered' AND a.outcome NOT IN ('held', 'webhook_gone'))
                 WHEN :ended > ifnull(last_success_at, -1) THEN failure_count + 1
                 ELSE failure_count END,
             last_error = iif(NOT :success AND (:ended, ifnull(:error, '')) >= (last_error_at, \
             ifnull(last_error, '')), :error,
                 last_error),
             last_error_at = iif(:success, last_error_at, max(last_error_at, :ended)),
             last_success_at = iif(:success, max(ifnull(last_success_at, 0), :ended), \
             last_success_at),
             last_failed_at = iif(:given_up, max(ifnull(last_failed_at, 0), :ended), \
             last_failed_at),
             last_attempt_at = max(last_attempt_at, :ended)",
    )?;
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

/// Drops the oldest attempts that began before this time, and events of which none is left; how
/// many attempts.
fn expire(connection: &mut Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let mut expired: Vec<(i64, String, String)> = Vec::new();
    {
        // Rows lie in the order of writing, so the old ones are the first.
        let mut oldest = transaction.prepare_cached(
            "SELECT seq, webhook_id, event_id FROM (SELECT * FROM attempts ORDER BY seq LIMIT ?) \
             WHERE started_at < ?",
        )?;
        let rows = oldest.query_map(params![EXPIRED_MAX, before.millis()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        for row in rows {
            expired.push(row?);
        }
        let mut attempts = transaction.prepare_cached("DELETE FROM attempts WHERE seq = ?")?;
        let mut events = transaction.prepare_cached(
            "DELETE FROM events WHERE webhook_id = ?1 AND event_id = ?2
             AND NOT EXISTS (SELECT 1 FROM attempts WHERE webhook_id = ?1 AND event_id = ?2)",
        )?;
        for (seq, webhook, event) in &expired {
            attempts.execute([seq])?;
            events.execute([webhook, event])?;
        }
    }
    transaction.commit()?;
    if !expired.is_empty() {
        // Gives the pages back to the file system; each step of the statement frees one.
        let mut vacuum =
            connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(expired.len())
}
