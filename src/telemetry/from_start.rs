//! Series that are there before anything happens. A counter that begins at 1 has no increase for
//! `rate()`, and an alarm on a metric that is absent never rings.

use metrics::{counter, gauge, histogram};

use super::names::{self, Kind};
use crate::model::{Outcome, Quota, SessionState};

const STREAMS: [&str; 6] = [
    "WA_MSG",
    "WA_RETRY",
    "WA_HOLD",
    "WA_CHAT",
    "WA_RESULT",
    "WA_DLQ",
];
/// Room and code of each error.
pub(super) const ERRORS: &[(&str, &str)] = &[
    ("api", "bus"),
    ("api", "media"),
    ("api", "panic"),
    ("api", "store"),
    ("bus", "beat"),
    ("bus", "deaf_watch"),
    ("bus", "pull"),
    ("bus", "pulse"),
    ("bus", "recount"),
    ("bus", "server_error"),
    ("bus", "too_large"),
    ("deliver", "ack"),
    ("deliver", "advisory"),
    ("deliver", "bring_forward"),
    ("deliver", "bus"),
    ("deliver", "handover"),
    ("deliver", "health"),
    ("deliver", "line_found"),
    ("deliver", "line_full"),
    ("deliver", "not_current"),
    ("deliver", "notice"),
    ("deliver", "result_too_large"),
    ("deliver", "results"),
    ("deliver", "results_gone"),
    ("deliver", "undecodable"),
    ("egress", "lookups"),
    ("egress", "open_files"),
    ("egress", "proxy"),
    ("ingest", "event_dropped"),
    ("ingest", "panic"),
    ("node", "panic"),
    ("record", "ack"),
    ("record", "expire"),
    ("record", "questions"),
    ("record", "refused"),
    ("record", "store"),
    ("record", "undecodable"),
    ("replay", "job"),
    ("replay", "sweep"),
    ("store", "connect"),
    ("store", "stats_full"),
];
/// How a background task may end.
const ENDS: [&str; 4] = ["ok", "error", "panic", "cancelled"];

/// The values of the label of a metric with one label; empty where they are not known before.
fn values(name: &str) -> Vec<&'static str> {
    match name {
        names::MESSAGES_PUBLISHED | names::WRONG_TOKENS => vec!["false", "true"],
        names::INBOUND => vec!["published", "duplicate", "skipped", "too_large", "failed"],
        names::SESSIONS => SessionState::ALL
            .iter()
            .map(|state| state.as_str())
            .collect(),
        names::SESSION_SILENCES => vec!["connection", "sends", "queue"],
        names::REDELIVERED => vec!["deliver", "retry"],
        names::ATTEMPT_DURATION | names::DEAD_LETTERS => Outcome::ALL
            .iter()
            .map(|outcome| outcome.as_str())
            .collect(),
        names::OVER_SHARE => vec!["places", "taken_up", "retries"],
        names::PARKED => vec![
            "retry",
            "rate",
            "busy",
            "low",
            "share",
            "node",
            "breaker",
            "retry_after",
            "open_files",
            "lookups",
            "proxy",
        ],
        names::DEAD_LETTERS_CUT => vec!["cut", "dropped"],
        names::QUOTA_REFUSED => vec!["waiting", "share", "messages_per_second", "webhooks"],
        names::CLIENTS_OVER => vec!["waiting", "dead_letters"],
        names::CLIENTS_USAGE => Quota::ALL.iter().map(|quota| quota.as_str()).collect(),
        names::STREAM_BYTES | names::STREAM_BYTES_MAX => STREAMS.to_vec(),
        names::ABANDONED => vec!["WA_MSG", "WA_RETRY", "WA_RESULT", "other"],
        names::LOST_DELIVERIES => vec!["sent", "given_up"],
        names::JOBS_RUNNING => vec!["replay", "release"],
        names::BREAKER => vec!["open", "closed"],
        names::HTTP_CONNECTIONS_CLOSED => vec!["peer_limit", "slow_reader", "oldest"],
        _ => Vec::new(),
    }
}

/// Makes the series whose labels are known, all zero.
pub(super) fn register() {
    for metric in names::ALL {
        match (metric.kind, metric.labels) {
            (Kind::Counter, []) => counter!(metric.name).absolute(0),
            (Kind::Gauge, []) => gauge!(metric.name).set(0.0),
            (Kind::Histogram(_), []) => drop(histogram!(metric.name)),
            (kind, [label]) => {
                for value in values(metric.name) {
                    match kind {
                        Kind::Counter => counter!(metric.name, *label => value).absolute(0),
                        Kind::Gauge => gauge!(metric.name, *label => value).set(0.0),
                        Kind::Histogram(_) => drop(histogram!(metric.name, *label => value)),
                    }
                }
            }
            _ => {}
        }
    }
    for (room, code) in ERRORS {
        counter!(names::ERRORS, "room" => *room, "code" => *code).absolute(0);
    }
    for job in ["replay", "release"] {
        for what in ["sent", "skipped"] {
            counter!(names::JOBS_EVENTS, "job" => job, "what" => what).absolute(0);
        }
    }
    for operation in [
        "record",
        "event",
        "events",
        "dead_letters",
        "states",
        "stats",
        "ping",
    ] {
        for outcome in ["ok", "error"] {
            drop(histogram!(names::STORE_DURATION, "op" => operation, "outcome" => outcome));
        }
    }
}

/// Makes the series of a kind of background tasks.
pub fn task_kind(kind: &'static str) {
    for end in ENDS {
        counter!(names::TASKS, "kind" => kind, "end" => end).absolute(0);
    }
}
