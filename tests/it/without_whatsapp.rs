//! A build without the WhatsApp client: everything but the role `ingest`.

use crate::support::{app::App, receiver::Receiver};

const PHONE: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_from_the_api_to_the_webhook_and_the_audit() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_ingest_is_refused_with_the_reason() {
    let app = App::start().await;
    let text = app
        .failing_command(&["serve", "--roles", "deliver,ingest"])
        .await;
    assert!(
        text.contains("built without the feature `whatsapp`"),
        "{text}"
    );
    assert!(text.contains("leave it out of --roles"), "{text}");
}
