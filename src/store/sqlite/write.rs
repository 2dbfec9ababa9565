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
    model::{Attempt, EventStatus, Outcome},
    store::Error,
};

/// Groups that may wait for the thread; more of them wait outside.
const QUEUE: usize = 256;

struct Group {
    attempts: Vec<Attempt>,
    done: oneshot::Sender<Result<(), Error>>,
}

#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Group>);

impl Writer {
    /// The thread ends when the last writer is gone.
    pub(super) fn start(connection: Connection, settings: &config::Store) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (max, wait) = (settings.batch_max, settings.batch_wait);
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, receiver, max, wait))
            .expect("a thread can be started while the process starts");
        Self(sender)
    }

    pub(super) async fn write(&self, attempts: Vec<Attempt>) -> Result<(), Error> {
        let (done, written) = oneshot::channel();
        self.0.send(Group { attempts, done }).await.map_err(|_| Error::Closed)?;
        written.await.map_err(|_| Error::Closed)?
    }
}

fn run(mut connection: Connection, mut receiver: mpsc::Receiver<Group>, max: usize, wait: Duration) {
    while let Some(first) = receiver.blocking_recv() {
        let mut rows = first.attempts.len();
        let mut groups = vec![first];
        let end = Instant::now() + wait;
        // Under load the queue is never empty and nothing is waited for.
        while rows < max {
            match receiver.try_recv() {
                Ok(group) => {
                    rows += group.attempts.len();
                    groups.push(group);
                }
                Err(_) if Instant::now() < end => thread::sleep(Duration::from_micros(500)),
                Err(_) => break,
            }
        }
        let written = commit(&mut connection, &groups).map_err(|error| error.to_string());
        for group in groups {
            // A writer that went away needs no answer.
            let _ = group.done.send(written.clone().map_err(Error::Failed));
        }
    }
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

fn insert(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<bool> {
    let delivery = &attempt.delivery;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO attempts (client_id, webhook_id, event_id, number, phone, message_id, kind, body, tries, outcome,
             status, http_status, response, error, created_at, started_at, latency_ms, next_retry_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
        delivery.tries,
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
         WHERE excluded.number > events.number",
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

/// Folds an attempt into its webhook's state, whatever the order of writing: times only grow, a failure counts only when it
/// is newer than the newest success, and a success that is written after newer failures counts those again.
fn fare(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    if matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone) {
        return Ok(());
    }
    let ended = attempt.ended_at().millis();
    let success = attempt.status == EventStatus::Delivered;
    let given_up = attempt.status == EventStatus::Failed;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO webhook_state (client_id, webhook_id, failure_count, last_error, last_error_at, last_success_at,
             last_failed_at, last_attempt_at)
         VALUES (:client, :webhook, NOT :success, :error, iif(:success, 0, :ended), iif(:success, :ended, NULL),
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
             last_error = iif(NOT :success AND (:ended, ifnull(:error, '')) >= (last_error_at, ifnull(last_error, '')), :error,
                 last_error),
             last_error_at = iif(:success, last_error_at, max(last_error_at, :ended)),
             last_success_at = iif(:success, max(ifnull(last_success_at, 0), :ended), last_success_at),
             last_failed_at = iif(:given_up, max(ifnull(last_failed_at, 0), :ended), last_failed_at),
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
