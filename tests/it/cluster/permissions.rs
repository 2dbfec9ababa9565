//! What the user of each role may not do.

use std::sync::{Arc, Mutex};

use async_nats::{Client, Event};
use serde_json::{Value, json};

use crate::support::{
    app::{WAIT_MAX, eventually},
    cluster::{Cluster, PASSWORD, Signed},
    nats::NatsServer,
};

const ROLES: [&str; 4] = ["api", "ingest", "deliver", "record"];
/// Streams and buckets that the roles share; each is tried by each role.
const STREAMS: [&str; 9] = [
    "WA_MSG",
    "WA_RETRY",
    "WA_HOLD",
    "WA_CHAT",
    "WA_RESULT",
    "WA_DLQ",
    "WA_ADV",
    "KV_wa_webhooks",
    "KV_wa_tokens",
];
/// The consumers that work comes by, each with its stream.
const CONSUMERS: [(&str, &str); 4] = [
    ("WA_MSG", "deliver-00"),
    ("WA_RETRY", "retry-00"),
    ("WA_RESULT", "record-00"),
    ("WA_ADV", "advisory"),
];

/// A client with a role's login, and what the servers said of what it tried.
struct Intruder {
    role: &'static str,
    client: Client,
    said: Arc<Mutex<Vec<String>>>,
}

impl Intruder {
    async fn connect(cluster: &Cluster, role: &'static str) -> Self {
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        let options = cluster.options(role).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                heard
                    .lock()
                    .expect("no panic while held")
                    .push(error.to_string());
            }
            async {}
        });
        Self {
            role,
            client: cluster.connect(options).await,
            said,
        }
    }

    /// Publishes to a subject. The server must refuse it, and say so.
    async fn is_refused(&self, subject: &str, body: &Value) {
        let inbox = self.client.new_inbox();
        self.client
            .publish_with_reply(subject.to_owned(), inbox, body.to_string().into())
            .await
            .expect("is sent");
        let refusal = format!("Permissions Violation for Publish to \"{subject}\"");
        let heard = async || {
            let said = self.said.lock().expect("no panic while held");
            said.iter().any(|one| one.contains(&refusal)).then_some(())
        };
        eventually(&format!("{} is refused {subject}", self.role), heard).await;
    }

    /// The same with a subscription.
    async fn may_not_hear(&self, subject: &str) {
        let _subscriber = self
            .client
            .subscribe(subject.to_owned())
            .await
            .expect("is sent");
        let refusal = format!("Permissions Violation for Subscription to \"{subject}\"");
        let heard = async || {
            let said = self.said.lock().expect("no panic while held");
            said.iter().any(|one| one.contains(&refusal)).then_some(())
        };
        eventually(&format!("{} may not hear {subject}", self.role), heard).await;
    }
}

