//! Watches of buckets when the server dies that feeds them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::jetstream::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use super::role;
use crate::support::{
    app::{App, eventually},
    cluster::Cluster,
};

const BUCKETS: [&str; 4] = [
    "KV_wa_webhooks",
    "KV_wa_clients",
    "KV_wa_members",
    "KV_wa_jobs",
];
/// A watch is back after three seconds; this leaves time for a busy machine. The client's own
/// watches notice only after ten seconds that nothing comes.
const BACK_WITHIN: Duration = Duration::from_secs(8);

/// How long a consumer that lives may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// A role's watch of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Watch {
    bucket: &'static str,
    role: String,
    name: String,
    server: String,
}

impl Watch {
    /// Whether this one took the place of the other.
    fn replaces(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.role == other.role && self.name != other.name
    }
}

/// All that live; `None` while a bucket has no leader. Each is asked for by itself: for a list of
/// all, the server waits long for those that are gone.
async fn watches(operator: &Context) -> Option<BTreeSet<Watch>> {
    let mut all = BTreeSet::new();
    for bucket in BUCKETS {
        let named: Value = operator
            .request(format!("CONSUMER.NAMES.{bucket}"), &())
            .await
            .ok()?;
        let names = named["consumers"].as_array()?.iter();
        let asked = names.filter_map(Value::as_str).map(async |name| {
            // With no body at all: the server refuses any other.
            let subject = format!("$JS.API.CONSUMER.INFO.{bucket}.{name}");
            let client = operator.client();
            let info = client.request(subject, Bytes::new());
            let info = timeout(ANSWER_WITHIN, info).await.ok()?.ok()?;
            let info: Value = serde_json::from_slice(&info.payload).ok()?;
            let inbox = info["config"]["deliver_subject"].as_str()?;
            Some(Watch {
                bucket,
                role: inbox.split('.').next()?.to_owned(),
                name: name.to_owned(),
                server: info["cluster"]["leader"].as_str()?.to_owned(),
            })
        });
        all.extend(join_all(asked).await.into_iter().flatten());
    }
    Some(all)
}

/// Lets another server than this one lead all buckets: a watch can be opened at once then.
async fn lead_elsewhere(operator: &Context, server: &str) {
    for bucket in BUCKETS {
        eventually("another server leads the bucket", async || {
            let info: Value = operator
                .request(format!("STREAM.INFO.{bucket}"), &())
                .await
                .ok()?;
            if info["cluster"]["leader"].as_str()? != server {
                return Some(());
            }
            let subject = format!("STREAM.LEADER.STEPDOWN.{bucket}");
            let _: Value = operator.request(subject, &()).await.ok()?;
            None
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_server_dies_is_back_soon_and_asks_for_nothing_forbidden() {
    let nats = crate::support::nats::NatsServer::cluster().await;
    let mut app = App::playing_on(nats, "api", &[("BUS__REPLICAS", "3")]).await;
    let _deliver = role(&app, "deliver").await;
    let operator = app.nats.jetstream().await;
    for dead in 0..3 {
        let name = format!("n{}", dead + 1);
        let cluster = app.nats.cluster.as_mut().expect("three");
        lead_elsewhere(&operator, &name).await;
        let is_meta_leader = cluster.meta_leader().await == dead;
        let before = eventually("all watches are open", async || {
            let all = watches(&operator).await?;
            let roles: BTreeSet<_> = all.iter().map(|one| (one.bucket, &one.role)).collect();
            (roles.len() >= 6).then_some(all)
        })
        .await;
        cluster.kill(dead).await;
        let killed_at = Instant::now();
        let orphans: Vec<_> = before.iter().filter(|one| one.server == name).collect();
        eventually("each watch of the dead server is back", async || {
            let all = watches(&operator).await?;
            let is_back = |one: &&Watch| all.iter().any(|new| new.replaces(one));
            orphans.iter().all(is_back).then_some(())
        })
        .await;
        let back_after = killed_at.elapsed();
        println!(
            "{} watches of {name} were back after {back_after:?}",
            orphans.len()
        );
        // Without that leader nobody can make a consumer.
        assert!(
            is_meta_leader || back_after < BACK_WITHIN,
            "{orphans:?} were back after {back_after:?}"
        );
        cluster.start_again(dead);
        cluster.healthy(dead).await;
    }
    let violations = app.nats.cluster.as_ref().map(Cluster::violations);
    assert_eq!(violations, Some(Vec::new()));
}
