//! Every metric: its name, kind, labels and help text.

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

/// Seconds, for requests to wahook and from it.
pub(super) const REQUEST: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0,
];
/// Seconds from the first publish to the 2xx: milliseconds normally, a day after many retries.
pub(super) const END_TO_END: &[f64] = &[
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0, 14_400.0, 86_400.0,
];

/// Defines a constant per metric and the table of all, so that none can be missing from it.
macro_rules! table {
    ($($constant:ident = $name:literal, $kind:expr, $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*
        pub(super) const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind,
            labels: &$labels,
            help: $help,
        }),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

table! {
    BUILD_INFO = "wahook_build_info", Gauge, ["version", "commit"],
        "The version and commit that run; always 1.";
    BUS_CONNECTED = "wahook_bus_connected", Gauge, [],
        "Whether NATS is connected: 1 or 0.";
    BUS_RECONNECTS = "wahook_bus_reconnects_total", Counter, [],
        "Reconnects to NATS.";
    CLOCK_OFFSET = "wahook_clock_offset_seconds", Gauge, [],
        "By how much this machine's clock is ahead of nats-server's, whose time counts; negative \
         when it is behind.";
    MESSAGES_PUBLISHED = "wahook_messages_published_total", Counter, ["duplicate"],
        "Messages that JetStream acknowledged; duplicate=true if the stream already had it.";
    INBOUND = "wahook_inbound_messages_total", Counter, ["outcome"],
        "WhatsApp messages by what ingest did with them: published, duplicate, skipped, \
         too_large, failed.";
    SESSION_SILENCES = "wahook_session_silences_total", Counter, ["cause"],
        "Connections of WhatsApp sessions that were left because they stood and were mute: \
         cause=connection when nothing came at all, sends when messages were not acknowledged, \
         queue when announced messages did not come.";
    SESSIONS = "wahook_sessions", Gauge, ["state"],
        "WhatsApp sessions that this node runs, by state.";
    MESSAGES_UNROUTED = "wahook_messages_unrouted_total", Counter, [],
        "Messages for numbers without a webhook.";
    REDELIVERED = "wahook_redelivered_total", Counter, ["work"],
        "Redelivered messages: a node crashed or was too slow.";
    ATTEMPT_DURATION = "wahook_delivery_attempt_duration_seconds", Histogram(REQUEST), ["outcome"],
        "Attempts and their duration, from the DNS look-up to the end of the answer.";
    END_TO_END_DURATION = "wahook_delivery_end_to_end_seconds", Histogram(END_TO_END), [],
        "Deliveries and their duration, from the first publish to the 2xx.";
    INFLIGHT = "wahook_delivery_inflight", Gauge, [],
        "Requests to endpoints that are in flight.";
    PLACES = "wahook_delivery_places", Gauge, [],
        "Places for requests that are taken, of deliver.in_flight_max and a quarter more. A place \
         is free again once the result is durable.";
    TAKEN_UP_BYTES = "wahook_delivery_taken_up_bytes", Gauge, [],
        "Bytes in memory of messages that are taken up. At deliver.memory_max, no more are pulled.";
    OVER_SHARE = "wahook_delivery_over_share_total", Counter, ["what"],
        "Messages that were parked at once since their client had more than its share, by what \
         ran short: places, or taken_up (slots and memory); held at once for retries (room in \
         WA_RETRY and WA_CHAT).";
    RETRY_BYTES = "wahook_retry_bytes", Gauge, [],
        "Bytes of parked and due retries. At deliver.retry_bytes_max and an eighth more, no new \
         messages are pulled.";
    LINE_BYTES = "wahook_line_bytes", Gauge, [],
        "Bytes in chat queues. At nine tenths of bus.message_bytes_max, no new messages are \
         pulled.";
    SPARED = "wahook_attempts_spared_total", Counter, [],
        "Redelivered messages whose attempt was already on record, so it was not repeated.";
    PARTITIONS_OWNED = "wahook_partitions_owned", Gauge, [],
        "Partitions that this node owns; the sum over all nodes is `bus.partitions`.";
    PARKED = "wahook_delivery_parked_total", Counter, ["cause"],
        "Deliveries that were parked until a later time, by cause.";
    BROUGHT_FORWARD = "wahook_delivery_brought_forward_total", Counter, [],
        "Parked deliveries that were moved to an earlier time, since their endpoint is well again.";
    HELD = "wahook_delivery_held_total", Counter, [],
        "Deliveries held because their webhook is paused or disabled.";
    DEAD_LETTERS = "wahook_dead_letters_total", Counter, ["reason"],
        "Deliveries that became dead letters, by reason.";
    DEAD_LETTERS_CUT = "wahook_dead_letters_cut_total", Counter, ["what"],
        "Dead letters for which WA_DLQ had no room: what=cut for those stored without their \
         body, dropped for those that only the audit has.";
    QUOTA_REFUSED = "wahook_quota_refused_total", Counter, ["quota"],
        "Messages refused because a quota of their client was used up.";
    CLIENTS_OVER = "wahook_clients_over_quota", Gauge, ["quota"],
        "Clients that have stored what this quota allows, or more: quota=waiting, whose messages \
         are refused, or dead_letters, whose dead letters lose their bodies. `wahook clients list` \
         names them.";
    CLIENTS_USAGE = "wahook_clients_usage_bytes", Gauge, ["quota"],
        "Bytes of all clients together: quota=waiting, and of these retries, chat_queues and held; \
         dead_letters.";
    STREAM_BYTES = "wahook_stream_bytes", Gauge, ["stream"],
        "Bytes in a stream: WA_MSG new messages, WA_RETRY parked and due ones, WA_HOLD held ones, \
         WA_CHAT chat queues, WA_RESULT results, WA_DLQ dead letters.";
    STREAM_BYTES_MAX = "wahook_stream_bytes_max", Gauge, ["stream"],
        "The limit of a stream in bytes.";
    ABANDONED = "wahook_abandoned_total", Counter, ["stream"],
        "Messages that reached max_deliver and were taken out of their stream: a fault of the \
         pipeline.";
    LOST_DELIVERIES = "wahook_lost_deliveries_total", Counter, ["what"],
        "Deliveries that the audit showed as waiting and that no stream had: what=sent or \
         given_up. Somebody emptied a stream, or it is a fault of the pipeline.";
    JOBS_EVENTS = "wahook_job_events_total", Counter, ["job", "what"],
        "Events that jobs processed: job=replay or release, what=sent or skipped.";
    JOBS_RUNNING = "wahook_jobs_running", Gauge, ["job"],
        "Jobs that this node runs.";
    BREAKER = "wahook_breaker_transitions_total", Counter, ["to"],
        "Breakers of endpoints that opened or closed.";
    BLOCKED = "wahook_egress_blocked_total", Counter, ["rule"],
        "Requests refused because of the endpoint's address, by the rule that forbids it.";
    RESULTS_RECORDED = "wahook_results_recorded_total", Counter, [],
        "Attempts that the store has written.";
    STORE_DURATION = "wahook_store_request_duration_seconds", Histogram(REQUEST), ["op", "outcome"],
        "Requests to the store and their duration.";
    CQL_STATEMENTS = "wahook_cql_statements_total", Counter, ["table"],
        "Statements that the CQL store executed, by the table that they wrote to.";
    CQL_TROUBLE = "wahook_cql_trouble_total", Counter, ["cause"],
        "Tries of CQL statements that failed, by cause; most are tried again.";
    CQL_DRIVER = "wahook_cql_driver", Gauge, ["what"],
        "The CQL driver's own figures: connections, and totals since the start: \
         connection_timeouts, request_timeouts, retries.";
    HTTP_CONNECTIONS_CLOSED = "wahook_http_connections_closed_total", Counter, ["cause"],
        "Connections to the admin API and the probes that wahook closed: peer_limit (their address \
         has too many), slow_reader (it read nothing of an answer), oldest (room for a probe).";
    WRONG_TOKENS = "wahook_api_wrong_tokens_total", Counter, ["slowed"],
        "Requests without a valid token; slowed=true if their address had sent many.";
    HTTP_DURATION = "wahook_http_request_duration_seconds", Histogram(REQUEST),
        ["method", "route", "status"],
        "Requests to the admin API and their duration.";
    TASKS = "wahook_tasks_total", Counter, ["kind", "end"],
        "Background tasks that ended, by kind and end: ok, error, panic, cancelled.";
    ERRORS = "wahook_errors_total", Counter, ["room", "code"],
        "Errors that an operator should know about, by room and code.";
}
