//! Accounts whose number people dial in another form.

use serde_json::json;
use whatsapp_rust::prelude::MessageExt;
use whatsapp_sim::{Server, content};

use super::{STEP_MAX, link, sending::send_through};
use crate::support::{
    app::{App, eventually},
    receiver::Receiver,
};

/// As people dial it, and as WhatsApp knows it.
const NUMBERS: [(&str, &str); 3] = [
    ("5521987654321", "552187654321"),
    ("525512345678", "5215512345678"),
    ("541123456789", "5491123456789"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_number_as_it_is_dialled_links_receives_and_sends() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let ann = server.contact("4915200000001", "Ann");
    for (dialled, account) in NUMBERS {
        let body = json!({"phone_number": dialled});
        let (session, device) = link(&client, &server, body, account).await;
        let shown = client.get(&format!("/api/sessions/{session}")).await;
        assert_eq!(shown["phone_number"], account);

        let receiver = Receiver::answering(&[200]).await;
        let webhook = client.register(dialled, &receiver.url("/")).await;
        let sent = ann.send(&device, content::text("hello")).await;
        sent.expect("sent");
        let one = receiver.wait_for(1).await.remove(0).json();
        assert_eq!(
            (&one["content"], &one["to"]),
            (&json!("hello"), &json!(account))
        );

        // The other form is the same webhook.
        let body = json!({"phone_number": account, "webhook_url": receiver.url("/other")});
        let (status, again) = client
            .call("POST", "/api/webhooks/register", Some(body))
            .await;
        assert_eq!((status, &again["id"]), (200, &webhook["id"]), "{again}");
        assert_eq!(again["phone_number"], dialled);

        // What comes while it is paused is held, and released.
        let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
        let pause = |is_active: bool| Some(json!({"is_active": is_active}));
        let (status, _) = client.call("PATCH", &path, pause(false)).await;
        assert_eq!(status, 200);
        let sent = ann.send(&device, content::text("held")).await;
        sent.expect("sent");
        eventually("it is held", async || {
            (client.get(&path).await["held_count"] == 1).then_some(())
        })
        .await;
        let (status, _) = client.call("PATCH", &path, pause(true)).await;
        assert_eq!(status, 200);
        let one = receiver.wait_for(2).await.remove(1).json();
        assert_eq!(one["content"], "held");

        // Sending through it, by both numbers; and a message of another gateway.
        for number in [dialled, account] {
            let body = json!({"phone_number": number, "to": "4915200000001", "text": number});
            let (status, _, answer) = send_through(&app, &client, None, body).await;
            assert_eq!(status, 202, "{answer}");
            let received = ann.receive(&device, STEP_MAX).await;
            assert_eq!(received.expect("readable").1.text_content(), Some(number));
        }
        let body = json!({
            "phone_number": account,
            "message_id": "G1",
            "from": "4915200000001",
            "type": "text",
            "content": "from a gateway",
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
        let one = receiver.wait_for(3).await.remove(2).json();
        assert_eq!(one["content"], "from a gateway");
    }
    let listed = client.get("/api/webhooks/list").await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(NUMBERS.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_registered_at_once_for_both_forms_are_one() {
    let app = App::start().await;
    let client = app.client(1).await;
    let (dialled, account) = NUMBERS[0];
    let register = async |number: &str| {
        let body = json!({"phone_number": number, "webhook_url": "http://127.0.0.1:9/"});
        client
            .call("POST", "/api/webhooks/register", Some(body))
            .await
    };
    let (one, two) = tokio::join!(register(dialled), register(account));
    assert_eq!(one.1["id"], two.1["id"], "{one:?} {two:?}");
    // A landline that looks alike is somebody else's.
    let (status, other) = register("552133334444").await;
    assert_eq!(status, 201, "{other}");
}
