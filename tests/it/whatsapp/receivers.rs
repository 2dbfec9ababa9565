//! To whom a message can be sent: those whom webhooks name, and who have an account.

use serde_json::json;
use whatsapp_rust::prelude::MessageExt;
use whatsapp_sim::{LookupMode, content};

use super::{Linked, STEP_MAX, sending::send};

const GROUP: &str = "120363000000000003@g.us";
const BOB: &str = "4915200000009";
const ABSENT: &str = "4915299999999";

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_webhook_names_can_be_answered() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let device = &linked.device;
    let hidden = linked
        .server
        .hidden_contact("4915200000003", "90003", "Hidden", false);
    let sent = hidden.send(device, content::text("one")).await;
    sent.expect("sent");
    let received = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(received["from"], "90003@lid");
    // `from` and `chat`, and the message itself as the one that is answered.
    for field in [&received["from"], &received["metadata"]["chat"]] {
        let reply = json!({
            "message_id": received["message_id"],
            "from": received["from"],
            "from_me": false,
            "type": "text",
            "content": "one",
        });
        let body =
            json!({"session_id": linked.session, "to": field, "text": "hi", "reply_to": reply});
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(status, 202, "{answer}");
        let (_, message) = hidden.receive(device, STEP_MAX).await.expect("readable");
        let info = message.extended_text_message.context_info.clone();
        assert_eq!(info.participant.as_deref(), Some("90003@lid"));
        assert_eq!(info.quoted_message.text_content(), Some("one"));
    }
    assert!(linked.server.lookups().is_empty(), "a LID needs none");

    // In a group, with the author of the message that is answered; then an answer to oneself.
    linked.server.group(GROUP, super::PHONE, &[&hidden]);
    let sent = hidden.send_group(device, GROUP, content::text("two")).await;
    sent.expect("sent");
    let received = receiver.wait_for(2).await.remove(1).json();
    let chat = &received["metadata"]["chat"];
    let reply = json!({"message_id": received["message_id"], "from": received["from"]});
    let own = json!({"message_id": "M1", "from": super::PHONE, "from_me": true});
    let own_address = format!("{}@s.whatsapp.net", super::PHONE);
    for (reply, author) in [(reply, "90003@lid"), (own, own_address.as_str())] {
        let body =
            json!({"session_id": linked.session, "to": chat, "text": "yes", "reply_to": reply});
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(status, 202, "{answer}");
        let (_, message) = hidden.receive(device, STEP_MAX).await.expect("readable");
        let info = message.extended_text_message.context_info.clone();
        assert_eq!(info.participant.as_deref(), Some(author));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_to_is_refused_with_the_field_and_the_reason() {
    let linked = Linked::start().await;
    let table = [
        ("1700000000@broadcast", "broadcast list"),
        ("status@broadcast", "broadcast list"),
        ("120363000000000009@newsletter", "channel"),
        ("90003@lids", "as webhooks show it"),
        ("4915200000003:2@s.whatsapp.net", "as webhooks show it"),
    ];
    for (to, word) in table {
        let body = json!({"session_id": linked.session, "to": to, "text": "hi"});
        let (status, _, answer) = send(&linked, None, body).await;
        let error = &answer["errors"][0];
        assert_eq!((status, &error["pointer"]), (400, &json!("/to")), "{to}");
        let detail = error["detail"].as_str().expect("a reason");
        assert!(detail.contains(word), "{to}: {detail}");
    }
    let replies = [
        (json!({"message_id": "M1"}), "/reply_to/from"),
        (json!({"message_id": "M1", "from": GROUP}), "/reply_to/from"),
        (json!({"message_id": "M1", "from": "me"}), "/reply_to/from"),
        (
            json!({"message_id": "", "from": BOB}),
            "/reply_to/message_id",
        ),
        (
            json!({"message_id": "M1", "from": BOB, "chat": "x"}),
            "/reply_to/chat",
        ),
    ];
    for (reply, pointer) in replies {
        let body =
            json!({"session_id": linked.session, "to": BOB, "text": "hi", "reply_to": reply});
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{reply}"
        );
    }
    assert_eq!(linked.device.messages_sent(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_an_account_is_an_error_and_is_asked_for_once() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let body = |to: &str| json!({"session_id": linked.session, "to": to, "text": "hi"});
    for _ in 0..2 {
        let (status, _, answer) = send(&linked, Some("k1"), body(ABSENT)).await;
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("not_on_whatsapp")),
            "{answer}"
        );
    }
    assert_eq!(linked.server.lookups(), [ABSENT]);
    assert_eq!(linked.device.messages_sent(), 0, "nothing left");
    // Nothing was sent, so the key is free for another message.
    for _ in 0..2 {
        let (status, _, answer) = send(&linked, None, body(BOB)).await;
        assert_eq!(status, 202, "{answer}");
        bob.receive(&linked.device, STEP_MAX)
            .await
            .expect("readable");
    }
    let (status, _, answer) = send(&linked, Some("k1"), body(BOB)).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(linked.server.lookups(), [ABSENT, BOB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_that_whatsapp_knows_is_sent_to() {
    let linked = Linked::start().await;
    let ana = linked.server.contact("552187654321", "Ana");
    linked.server.dial("5521987654321", "552187654321");
    let body = json!({"session_id": linked.session, "to": "5521987654321", "text": "oi"});
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!(status, 202, "{answer}");
    let (_, message) = ana
        .receive(&linked.device, STEP_MAX)
        .await
        .expect("it reaches the account");
    assert_eq!(message.text_content(), Some("oi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_to_the_look_up_nothing_is_sent_and_the_caller_is_told() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let ann = linked
        .server
        .hidden_contact("4915200000004", "90004", "Ann", true);
    let sent = ann.send(&linked.device, content::text("hello")).await;
    sent.expect("sent");
    receiver.wait_for(1).await;
    linked.server.contact(BOB, "Bob");
    let body = |to: &str| json!({"session_id": linked.session, "to": to, "text": "hi"});
    for mode in [LookupMode::Refused, LookupMode::Ignored] {
        linked.server.look_up(mode);
        let (status, _, answer) = send(&linked, Some("k1"), body(BOB)).await;
        assert_eq!(
            (status, &answer["code"]),
            (503, &json!("lookup_failed")),
            "{answer}"
        );
        // Who wrote before is known.
        let (status, _, answer) = send(&linked, None, body("4915200000004")).await;
        assert_eq!(status, 202, "{answer}");
    }
    linked.server.look_up(LookupMode::LeftOut);
    let (status, _, answer) = send(&linked, None, body(BOB)).await;
    assert_eq!((status, &answer["code"]), (422, &json!("not_on_whatsapp")));
}
