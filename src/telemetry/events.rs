//! One function per event. Labels come from enums, from `'static` texts, or are mapped to a fixed
//! set.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::names;
use crate::model::{Outcome, SessionState};

/// An attempt ended.
pub fn attempt(outcome: Outcome, latency: Duration) {
    histogram!(names::ATTEMPT_DURATION, "outcome" => outcome.as_str()).record(latency);
}

/// A delivery succeeded this long after its message was first published.
pub fn end_to_end(age: Duration) {
    histogram!(names::END_TO_END_DURATION).record(age);
}

/// Sets how many bytes of retries are stored.
pub fn retry_bytes(bytes: u64) {
    gauge!(names::RETRY_BYTES).set(bytes as f64);
}

/// Sets how many bytes are in chat queues.
pub fn chat_queue_bytes(bytes: u64) {
    gauge!(names::LINE_BYTES).set(bytes as f64);
}

/// A redelivered message was not attempted again, because its attempt is in the store.
pub fn spared() {
    counter!(names::SPARED).increment(1);
}

/// Sets how many partitions this node owns.
pub fn partitions_owned(count: usize) {
    gauge!(names::PARTITIONS_OWNED).set(count as f64);
}

/// A delivery was parked; the causes are `retry`, `rate`, `breaker` and others.
pub fn parked(cause: &'static str) {
    counter!(names::PARKED, "cause" => cause).increment(1);
}

/// A parked delivery was moved to an earlier time.
pub fn brought_forward() {
    counter!(names::BROUGHT_FORWARD).increment(1);
}

/// A delivery is held: its webhook is paused or disabled.
pub fn held() {
    counter!(names::HELD).increment(1);
}

/// A delivery was given up.
pub fn dead_letter(reason: &'static str) {
    counter!(names::DEAD_LETTERS, "reason" => reason).increment(1);
}

/// A session's connection was left because it was mute.
pub fn session_silent(cause: &'static str) {
    counter!(names::SESSION_SILENCES, "cause" => cause).increment(1);
}

/// A message was refused: this quota of its client is used up.
pub fn quota_refused(quota: &'static str) {
    counter!(names::QUOTA_REFUSED, "quota" => quota).increment(1);
}

/// Sets what all clients together have that counts for this quota.
pub fn clients_usage(quota: &'static str, bytes: u64) {
    gauge!(names::CLIENTS_USAGE, "quota" => quota).set(bytes as f64);
}

/// Sets how many clients are over this quota.
pub fn clients_over_quota(quota: &'static str, clients: usize) {
    gauge!(names::CLIENTS_OVER, "quota" => quota).set(clients as f64);
}

/// Sets how full a stream is, and its limit.
pub fn stream_bytes(stream: &'static str, bytes: u64, bytes_max: u64) {
    gauge!(names::STREAM_BYTES, "stream" => stream).set(bytes as f64);
    gauge!(names::STREAM_BYTES_MAX, "stream" => stream).set(bytes_max as f64);
}

/// There was no room for a dead letter: it was `cut` or `dropped`.
pub fn dead_letter_cut(what: &'static str) {
    counter!(names::DEAD_LETTERS_CUT, "what" => what).increment(1);
}

/// A message that reached `max_deliver` was taken out of this stream.
pub fn abandoned(stream: &'static str) {
    counter!(names::ABANDONED, "stream" => stream).increment(1);
}

/// A delivery that was in no stream was `sent` or `given_up`.
pub fn lost_delivery(what: &'static str) {
    counter!(names::LOST_DELIVERIES, "what" => what).increment(1);
}

/// A job (`replay`, `release`) processed this many events; `what` is `sent` or `skipped`.
pub fn job_events(job: &'static str, what: &'static str, count: u64) {
    counter!(names::JOBS_EVENTS, "job" => job, "what" => what).increment(count);
}

/// This many more jobs run on this node; fewer if negative.
pub fn jobs_running(job: &'static str, delta: i32) {
    gauge!(names::JOBS_RUNNING, "job" => job).increment(f64::from(delta));
}

/// JetStream acknowledged a message.
pub fn message_published(duplicate: bool) {
    counter!(names::MESSAGES_PUBLISHED, "duplicate" => truth(duplicate)).increment(1);
}

/// What ingest did with a WhatsApp message: `published`, `duplicate`, `skipped`, `too_large`,
/// `failed`.
pub fn inbound(outcome: &'static str) {
    counter!(names::INBOUND, "outcome" => outcome).increment(1);
}

