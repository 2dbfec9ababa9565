//! What is sent beside texts and files, and what a session shows in a chat.

use serde_json::{Value, json};
use whatsapp_rust::waproto::whatsapp as wa;

use super::{
    Linked, PHONE, STEP_MAX,
    sending::{file_server, send},
};
use crate::support::receiver::Receiver;

pub(super) const BOB: &str = "4915200000009";
const CAROL: &str = "4915200000008";
pub(super) const GROUP: &str = "120363000000000001@g.us";

/// Sends it to Bob or the group, and reads it as Bob.
async fn arrives(
    linked: &Linked,
    bob: &whatsapp_sim::Contact,
    to: &str,
    what: Value,
) -> wa::Message {
    let mut body = json!({"session_id": linked.session, "to": to});
    for (field, value) in what.as_object().expect("fields") {
        body[field] = value.clone();
    }
    let (status, _, answer) = send(linked, None, body).await;
    assert_eq!(
        (status, &answer["status"]),
        (202, &json!("sent")),
        "{what}: {answer}"
    );
    let received = bob.receive(&linked.device, STEP_MAX).await;
    let (id, message) = received.expect("Bob can read it");
    assert_eq!(answer["message_id"], id, "{what}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn places_contacts_and_polls_arrive_as_such() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let place =
        json!({"latitude": -33.5, "longitude": 151.25, "name": "Café", "address": "1 Road"});
    let reply = json!({"message_id": "Q1", "from": BOB});
    let what = json!({"location": place, "reply_to": reply});
    let message = arrives(&linked, &bob, BOB, what).await;
    let place = message.location_message.as_option().expect("a place");
    assert_eq!(
        (
            place.degrees_latitude,
            place.degrees_longitude,
            place.name.as_deref()
        ),
        (Some(-33.5), Some(151.25), Some("Café"))
    );
    assert_eq!(place.context_info.stanza_id.as_deref(), Some("Q1"));

    let ann = json!({"name": "Ann; Lee", "phone_number": "4915111111111"});
    let message = arrives(&linked, &bob, BOB, json!({"contacts": [ann]})).await;
    let card = message.contact_message.as_option().expect("a card");
    let vcard = card.vcard.as_deref().expect("its text");
    assert!(vcard.contains("FN:Ann\\; Lee\n"), "{vcard}");
    assert!(
        vcard.contains("waid=4915111111111:+4915111111111"),
        "{vcard}"
    );
    let own = json!({"name": "Own", "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:Own\nEND:VCARD"});
    let message = arrives(&linked, &bob, BOB, json!({"contacts": [ann, own]})).await;
    let cards = message.contacts_array_message.as_option().expect("cards");
    assert_eq!(cards.contacts.len(), 2);

    for (selectable, is_single) in [(Value::Null, true), (json!(2), false)] {
        let mut poll = json!({"question": "Tea?", "options": ["yes", "no"]});
        if !selectable.is_null() {
            poll["selectable"] = selectable;
        }
        let message = arrives(&linked, &bob, BOB, json!({"poll": poll})).await;
        let secret = message.message_context_info.message_secret.as_deref();
        assert_eq!(secret.map(<[u8]>::len), Some(32));
        let [single, several] = [
            &message.poll_creation_message_v3,
            &message.poll_creation_message,
        ];
        assert_eq!((single.is_set(), several.is_set()), (is_single, !is_single));
        let poll = if is_single { single } else { several };
        let options = poll
            .options
            .iter()
            .filter_map(|one| one.option_name.as_deref());
        assert_eq!(options.collect::<Vec<_>>(), ["yes", "no"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_edits_and_deletions_name_their_message() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let carol = linked.server.contact(CAROL, "Carol");
    linked.server.group(GROUP, PHONE, &[&bob, &carol]);

    let what = json!({"reaction": {"message_id": "B1", "from": BOB, "emoji": "👍"}});
    let message = arrives(&linked, &bob, BOB, what).await;
    let reaction = message.reaction_message.as_option().expect("a reaction");
    let key = reaction.key.as_option().expect("a key");
    assert_eq!(
        (reaction.text.as_deref(), key.id.as_deref()),
        (Some("👍"), Some("B1"))
    );
    assert_eq!(
        (key.from_me, key.participant.as_deref()),
        (Some(false), None)
    );
    let chat = format!("{BOB}@s.whatsapp.net");
    assert_eq!(key.remote_jid.as_deref(), Some(chat.as_str()));

    let what = json!({"reaction": {"message_id": "C1", "from": CAROL, "emoji": ""}});
    let message = arrives(&linked, &bob, GROUP, what).await;
    let reaction = message.reaction_message.as_option().expect("a reaction");
    let author = format!("{CAROL}@s.whatsapp.net");
    assert_eq!(reaction.text.as_deref(), Some(""), "taken back");
    assert_eq!(reaction.key.participant.as_deref(), Some(author.as_str()));

    let what = json!({"edit": {"message_id": "OWN1"}, "text": "better"});
    let message = arrives(&linked, &bob, BOB, what).await;
    let edit = message.protocol_message.as_option().expect("an edit");
    assert_eq!(edit.edited_message.conversation.as_deref(), Some("better"));
    assert_eq!(
        (edit.key.id.as_deref(), edit.key.from_me),
        (Some("OWN1"), Some(true))
    );

    let deletions = [
        (json!({"message_id": "OWN1", "from_me": true}), None),
        (
            json!({"message_id": "C1", "from": CAROL}),
            Some(author.as_str()),
        ),
    ];
    for (target, participant) in deletions {
        let message = arrives(&linked, &bob, GROUP, json!({"delete": target})).await;
        let deletion = message.protocol_message.as_option().expect("a deletion");
        assert_eq!(
            deletion.r#type,
            Some(wa::message::protocol_message::Type::Revoke)
        );
        assert_eq!(deletion.key.participant.as_deref(), participant);
        assert_eq!(deletion.key.from_me, Some(participant.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_as_a_sticker_or_a_document_where_that_is_asked_for() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let bytes = vec![7_u8; 3000];
    let webp = file_server("image/webp", bytes.clone()).await;
    let png = file_server("image/png", bytes.clone()).await;
    let what = json!({"media": {"url": webp, "shown_as": "sticker"}});
    let message = arrives(&linked, &bob, BOB, what).await;
    assert!(message.sticker_message.is_set());
    assert_eq!(linked.server.open(message).expect("stored"), bytes);
    let what = json!({"media": {"url": png, "shown_as": "document", "file_name": "a.png"}});
    let message = arrives(&linked, &bob, BOB, what).await;
    let document = message.document_message.as_option().expect("a document");
    assert_eq!(document.mimetype.as_deref(), Some("image/png"));

    let refused = [
        (
            json!({"media": {"url": png, "shown_as": "sticker"}}),
            "/media/shown_as",
        ),
        (
            json!({"media": {"url": webp, "shown_as": "sticker"}, "text": "x"}),
            "/text",
        ),
    ];
    for (mut body, pointer) in refused {
        body["session_id"] = json!(linked.session);
        body["to"] = json!(BOB);
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{answer}"
        );
    }
}

pub(super) async fn post(linked: &Linked, path: &str, mut body: Value) -> (u16, Value) {
    body["session_id"] = json!(linked.session);
    linked.client.call("POST", path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_that_it_read_messages_and_that_somebody_writes() {
    let linked = Linked::start().await;
    linked.server.contact(BOB, "Bob");
    let shown = [
        (
            "read",
            json!({"chat": BOB, "message_ids": ["A1"]}),
            format!("{BOB}@s.whatsapp.net read A1"),
        ),
        (
            "read",
            json!({"chat": GROUP, "from": CAROL, "message_ids": ["A1", "A2"]}),
            format!("{GROUP} {CAROL}@s.whatsapp.net read A1 A2"),
        ),
        (
            "typing",
            json!({"to": BOB, "state": "composing"}),
            format!("{BOB}@s.whatsapp.net composing"),
        ),
        (
            "typing",
            json!({"to": BOB, "state": "recording"}),
            format!("{BOB}@s.whatsapp.net recording"),
        ),
        (
            "typing",
            json!({"to": GROUP, "state": "paused"}),
            format!("{GROUP} paused"),
        ),
    ];
    for (what, body, expected) in shown {
        let (status, answer) = post(&linked, &format!("/api/chats/{what}"), body).await;
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("sent")),
            "{expected}: {answer}"
        );
        linked
            .device
            .wait_shown(&expected, STEP_MAX)
            .await
            .expect("WhatsApp is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_a_number_or_a_lid_is_told() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    linked.server.contact(BOB, "Bob");
    let found = linked.client.get(&format!("/api/contacts/{BOB}")).await;
    assert_eq!(
        (&found["is_registered"], &found["account"]),
        (&json!(true), &json!(BOB))
    );
    let found = linked.client.get("/api/contacts/4915299999999").await;
    assert_eq!(
        (&found["is_registered"], &found["account"]),
        (&json!(false), &Value::Null)
    );

    let dana = linked
        .server
        .hidden_contact(CAROL, "90000000000077", "Dana", true);
    let found = linked
        .client
        .get("/api/contacts/lid/90000000000077@lid")
        .await;
    assert_eq!(found["phone_number"], Value::Null, "nobody told it yet");
    let text = whatsapp_sim::content::text("hi");
    dana.send(&linked.device, text).await.expect("sent");
    receiver.wait_for(1).await;
    let path = format!(
        "/api/contacts/lid/90000000000077?session_id={}",
        linked.session
    );
    let found = linked.client.get(&path).await;
    assert_eq!(found["phone_number"], CAROL);
    assert_eq!(found["lid"], "90000000000077@lid");

    for path in ["x", "123", "lid/x", "lid/1@g.us"] {
        let (status, _) = linked.client.text(&format!("/api/contacts/{path}")).await;
        assert_eq!(status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_whatsapp_is_told_as_such() {
    let linked = Linked::start().await;
    linked.server.contact(BOB, "Bob");
    let receiver = Receiver::answering(&[200]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "event_types": ["receipt"],
    });
    linked.client.register_with(body).await;
    linked.device.fail_sends(463);
    let body = json!({"session_id": linked.session, "to": BOB, "text": "hi"});
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!(status, 202, "{answer}");
    let told = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(
        (&told["content"], &told["message_id"]),
        (&json!("failed"), &answer["message_id"])
    );
    let error = &told["metadata"]["error"];
    assert_eq!(error["code"], "463");
    let reason = error["reason"].as_str().expect("a reason");
    assert!(reason.contains("start no chat"), "{reason}");
}
