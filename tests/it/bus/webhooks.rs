//! Webhooks as several nodes see them.

use std::sync::Arc;

use wahook::bus::Bus;

use super::{client, webhook};
use crate::support::{app::eventually, nats::NatsServer};

#[tokio::test]
async fn a_webhook_changed_on_one_node_is_changed_on_the_other() {
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    let here = first.webhooks();
    let there = second.webhooks();
    let new = webhook(1, "4915112345678");
    let id = new.id;
    let number = new.phone.clone();
    let (registered, created) = here
        .register(client(1), &number, |_| new.clone())
        .await
        .expect("registers");
    assert!(created);
    // Read at once, on both nodes, by number and by id.
    assert_eq!(
        there.by_phone(client(1), &number).await.expect("answers"),
        Some(Arc::clone(&registered))
    );
    assert_eq!(
        there.by_id(client(1), id).await.expect("answers"),
        Some(registered)
    );
    assert_eq!(
        there.by_id(client(2), id).await.expect("answers"),
        None,
        "another client's"
    );

    // Both change it at the same time: no change is lost.
    let bump = |bus: Bus| async move {
        for _ in 0..10 {
            bus.webhooks()
                .update(client(1), id, |webhook| webhook.rate_per_second += 1)
                .await
                .expect("updates");
        }
    };
    tokio::join!(bump(first.clone()), bump(second.clone()));
    eventually("both nodes know", async || {
        let rates = [here, there].map(async |one| {
            one.by_id(client(1), id)
                .await
                .expect("answers")
                .map(|w| w.rate_per_second)
        });
        let [a, b] = rates;
        (a.await == Some(70) && b.await == Some(70)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_webhook_deleted_on_one_node_is_gone_on_the_other() {
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    let here = first.webhooks();
    let there = second.webhooks();
    let new = webhook(1, "4915112345678");
    let id = new.id;
    let number = new.phone.clone();
    here.register(client(1), &number, |_| new.clone())
        .await
        .expect("registers");
    assert!(
        there
            .delete(client(2), id)
            .await
            .expect("answers")
            .is_none()
    );
    assert!(
        there
            .delete(client(1), id)
            .await
            .expect("answers")
            .is_some()
    );
    assert_eq!(
        there.by_phone(client(1), &number).await.expect("answers"),
        None
    );
    eventually("the other node knows", async || {
        here.by_id(client(1), id)
            .await
            .expect("answers")
            .is_none()
            .then_some(())
    })
    .await;
    let (again, created) = here
        .register(client(1), &number, |_| webhook(1, "4915112345678"))
        .await
        .expect("registers");
    assert!(created && again.id != id);
}

#[tokio::test]
async fn a_webhook_is_not_written_when_its_change_fails_or_changes_nothing() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let webhooks = bus.webhooks();
    let new = webhook(1, "4915112345678");
    let last_revision = async || {
        let jetstream = server.jetstream().await;
        let stream = jetstream.get_stream("KV_wa_webhooks").await;
        let stream = stream.expect("declared");
        stream.cached_info().state.last_sequence
    };
    let refused = webhooks
        .try_register(client(1), &new.phone, |_| Err(anyhow::anyhow!("refused")))
        .await;
    assert_eq!(refused.expect_err("it fails").to_string(), "refused");
    assert_eq!(last_revision().await, 0);

    let registered = webhooks
        .register(client(1), &new.phone, |_| new.clone())
        .await;
    assert!(registered.expect("registers").1);
    let refused = webhooks
        .try_update(client(1), new.id, |webhook| {
            webhook.rate_per_second += 1;
            Err(anyhow::anyhow!("refused"))
        })
        .await;
    assert_eq!(refused.expect_err("it fails").to_string(), "refused");
    let same = webhooks.update(client(1), new.id, |_| {}).await;
    let same = same.expect("answers").expect("registered");
    assert_eq!(same.rate_per_second, new.rate_per_second);
    assert_eq!(last_revision().await, 1);
}
