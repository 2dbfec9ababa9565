//! Every kind of background task, and what its end does to the node.

/// What follows when a task ends although it was not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// The node drains and exits with code 1, so that its supervisor starts it again. For loops
    /// that own state which a second start could not rebuild.
    StopNode,
    /// It is started again after a pause that doubles.
    Restart,
    /// Nothing: its owner notices, or its work comes again by itself.
    Nothing,
}

/// Defines the kinds with their labels and ends, so that no list can miss one.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $label:literal, $on_end:ident;)*) => {
        /// What a background task does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum TaskKind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl TaskKind {
            /// All kinds, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The value of the label `kind` in `wahook_tasks_total`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }

            /// What its end does to the node, unless it was cancelled.
            pub fn on_end(self) -> OnEnd {
                match self {
                    $(Self::$kind => OnEnd::$on_end,)*
                }
            }
        }
    };
}

kinds! {
    /// Accepts connections for the admin API.
    ApiListener = "api_listener", StopNode;
    /// Accepts connections for probes and metrics.
    ProbeListener = "probe_listener", StopNode;
    /// Serves one HTTP connection.
    Connection = "connection", Nothing;
    /// Asks the store whether it answers, for `/readyz`.
    StoreProbe = "store_probe", Restart;
    /// Asks NATS whether it can be written, for `/readyz`.
    BusProbe = "bus_probe", Restart;
    /// Folds samples into histograms.
    MetricsUpkeep = "metrics_upkeep", Restart;
    /// Runs the nats-server child of `wahook dev`.
    NatsServer = "nats_server", StopNode;
    /// Looks whether that child takes no writes any longer.
    JetStreamWatch = "jetstream_watch", Restart;

    /// Asks NATS for its time.
    ServerPulse = "server_pulse", Restart;
    /// Keeps the cache of webhooks current.
    WebhookWatch = "webhook_watch", Restart;
    /// Keeps the limits of single clients current.
    LimitWatch = "limit_watch", Restart;
    /// Sets metrics of what all clients store together.
    UsageReport = "usage_report", Restart;
    /// Releases messages that were held back for want of room.
    HeldBack = "held_back", Restart;
    /// Adds up what clients store.
    UsageCounter = "usage_counter", Restart;
    /// Writes this node's heartbeat.
    Heartbeat = "heartbeat", Restart;
    /// Reads the other nodes' heartbeats.
    MemberWatch = "member_watch", Restart;

    /// Starts and stops partitions as nodes come and go.
    Assignment = "assignment", StopNode;
    /// Pulls one kind of work of one partition.
    PullLoop = "pull_loop", StopNode;
    /// Takes one message through its stages.
    Message = "message", Nothing;
    /// Publishes results in groups and acknowledges their messages.
    ResultGrouper = "result_grouper", StopNode;
    /// Finds stalled chat queues.
    StalledChats = "stalled_chats", Restart;
    /// Watches how many bytes retries and chat queues take.
    Backpressure = "backpressure", Restart;
    /// Counts dead letters for operational webhooks.
    Notices = "notices", Restart;
    /// Follows advisories of messages that reached max_deliver.
    Advisories = "advisories", Restart;
    /// Moves parked messages to earlier slots once their endpoint is well again.
    BringForward = "bring_forward", Nothing;
    /// Takes permits out of an endpoint limiter whose in-flight limit was lowered.
    PermitShrink = "permit_shrink", Nothing;

    /// Moves the bytes of one connection to an endpoint.
    EgressConnection = "egress_connection", Nothing;
    /// Looks up the addresses of one name.
    DnsLookup = "dns_lookup", Nothing;

    /// Writes the results of one partition to the store.
    Recorder = "recorder", Restart;
    /// Drops rows that are older than the retention.
    Retention = "retention", Restart;
    /// Answers whether an attempt is on record.
    AttemptQueries = "attempt_queries", Restart;
    /// Answers one such query.
    AttemptQuery = "attempt_query", Nothing;
    /// Writes out what the store kept in memory, when the node stops.
    StoreFlush = "store_flush", Nothing;
    /// The thread that writes to SQLite.
    SqliteWriter = "sqlite_writer", StopNode;
    /// One query on a reading connection of SQLite.
    SqliteQuery = "sqlite_query", Nothing;
    /// Reconnects to the CQL store and flushes its hourly counters.
    CqlMaintenance = "cql_maintenance", Restart;

    /// Starts replays and releases.
    JobSupervisor = "job_supervisor", Restart;
    /// Looks for deliveries that are in no stream.
    LostSweep = "lost_sweep", Restart;
    /// One replay or release.
    Job = "job", Nothing;

    /// Starts WhatsApp sessions.
    SessionManager = "session_manager", StopNode;
    /// One WhatsApp session.
    Session = "session", Nothing;
    /// Renews the lease by which other ingest nodes see that this one lives.
    NodeLease = "node_lease", Restart;
    /// Renews the lease of one session.
    LeaseRenewal = "lease_renewal", Nothing;
    /// Stores what changes in the keys of one session.
    KeyWriter = "key_writer", Nothing;
    /// Hands one outbound message to WhatsApp.
    OutboundMessage = "outbound_message", Nothing;
    /// Lets a WhatsApp client end in its own time.
    ClientShutdown = "client_shutdown", Nothing;
    /// Decrypts one media file.
    MediaDownload = "media_download", Nothing;
}
