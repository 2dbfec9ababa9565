//! One message of a chat after the other, where a webhook asks for it.

use std::time::Duration;

use crate::support::{
    app::{App, Client},
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";

async fn publish(client: &Client, chat: &str, id: &str) {
    client.publish_from(PHONE, chat, id, "text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_holds_back_its_chat_and_no_other() {
    // It is retried by hand alone.
    let app = App::with(&[("DELIVER__RETRY_BASE", "10m")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = client.register_ordered(PHONE, &receiver.url("/")).await;
    publish(&client, "4915100000001", "A1").await;
    receiver.wait_for(1).await;
    let first = client.event_when(&webhook, "A1", "pending").await;
    for number in 2..=5 {
        publish(&client, "4915100000001", &format!("A{number}")).await;
        publish(&client, "4915100000002", &format!("B{number}")).await;
    }
    let waiting = client.event_when(&webhook, "A5", "pending").await;
    assert_eq!(
        waiting["error"], "an earlier message of its chat is not delivered yet",
        "{waiting}"
    );
    for number in 2..=5 {
        client
            .event_when(&webhook, &format!("B{number}"), "delivered")
            .await;
    }
    assert_eq!(
        receiver
            .ids()
            .iter()
            .filter(|id| id.starts_with('A'))
            .count(),
        1,
        "the chat waits: {:?}",
        receiver.ids()
    );
    let first = first["id"].as_str().expect("an id");
    let retry = format!("/api/webhooks/events/{first}/retry");
    assert_eq!(client.call("POST", &retry, None).await.0, 202);
    client.event_when(&webhook, "A5", "delivered").await;
    let of_a: Vec<_> = receiver
        .ids()
        .into_iter()
        .filter(|id| id.starts_with('A'))
        .collect();
    assert_eq!(of_a, ["A1", "A1", "A2", "A3", "A4", "A5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_given_up_lets_the_next_of_its_chat_go() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(400), Reply::status(200)]).await;
    let webhook = client.register_ordered(PHONE, &receiver.url("/")).await;
    for number in 1..=3 {
        publish(&client, "4915100000001", &format!("A{number}")).await;
    }
    client.event_when(&webhook, "A1", "failed").await;
    client.event_when(&webhook, "A3", "delivered").await;
    assert_eq!(receiver.ids(), ["A1", "A2", "A3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_to_a_slow_endpoint_arrives_in_order() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::Slow(Duration::from_millis(300))]).await;
    let webhook = client.register_ordered(PHONE, &receiver.url("/")).await;
    let expected: Vec<_> = (0..20).map(|number| format!("A{number}")).collect();
    for id in &expected {
        publish(&client, "4915100000001", id).await;
    }
    client.event_when(&webhook, "A19", "delivered").await;
    assert_eq!(receiver.ids(), expected);
}