/// A WhatsApp session of this node went from one state to another; `None` before its start and
/// after its end.
pub fn session_state(from: Option<SessionState>, to: Option<SessionState>) {
    if let Some(from) = from {
        gauge!(names::SESSIONS, "state" => from.as_str()).decrement(1.0);
    }
    if let Some(to) = to {
        gauge!(names::SESSIONS, "state" => to.as_str()).increment(1.0);
    }
}

/// A message came for a number without a webhook.
pub fn unrouted() {
    counter!(names::MESSAGES_UNROUTED).increment(1);
}

/// JetStream redelivered a message; `work` is the kind of consumer.
pub fn redelivered(work: &'static str) {
    counter!(names::REDELIVERED, "work" => work).increment(1);
}

/// The store has written `count` more attempts.
pub fn results_recorded(count: usize) {
    counter!(names::RESULTS_RECORDED).increment(count as u64);
}

/// This many more requests to endpoints are in flight; fewer if negative.
pub fn inflight(delta: i32) {
    gauge!(names::INFLIGHT).increment(f64::from(delta));
}

/// So many more (or fewer) places for requests are taken.
pub fn places(delta: i32) {
    gauge!(names::PLACES).increment(f64::from(delta));
}

/// Messages with so many bytes more (or fewer) are taken up.
pub fn taken_up_bytes(delta: f64) {
    gauge!(names::TAKEN_UP_BYTES).increment(delta);
}

/// A message was parked since its client had more than its share of `places` or `taken_up`.
pub fn over_share(what: &'static str) {
    counter!(names::OVER_SHARE, "what" => what).increment(1);
}

/// A breaker opened or closed: `open`, `closed`.
pub fn breaker(to: &'static str) {
    counter!(names::BREAKER, "to" => to).increment(1);
}

/// An endpoint's address was refused.
pub fn blocked(rule: &'static str) {
    counter!(names::BLOCKED, "rule" => rule).increment(1);
}

/// Whether NATS is connected.
pub fn bus_connected(connected: bool) {
    gauge!(names::BUS_CONNECTED).set(if connected { 1.0 } else { 0.0 });
}

/// wahook reconnected to NATS.
pub fn bus_reconnected() {
    counter!(names::BUS_RECONNECTS).increment(1);
}

/// Sets by how many seconds the wall clock is ahead of NATS.
pub fn clock_offset(seconds: f64) {
    gauge!(names::CLOCK_OFFSET).set(seconds);
}

/// A request to the store ended.
pub fn store_request(op: &'static str, ok: bool, latency: Duration) {
    let outcome = if ok { "ok" } else { "error" };
    histogram!(names::STORE_DURATION, "op" => op, "outcome" => outcome).record(latency);
}

/// The CQL store executed a statement that wrote to this table.
pub fn cql_statement(table: &str) {
    counter!(names::CQL_STATEMENTS, "table" => table.to_owned()).increment(1);
}

/// A try of a CQL statement failed.
pub fn cql_trouble(cause: &'static str) {
    counter!(names::CQL_TROUBLE, "cause" => cause).increment(1);
}

/// Sets the figures of the CQL driver itself.
pub fn cql_driver(figures: &[(&'static str, u64)]) {
    for (what, value) in figures {
        gauge!(names::CQL_DRIVER, "what" => *what).set(*value as f64);
    }
}

/// A request to the admin API was answered. `method` comes from [`http_method`]; `route` must be
/// the matched route's template, never the path as it came.
pub fn http_request(method: &'static str, route: &str, status: u16, latency: Duration) {
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    histogram!(names::HTTP_DURATION, &labels).record(latency);
}

/// A listener closed a connection: `peer_limit`, `slow_reader`, `oldest`.
pub fn http_connection_closed(cause: &'static str) {
    counter!(names::HTTP_CONNECTIONS_CLOSED, "cause" => cause).increment(1);
}

/// A request to the admin API had no valid token.
pub fn wrong_token(is_slowed: bool) {
    counter!(names::WRONG_TOKENS, "slowed" => truth(is_slowed)).increment(1);
}

/// A long-running task ended: `ok`, `error`, `panic`, `cancelled`.
pub fn task_ended(kind: &'static str, end: &'static str) {
    counter!(names::TASKS, "kind" => kind, "end" => end).increment(1);
}

/// An error that no other metric counts.
pub fn error(room: &'static str, code: &'static str) {
    counter!(names::ERRORS, "room" => room, "code" => code).increment(1);
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A method as a label. Callers can invent methods; those become `other`.
pub fn http_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"];
    KNOWN
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}
