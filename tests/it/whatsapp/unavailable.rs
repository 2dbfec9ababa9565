//! Messages that come without their content.

use serde_json::{Value, json};
use whatsapp_rust::{prelude::MessageField, waproto::whatsapp as wa};
use whatsapp_sim::content;

use super::{Linked, STEP_MAX};
use crate::support::{app::eventually, receiver::Receiver};

/// What the webhook got of one message.
fn received(receiver: &Receiver, id: &str) -> Vec<Value> {
    let all = receiver.received();
    let all = all.iter().map(|one| one.json());
    all.filter(|one| one["message_id"] == id).collect()
}

/// The same, once it has so many.
async fn told(receiver: &Receiver, id: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} of {id} have come"), async || {
        let told = received(receiver, id);
        (told.len() == count).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_without_content_is_told_and_the_content_replaces_it() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let device = &linked.device;
    let ann = linked.server.contact("4915200000001", "Ann");
    let table: [(&[(&str, &str)], &str); 4] = [
        (&[("type", "view_once")], "view_once"),
        (&[("hosted", "true")], "hosted"),
        (&[], "on_phone_only"),
        (&[("type", "something_new")], "on_phone_only"),
    ];
    for (attributes, reason) in table {
        let id = ann.send_unavailable(device, attributes);
        let one = told(&receiver, &id, 1).await.remove(0);
        assert_eq!(
            (&one["type"], &one["content"], &one["from"]),
            (&json!("unavailable"), &json!(""), &json!("4915200000001"))
        );
        let metadata = &one["metadata"];
        assert_eq!(metadata["unavailable"], json!({"reason": reason}));
        assert_eq!(metadata["replaces_unavailable"], Value::Null);
        device
            .wait_acked(&id, STEP_MAX)
            .await
            .expect("acknowledged");

        // The sender's phone sends it again, with its content.
        let sent = ann.send_as(device, &id, content::text("now you see it"));
        sent.await.expect("sent");
        let both = told(&receiver, &id, 2).await;
        assert_eq!(both[1]["content"], "now you see it");
        assert_eq!(both[1]["metadata"]["replaces_unavailable"], true);
    }
    // It is there for the formats and the audit, too: nothing came twice, nothing was left out.
    assert_eq!(receiver.received().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decrypted_is_told_and_replaced_when_it_is_sent_again() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let device = &linked.device;
    let ann = linked.server.contact("4915200000001", "Ann");
    let sent = ann.send_corrupt(device, content::text("at last")).await;
    let id = sent.expect("sent again when asked for");
    let all = eventually("it has come", async || {
        let all = received(&receiver, &id);
        all.iter()
            .any(|one| one["content"] == "at last")
            .then_some(all)
    })
    .await;
    // The content may be faster than the word that it is missing, which is not given then.
    let (content, told_first) = all.split_last().expect("it has come");
    assert_eq!(content["content"], "at last");
    let replaces = &content["metadata"]["replaces_unavailable"];
    assert_eq!(*replaces == true, !told_first.is_empty(), "{all:?}");
    for one in told_first {
        assert_eq!(one["metadata"]["unavailable"]["reason"], "undecryptable");
    }

    // This one is never sent again.
    let bob = linked.server.contact("4915200000002", "Bob");
    let sent = bob.send_unreadable(device, &content::text("lost")).await;
    let id = sent.expect("sent");
    let one = told(&receiver, &id, 1).await.remove(0);
    assert_eq!(one["type"], "unavailable");
    assert_eq!(one["metadata"]["unavailable"]["reason"], "undecryptable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_without_a_name_beside_a_key_is_published() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let ann = linked.server.contact("4915200000001", "Ann");
    let key = wa::message::SenderKeyDistributionMessage {
        group_id: Some("120363000000000001@g.us".to_owned()),
        ..Default::default()
    };
    let message = wa::Message {
        sender_key_distribution_message: MessageField::some(key),
        poll_add_option_message: MessageField::some(wa::message::PollAddOptionMessage::default()),
        ..Default::default()
    };
    let sent = ann.send(&linked.device, message).await;
    let id = sent.expect("sent");
    let one = told(&receiver, &id, 1).await.remove(0);
    assert_eq!(one["type"], "unknown");
    assert_eq!(one["metadata"]["kind"], "pollAddOptionMessage");
}
