//! Every metric: its name, kind, labels and the question it answers.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets, in seconds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// Requests, ours and others'.
pub(super) const REQUEST: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0,
];
/// From the first publish to the 2xx: milliseconds when all is well, a day after many retries.
pub(super) const END_TO_END: &[f64] = &[
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0, 14_400.0, 86_400.0,
];

/// Defines a constant per metric and the table of all, so that none can be missing from it.
macro_rules! table {
    ($($constant:ident = $name:literal, $kind:expr, $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*
        pub(super) const ALL: &[Metric] = &[$(Metric { name: $name, kind: $kind, labels: &$labels, help: $help }),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

table! {
    BUILD_INFO = "wahook_build_info", Gauge, ["version", "commit"],
        "What runs here; always 1.";
    BUS_CONNECTED = "wahook_bus_connected", Gauge, [],
        "Whether NATS is connected: 1 or 0.";
    BUS_RECONNECTS = "wahook_bus_reconnects_total", Counter, [],
        "How often the connection to NATS came back.";
    MESSAGES_PUBLISHED = "wahook_messages_published_total", Counter, ["duplicate"],
        "Messages that JetStream acknowledged; duplicate=true for those it already had.";
    INBOUND = "wahook_inbound_messages_total", Counter, ["outcome"],
        "WhatsApp messages by what ingest did with them: published, duplicate, skipped, \
         too_large, failed.";
    SESSIONS = "wahook_sessions", Gauge, ["state"],
        "WhatsApp sessions that this node runs, by state.";
    MESSAGES_UNROUTED = "wahook_messages_unrouted_total", Counter, [],
        "Messages for numbers without a webhook.";
    REDELIVERED = "wahook_redelivered_total", Counter, ["work"],
        "Messages that JetStream handed out again: a worker crashed or was too slow.";
    ATTEMPT_DURATION = "wahook_delivery_attempt_duration_seconds", Histogram(REQUEST), ["outcome"],
        "Attempts and how long each took, from the look-up to the answer's end.";
    END_TO_END_DURATION = "wahook_delivery_end_to_end_seconds", Histogram(END_TO_END), [],
        "Deliveries and how long each took, from the first publish to the 2xx.";
    INFLIGHT = "wahook_delivery_inflight", Gauge, [],
        "Requests to endpoints under way.";
    RETRY_BYTES = "wahook_retry_bytes", Gauge, [],
        "Bytes of parked and due retries; from deliver.retry_bytes_max on, no new messages are \
         taken up.";
    LINE_BYTES = "wahook_line_bytes", Gauge, [],
        "Bytes that wait behind others of their chats; from nine tenths of bus.message_bytes_max \
         on, no new messages are taken up.";
    SPARED = "wahook_attempts_spared_total", Counter, [],
        "Redelivered messages whose attempt was on record already, so that it was not made again.";
    PARTITIONS_OWNED = "wahook_partitions_owned", Gauge, [],
        "Partitions that this node delivers for; over all nodes they come to `bus.partitions`.";
    PARKED = "wahook_delivery_parked_total", Counter, ["cause"],
        "Deliveries put off to a later time, and why.";
    HELD = "wahook_delivery_held_total", Counter, [],
        "Deliveries held because their webhook is paused or disabled.";
    DEAD_LETTERS = "wahook_dead_letters_total", Counter, ["reason"],
        "Deliveries given up, and why.";
    ABANDONED = "wahook_abandoned_total", Counter, ["stream"],
        "Messages taken out of a stream since nobody ever settled them: a fault of the pipeline.";
    JOBS_EVENTS = "wahook_job_events_total", Counter, ["job", "what"],
        "Events that jobs took: job=replay or release, what=sent or skipped.";
    JOBS_RUNNING = "wahook_jobs_running", Gauge, ["job"],
        "Jobs that this node runs.";
    BREAKER = "wahook_breaker_transitions_total", Counter, ["to"],
        "Breakers of endpoints that opened or closed.";
    BLOCKED = "wahook_egress_blocked_total", Counter, ["rule"],
        "Requests refused because of the endpoint's address, by the rule that forbids it.";
    RESULTS_RECORDED = "wahook_results_recorded_total", Counter, [],
        "Attempts that the store holds.";
    STORE_DURATION = "wahook_store_request_duration_seconds", Histogram(REQUEST), ["op", "outcome"],
        "Requests to the store and how long each took.";
    CQL_STATEMENTS = "wahook_cql_statements_total", Counter, ["table"],
        "Statements that the CQL store took, by the table that they wrote to.";
    CQL_TROUBLE = "wahook_cql_trouble_total", Counter, ["cause"],
        "Tries of CQL statements that failed, and why; most are tried again.";
    CQL_DRIVER = "wahook_cql_driver", Gauge, ["what"],
        "The CQL driver's own figures: connections, and since the start connection_timeouts, \
         request_timeouts, retries.";
    HTTP_DURATION = "wahook_http_request_duration_seconds", Histogram(REQUEST), ["method", "route", "status"],
        "Requests to the admin API and how long each took.";
    TASKS = "wahook_tasks_total", Counter, ["kind", "end"],
        "Long-running tasks that ended, and how: ok, error, panic, cancelled.";
    ERRORS = "wahook_errors_total", Counter, ["room", "code"],
        "Errors that an operator may want to know of, by where they arose.";
}
