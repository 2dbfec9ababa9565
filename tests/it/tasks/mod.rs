//! Every kind of background task is made to panic once, in a real process, and the node does what
//! the kind promises.
//!
//! The tests walk [`TaskKind::ALL`]; [`place`] says which of them breaks a kind, and does not
//! compile without a line for each.

mod loops;
mod session;
mod short;
mod stop;

use serde_json::{Value, json};
use wahook::tasks::{OnEnd, TaskKind};

use crate::support::{
    app::{App, Client, eventually},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
/// What a broken task held comes again soon. There is one task of each kind.
const SETTINGS: [(&str, &str); 4] = [
    ("BUS__ACK_WAIT", "16s"),
    ("BUS__PARTITIONS", "1"),
    ("DELIVER__TIMEOUT", "1s"),
    ("DELIVER__LANE_WAIT", "500ms"),
];

/// Where tasks of a kind run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In any node with all roles.
    Node,
    /// In a node with a linked WhatsApp session.
    Session,
    /// In a node whose store is Cassandra.
    Cassandra,
    /// In `wahook dev`.
    Dev,
}

fn place(kind: TaskKind) -> Place {
    match kind {
        TaskKind::ApiListener
        | TaskKind::ProbeListener
        | TaskKind::Connection
        | TaskKind::StoreProbe
        | TaskKind::BusProbe
        | TaskKind::MetricsUpkeep
        | TaskKind::ServerPulse
        | TaskKind::WebhookWatch
        | TaskKind::LimitWatch
        | TaskKind::UsageReport
        | TaskKind::HeldBack
        | TaskKind::UsageCounter
        | TaskKind::Heartbeat
        | TaskKind::MemberWatch
        | TaskKind::Assignment
        | TaskKind::PullLoop
        | TaskKind::Message
        | TaskKind::ResultGrouper
        | TaskKind::StalledChats
        | TaskKind::Backpressure
        | TaskKind::Notices
        | TaskKind::Advisories
        | TaskKind::BringForward
        | TaskKind::PermitShrink
        | TaskKind::EgressConnection
        | TaskKind::DnsLookup
        | TaskKind::Recorder
        | TaskKind::Retention
        | TaskKind::AttemptQueries
        | TaskKind::AttemptQuery
        | TaskKind::StoreFlush
        | TaskKind::SqliteWriter
        | TaskKind::SqliteQuery
        | TaskKind::JobSupervisor
        | TaskKind::LostSweep
        | TaskKind::Job
        | TaskKind::SessionManager => Place::Node,
        TaskKind::Session
        | TaskKind::LeaseRenewal
        | TaskKind::NodeLease
        | TaskKind::KeyWriter
        | TaskKind::OutboundMessage
        | TaskKind::ClientShutdown
        | TaskKind::MediaDownload => Place::Session,
        TaskKind::CqlMaintenance => Place::Cassandra,
        TaskKind::NatsServer | TaskKind::JetStreamWatch => Place::Dev,
    }
}

/// All kinds that run there and whose end does this.
fn kinds(place_of: Place, on_end: OnEnd) -> impl Iterator<Item = TaskKind> {
    let all = TaskKind::ALL.iter().copied();
    all.filter(move |kind| place(*kind) == place_of && kind.on_end() == on_end)
}

/// A node with a webhook.
struct Scene {
    app: App,
    client: Client,
    receiver: Receiver,
    webhook: Value,
}

impl Scene {
    async fn new(app: App) -> Self {
        let client = app.client(1).await;
        let receiver = Receiver::answering(&[200]).await;
        let body = json!({
            "phone_number": PHONE, "webhook_url": receiver.url("/"), "in_flight": 8,
        });
        let webhook = client.register_with(body).await;
        Self {
            app,
            client,
            receiver,
            webhook,
        }
    }

    /// A message gets through, and the node says that it is ready.
    async fn works(&self, message: &str) {
        eventually("the node is ready", async || {
            (self.app.readiness().await == Some(200)).then_some(())
        })
        .await;
        self.client.publish(PHONE, message).await;
        self.came(message).await;
    }

    async fn came(&self, message: &str) {
        eventually(&format!("{message} came"), async || {
            let ids = self.receiver.ids();
            ids.iter().any(|id| id == message).then_some(())
        })
        .await;
    }

    /// Waits until so many panics of this kind are counted.
    async fn counted(&self, kind: TaskKind, panics: u32) {
        let line = panics_line(kind);
        eventually(&format!("{line} is {panics}"), async || {
            let value = self.app.metric(&line).await?;
            (value >= f64::from(panics)).then_some(())
        })
        .await;
        assert_eq!(self.app.metric(&line).await, Some(f64::from(panics)));
    }
}

fn panics_line(kind: TaskKind) -> String {
    format!(
        "wahook_tasks_total{{kind=\"{}\",end=\"panic\"}}",
        kind.as_str()
    )
}
