//! Chat queues in the stream.

use wahook::model::{ChatKey, Delivery};

use super::delivery;
use crate::support::nats::NatsServer;

#[tokio::test]
async fn a_head_whose_copy_is_gone_is_dispatched_again() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let chat_key = ChatKey::try_from("c0ffee".to_owned()).expect("valid");
    let delivery = Delivery {
        chat_key: Some(chat_key),
        ..delivery(7)
    };
    bus.enqueue(&delivery).await.expect("joins");
    let head = bus.queue_head(&delivery).await.expect("an answer");
    let head = head.expect("it is the head");
    bus.dispatch_head(&head).await.expect("dispatches");
    assert_eq!(server.messages("WA_RETRY").await, 1);
    let stream = server.jetstream().await.get_stream("WA_RETRY").await;
    stream
        .expect("a stream")
        .purge()
        .await
        .expect("the copy goes");
    // It would be a second one for the server, too, were it not gone.
    bus.dispatch_head(&head).await.expect("does nothing");
    assert_eq!(server.messages("WA_RETRY").await, 0);
    bus.dispatch_head_again(&head).await.expect("dispatches");
    assert_eq!(server.messages("WA_RETRY").await, 1);
}
