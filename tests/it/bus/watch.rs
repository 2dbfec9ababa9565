//! Watches of buckets, when the server starts again.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;
use wahook::{
    bus::Bus,
    model::{ClientId, PairingMethod, Phone, Session, SessionId, Timestamp, Webhook, WebhookId},
};

use crate::support::{
    app::{eventually, eventually_within},
    nats::NatsServer,
};

/// How late a change may be seen after the connection is back.
const LATE_AFTER: Duration = Duration::from_secs(5);

fn client() -> ClientId {
    ClientId::try_from(1).expect("in range")
}

fn phone() -> Phone {
    "4915112345678".parse().expect("valid")
}

async fn register(bus: &Bus) {
    let id = WebhookId(Uuid::now_v7());
    let url = "https://example.com/".to_owned();
    let webhook = Webhook::new(id, client(), phone(), url, Timestamp::EPOCH);
    bus.webhooks()
        .register(client(), &phone(), |_| webhook.clone())
        .await
        .expect("registers");
}

/// Waits until the cache has the webhook, or has it no more.
async fn wait_for_cache(bus: &Bus, has_it: bool) {
    eventually_within(LATE_AFTER, "the cache has seen it", async || {
        let known = bus.webhooks().cached_by_phone(client(), &phone());
        (known.is_some() == has_it).then_some(())
    })
    .await;
}

async fn restart(server: &mut NatsServer, bus: &Bus) {
    server.stop().await;
    eventually("the client notices", async || {
        (!bus.is_connected()).then_some(())
    })
    .await;
    server.start_again().await;
    eventually("the client is back", async || {
        bus.is_connected().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_cached_soon_when_the_server_started_again_while_there_was_none() {
    let mut server = NatsServer::start().await;
    let watching = server.bus().await;
    eventually("the watch is open", async || {
        (server.consumers("KV_wa_webhooks").await == 1).then_some(())
    })
    .await;
    restart(&mut server, &watching).await;
    let other = server.bus().await;
    register(&other).await;
    wait_for_cache(&watching, true).await;
}

/// The delete marker is gone too, as after a server lost it.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_deleted_without_a_marker_while_no_watch_ran_leaves_the_cache() {
    let mut server = NatsServer::start().await;
    let watching = server.bus().await;
    register(&watching).await;
    wait_for_cache(&watching, true).await;
    let jetstream = server.jetstream().await;
    let stream = jetstream
        .get_stream("KV_wa_webhooks")
        .await
        .expect("declared");
    stream.purge().await.expect("purges");
    wait_for_cache(&watching, true).await;
    restart(&mut server, &watching).await;
    wait_for_cache(&watching, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_seen_soon_when_the_server_started_again_while_there_was_none() {
    let mut server = NatsServer::start().await;
    let watching = server.bus().await;
    let mut changes = watching.sessions().watch().await.expect("watches");
    // Polled before the restart, as its user does.
    let early = timeout(Duration::from_millis(100), changes.next()).await;
    assert!(early.is_err(), "there is no session yet");
    restart(&mut server, &watching).await;
    let other = server.connect().await;
    let session = Session {
        id: SessionId(Uuid::now_v7()),
        client_id: client(),
        phone: None,
        method: PairingMethod::Qr,
        own_messages: false,
        generation: 0,
        is_deleted: false,
        created_at: Timestamp::EPOCH,
    };
    other.sessions().create(&session).await.expect("creates");
    let seen = async {
        loop {
            match changes.next().await {
                Ok(change) => return change,
                Err(_) => changes = watching.sessions().watch().await.expect("watches"),
            }
        }
    };
    let seen = timeout(LATE_AFTER, seen).await.expect("seen soon");
    assert!(seen == Ok(session), "another one was seen");
}
