//! Messages of a webhook that the cache of a deliver node does not have yet.

use futures_util::future::join_all;

use super::{CHAT, nothing_is_left};
use crate::support::{
    app::App,
    proxy::{At, NatsProxy},
    receiver::{Receiver, Reply},
};

/// Webhooks that are registered and used at the same time.
const WEBHOOKS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_in_order_before_the_cache_has_its_webhook() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let proxy = NatsProxy::start(app.nats.port()).await;
    let mut deliver = app.second_with("deliver", &[("NATS__URL", &proxy.url())]);
    deliver.ready().await;
    // The node hears of no webhook by itself.
    let _never = proxy.trap(At::Withheld, "$KV.wa_webhooks.");
    let chats = (0..WEBHOOKS).map(async |number| {
        let phone = format!("49151{number:08}");
        let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
        let webhook = client.register_ordered(&phone, &receiver.url("/")).await;
        for id in ["M1", "M2", "M3"] {
            client.publish_from(&phone, CHAT, id, "text").await;
        }
        client.event_when(&webhook, "M3", "delivered").await;
        receiver.ids()
    });
    for (number, ids) in join_all(chats).await.into_iter().enumerate() {
        assert_eq!(ids, ["M1", "M1", "M2", "M3"], "webhook {number}");
    }
    nothing_is_left(&app).await;
}