async fn declared() -> NatsServer {
    let nats = NatsServer::cluster().await;
    let mut config = nats.config();
    config.bus.replicas = 3;
    let bus = nats.connect_with(&config).await;
    bus.apply().await.expect("applies");
    nats
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_purges_or_deletes_streams_buckets_and_the_consumers_that_deliver() {
    let nats = declared().await;
    let cluster = nats.cluster.as_ref().expect("three");
    for role in ROLES {
        let intruder = Intruder::connect(cluster, role).await;
        for stream in STREAMS {
            for verb in ["PURGE", "DELETE", "UPDATE", "SNAPSHOT"] {
                let subject = format!("$JS.API.STREAM.{verb}.{stream}");
                intruder.is_refused(&subject, &json!({})).await;
            }
        }
        intruder
            .is_refused("$JS.API.STREAM.CREATE.MINE", &json!({"name": "MINE"}))
            .await;
        for (stream, consumer) in CONSUMERS {
            for subject in [
                format!("CONSUMER.DELETE.{stream}.{consumer}"),
                format!("CONSUMER.PAUSE.{stream}.{consumer}"),
                format!("CONSUMER.RESET.{stream}.{consumer}"),
                format!("CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}"),
                format!("CONSUMER.DURABLE.CREATE.{stream}.{consumer}"),
                format!("CONSUMER.CREATE.{stream}.{consumer}"),
                format!("CONSUMER.CREATE.{stream}.{consumer}.wa.park.>"),
                format!("CONSUMER.CREATE.{stream}"),
                format!("CONSUMER.NAMES.{stream}"),
                format!("CONSUMER.LIST.{stream}"),
                format!("STREAM.LEADER.STEPDOWN.{stream}"),
            ] {
                intruder
                    .is_refused(&format!("$JS.API.{subject}"), &json!({}))
                    .await;
            }
        }
    }
    // What an operator may, and what is still there for it.
    let operator = nats.jetstream().await;
    for stream in STREAMS {
        let found = operator.get_stream(stream).await.expect("it is there");
        found.purge().await.expect("an operator purges");
    }
    for (stream, consumer) in CONSUMERS {
        let stream = operator.get_stream(stream).await.expect("it is there");
        stream.consumer_info(consumer).await.expect("it is there");
    }
}

/// What is another's, by the role that may not touch it.
const FOREIGN: [(&str, &[&str]); 4] = [
    (
        "api",
        &[
            "$JS.API.STREAM.MSG.GET.WA_KEYS",
            "wa.keys.s",
            "$JS.ACK.WA_MSG.deliver-00.1.1.1.1.0",
            "$JS.ACK.WA_RETRY.retry-00.1.1.1.1.0",
            "$JS.ACK.WA_RESULT.record-00.1.1.1.1.0",
            "$JS.API.CONSUMER.MSG.NEXT.WA_MSG.deliver-00",
            "$KV.wa_tokens.00",
            "$KV.wa_members.deliver.n",
            "$KV.wa_session_status.1.s",
            "wa.hold.1.4915112345678",
            "wa.ask.recorded",
            "_INBOX_ingest.x",
        ],
    ),
    (
        "ingest",
        &[
            "$JS.ACK.WA_MSG.deliver-00.1.1.1.1.0",
            "$JS.API.STREAM.MSG.GET.KV_wa_tokens",
            "$JS.API.STREAM.MSG.DELETE.WA_MSG",
            "$KV.wa_tokens.00",
            "$KV.wa_webhooks.1.4915112345678",
            "wa.retry.0.1.4915112345678",
            "wa.result.0",
            "wa.dlq.1.4915112345678",
            "_INBOX_api.x",
        ],
    ),
    (
        "deliver",
        &[
            "$JS.API.STREAM.MSG.GET.WA_KEYS",
            "wa.keys.s",
            "$JS.ACK.WA_RESULT.record-00.1.1.1.1.0",
            "$JS.API.STREAM.MSG.GET.KV_wa_tokens",
            "$JS.API.CONSUMER.MSG.NEXT.WA_RESULT.record-00",
            "$KV.wa_tokens.00",
            "$KV.wa_settings.cursor_key",
            "$KV.wa_leases.usage",
            "$KV.wa_sessions.1.s",
            "wa.send.1.s",
            "_INBOX_api.x",
        ],
    ),
    (
        "record",
        &[
            "$JS.API.STREAM.MSG.GET.WA_KEYS",
            "wa.keys.s",
            "$JS.ACK.WA_MSG.deliver-00.1.1.1.1.0",
            "$JS.ACK.WA_RETRY.retry-00.1.1.1.1.0",
            "$JS.API.STREAM.MSG.GET.KV_wa_webhooks",
            "$JS.API.STREAM.MSG.GET.KV_wa_tokens",
            "$JS.API.DIRECT.GET.KV_wa_sessions.$KV.wa_sessions.1.s",
            "$KV.wa_tokens.00",
            "$KV.wa_webhooks.1.4915112345678",
            "wa.msg.1.4915112345678",
            "wa.result.0",
            "_INBOX_deliver.x",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_role_publishes_hears_or_settles_what_is_anothers() {
    let nats = declared().await;
    let cluster = nats.cluster.as_ref().expect("three");
    for (role, subjects) in FOREIGN {
        let intruder = Intruder::connect(cluster, role).await;
        for subject in subjects {
            intruder.is_refused(subject, &json!({})).await;
        }
        for other in ROLES.into_iter().filter(|other| *other != role) {
            intruder.may_not_hear(&format!("_INBOX_{other}.>")).await;
        }
        for subject in ["$JS.>", "wa.>", "$KV.>"] {
            intruder.may_not_hear(subject).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_tls_or_a_password_and_no_server_without_a_certificate() {
    let nats = NatsServer::cluster().await;
    let cluster = nats.cluster.as_ref().expect("three");
    let enters = async |options: async_nats::ConnectOptions| {
        let connecting = options.connect(cluster.url_of(0));
        let connected = tokio::time::timeout(WAIT_MAX, connecting).await;
        connected.expect("an answer").is_ok()
    };
    assert!(enters(cluster.options("api")).await);
    let unknown =
        async_nats::ConnectOptions::new().user_and_password("api".to_owned(), PASSWORD.to_owned());
    assert!(!enters(unknown).await, "without knowing the authority");
    let wrong = cluster
        .options("api")
        .user_and_password("api".to_owned(), "wrong".to_owned());
    assert!(!enters(wrong).await, "with another password");

    assert!(cluster.takes_in(Signed::ByTheCluster, PASSWORD).await);
    assert!(!cluster.takes_in(Signed::ByTheCluster, "wrong").await);
    assert!(!cluster.takes_in(Signed::BySomebody, PASSWORD).await);
}
