//! The formats of wahook, WAHA and Evolution API.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{EVENT, at, image, meets, message, receipt, render, webhook};
use crate::{
    model::{Format, Kind, PublicEventId, Timestamp, WebhookId},
    wire::{BODY_BYTES_MAX, body::format_of, delivery_body, summarize_body, webhook_body},
};

#[test]
fn native_body_has_the_documented_fields_in_order() {
    let mut message = message(Kind::Text, "hi\n👋", json!({}));
    message.metadata = Map::new();
    message.timestamp = Timestamp::from_millis(1_764_000_000_999);
    let (body, _) = render(Format::Native, &message);
    assert_eq!(
        String::from_utf8_lossy(&body),
        concat!(
            r#"{"client_id":7,"message_id":"3EB0AA","from":"4922200000","to":"4911100000","#,
            r#""timestamp":"2025-11-24T16:00:00Z","type":"text","content":"hi\n👋","metadata":{}}"#
        )
    );
    assert_eq!(format_of(&body), Format::Native);
    assert_eq!(body, webhook_body(&message));
}

#[test]
fn waha_body_has_the_fields_of_a_real_one() {
    // Its event ids are ULIDs; ours are those of the API. The session's name is the number. Where
    // the documents have a null, the types of its API have a text.
    let outer = [
        "/payload/participant",
        "/id",
        "/session",
        "/engine",
        "/environment/version",
        "/me/pushName",
    ];
    let text = message(Kind::Text, "hi", json!({}));
    meets(Format::Waha, fixture!("waha-text"), &text, &outer);
    let (_, ours) = render(Format::Waha, &text);
    assert_eq!(
        ours["id"],
        PublicEventId {
            webhook: WebhookId(Uuid::from_u128(2)),
            event: EVENT
        }
        .to_string()
    );
    assert_eq!(ours["payload"]["_data"]["message_id"], "3EB0AA");
    let reaction = message(
        Kind::Reaction,
        "🙏",
        json!({"reaction": {"message_id": "3EB0BB", "removed": false}}),
    );
    meets(Format::Waha, fixture!("waha-reaction"), &reaction, &outer);
    meets(Format::Waha, fixture!("waha-ack"), &receipt("read"), &outer);
    let revoke = message(Kind::Revoke, "", json!({"revoked_message_id": "3EB0BB"}));
    meets(Format::Waha, fixture!("waha-revoked"), &revoke, &outer);
}

#[test]
fn waha_body_of_groups_own_messages_and_media() {
    let mut group = message(
        Kind::Text,
        "hi",
        json!({"chat": "120363@g.us", "is_group": true}),
    );
    group.chat = "120363@g.us".to_owned();
    let (_, ours) = render(Format::Waha, &group);
    assert_eq!(
        ours["payload"]["id"],
        "false_120363@g.us_3EB0AA_4922200000@c.us"
    );
    assert_eq!(ours["payload"]["from"], "120363@g.us");
    assert_eq!(ours["payload"]["participant"], "4922200000@c.us");
    let mut own = message(Kind::Text, "hi", json!({"from_me": true}));
    own.from = "4911100000".to_owned();
    own.to = "4922200000".to_owned();
    let (_, ours) = render(Format::Waha, &own);
    assert_eq!(
        (&ours["event"], &ours["payload"]["fromMe"]),
        (&json!("message.any"), &json!(true))
    );
    assert_eq!(ours["payload"]["id"], "true_4922200000@c.us_3EB0AA");
    let (_, ours) = render(Format::Waha, &image());
    let media = json!({
        "url": "/api/media/sealed-id",
        "mimetype": "image/jpeg",
        "filename": null,
        "s3": null,
        "error": null,
    });
    assert_eq!(
        (&ours["payload"]["hasMedia"], &ours["payload"]["media"]),
        (&json!(true), &media)
    );
    let mut hidden = message(Kind::Text, "hi", json!({"chat": "77@lid"}));
    hidden.chat = "77@lid".to_owned();
    hidden.from = "77@lid".to_owned();
    assert_eq!(render(Format::Waha, &hidden).1["payload"]["from"], "77@lid");
}

#[test]
fn evolution_body_has_the_fields_of_a_real_one() {
    // `apikey` is no credential here, and where the server is, the platform below or the source is
    // not known.
    let listed = ["/server_url", "/apikey", "/data/source"];
    let text = message(Kind::Text, "hi", json!({}));
    meets(
        Format::Evolution,
        fixture!("evolution-text"),
        &text,
        &listed,
    );
    meets(
        Format::Evolution,
        fixture!("evolution-status"),
        &receipt("read"),
        &listed,
    );
    let (_, ours) = render(Format::Evolution, &image());
    assert_eq!(ours["data"]["messageType"], "imageMessage");
    let expected = json!({
        "caption": "look", "mimetype": "image/jpeg",
        "fileSha256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "fileLength": 9, "width": 4,
    });
    assert_eq!(
        ours["data"]["message"],
        json!({"imageMessage": expected, "mediaUrl": "/api/media/sealed-id"})
    );
    let quoting = message(
        Kind::Text,
        "yes",
        json!({"quoted": {"message_id": "Q1", "from": "4911100000"}}),
    );
    let context = json!({"stanzaId": "Q1", "participant": "4911100000@s.whatsapp.net"});
    assert_eq!(
        render(Format::Evolution, &quoting).1["data"]["contextInfo"],
        context
    );
    let revoke = message(Kind::Revoke, "", json!({"revoked_message_id": "3EB0BB"}));
    let (_, ours) = render(Format::Evolution, &revoke);
    assert_eq!(
        (&ours["event"], &ours["data"]["id"]),
        (&json!("messages.delete"), &json!("3EB0BB"))
    );
}

#[test]
fn names_by_which_receivers_route_are_those_of_the_options() {
    let text = message(Kind::Text, "hi", json!({}));
    let with = |format, name: &str, value: &str| {
        let mut webhook = webhook(format);
        let options = &mut webhook.sending.format_options.0;
        options.insert(name.to_owned(), value.to_owned());
        let body = delivery_body(&webhook, &text, EVENT, at(), BODY_BYTES_MAX);
        serde_json::from_slice::<Value>(&body).expect("JSON")
    };
    let phone_id = "/entry/0/changes/0/value/metadata/phone_number_id";
    for (format, name, pointer) in [
        (Format::Cloud, "phone_number_id", phone_id),
        (Format::Cloud, "business_account_id", "/entry/0/id"),
        (Format::Waha, "session", "/session"),
        (Format::Evolution, "instance", "/instance"),
        (Format::Evolution, "server_url", "/server_url"),
    ] {
        let body = with(format, name, "mine");
        assert_eq!(body.pointer(pointer), Some(&json!("mine")), "{name}");
    }
    let body = with(Format::Waha, "message_event", "message.any");
    assert_eq!(body["event"], "message.any");
    let body = with(Format::Waha, "message_event", "message");
    assert_eq!(body["event"], "message");
}

#[test]
fn waha_body_of_edits_replies_and_places_is_whole() {
    let edit = message(Kind::Edit, "new", json!({"edited_message_id": "3EB0BB"}));
    let (_, ours) = render(Format::Waha, &edit);
    for field in ["ack", "ackName", "hasMedia", "source", "editedMessageId"] {
        assert!(!ours["payload"][field].is_null(), "{field}: {ours}");
    }
    let quoted = json!({"message_id": "Q", "from": "4933", "type": "image", "content": "look"});
    let reply = message(Kind::Text, "yes", json!({"quoted": quoted}));
    let (_, ours) = render(Format::Waha, &reply);
    let expected = json!({"id": "Q", "participant": "4933@c.us", "body": "look", "hasMedia": true});
    assert_eq!(ours["payload"]["replyTo"], expected);
    let place = json!({"location": {"latitude": 52.5, "longitude": -1, "address": "Ring 1"}});
    let (_, ours) = render(Format::Waha, &message(Kind::Location, "", place));
    let expected = json!({
        "latitude": "52.5", "longitude": "-1", "live": false, "address": "Ring 1",
    });
    assert_eq!(ours["payload"]["location"], expected);
}

#[test]
fn evolution_body_of_an_edit_is_the_protocol_message() {
    let target = json!({"edited_message_id": "3EB0BB", "target": {"from_me": false}});
    let (bytes, ours) = render(Format::Evolution, &message(Kind::Edit, "new", target));
    let key = json!({"remoteJid": "4922200000@s.whatsapp.net", "fromMe": false, "id": "3EB0BB"});
    let data = json!({
        "key": key, "type": "MESSAGE_EDIT", "editedMessage": {"conversation": "new"},
        "timestampMs": "1750000000000",
    });
    assert_eq!(
        (&ours["event"], &ours["data"]),
        (&json!("messages.edited"), &data)
    );
    let summary = summarize_body(&bytes).expect("its own body");
    assert_eq!(
        (summary.from.as_str(), summary.content.as_str()),
        ("4922200000", "new")
    );
}

#[test]
fn evolution_key_has_the_other_name_of_the_sender() {
    let known = message(
        Kind::Text,
        "hi",
        json!({"from_lid": "90003@lid", "push_name": null}),
    );
    let (_, ours) = render(Format::Evolution, &known);
    let key = json!({
        "remoteJid": "4922200000@s.whatsapp.net", "remoteJidAlt": "90003@lid", "fromMe": false,
        "id": "3EB0AA", "addressingMode": "pn",
    });
    assert_eq!(ours["data"]["key"], key);
    assert_eq!(ours["data"]["pushName"], "4922200000");
    let group = json!({"from_lid": "90003@lid", "chat": "120363@g.us"});
    let (_, ours) = render(Format::Evolution, &message(Kind::Text, "hi", group));
    let key = json!({
        "remoteJid": "120363@g.us", "participant": "4922200000@s.whatsapp.net",
        "participantAlt": "90003@lid", "fromMe": false, "id": "3EB0AA", "addressingMode": "pn",
    });
    assert_eq!(ours["data"]["key"], key);
}

#[test]
fn votes_name_their_poll_and_what_they_choose_in_every_format() {
    let target = json!({"message_id": "P1", "from": "4911100000", "from_me": true});
    let metadata = |vote: Value| json!({"target": target, "poll_vote": vote});
    let read = metadata(json!({"question": "Tea?", "options": ["yes", "no"]}));
    let read = message(Kind::PollVote, "yes, no", read);
    let secret = metadata(json!({"unreadable": "unknown_poll"}));
    let secret = message(Kind::PollVote, "", secret);

    let (body, ours) = render(Format::Waha, &read);
    assert_eq!(ours["event"], "poll.vote");
    let payload = &ours["payload"];
    assert_eq!(payload["vote"]["id"], "false_4922200000@c.us_3EB0AA");
    assert_eq!(payload["vote"]["selectedOptions"], json!(["yes", "no"]));
    assert_eq!(payload["vote"]["from"], "4922200000@c.us");
    let poll = json!({
        "id": "true_4922200000@c.us_P1", "from": "4911100000@c.us", "to": "4922200000@c.us",
        "fromMe": true,
    });
    assert_eq!(payload["poll"], poll);
    assert_eq!(summarize_body(&body).expect("its own").content, "yes, no");
    let (_, ours) = render(Format::Waha, &secret);
    assert_eq!(ours["event"], "poll.vote.failed");
    assert_eq!(ours["payload"]["vote"]["selectedOptions"], json!([]));

    let (body, ours) = render(Format::Evolution, &read);
    assert_eq!(ours["data"]["messageType"], "pollUpdateMessage");
    let vote = &ours["data"]["message"]["pollUpdateMessage"];
    let key = json!({"remoteJid": "4922200000@s.whatsapp.net", "fromMe": true, "id": "P1"});
    assert_eq!(vote["pollCreationMessageKey"], key);
    assert_eq!(vote["vote"], json!({"selectedOptions": ["yes", "no"]}));
    assert_eq!(summarize_body(&body).expect("its own").content, "yes, no");
    let (_, ours) = render(Format::Evolution, &secret);
    let vote = &ours["data"]["message"]["pollUpdateMessage"];
    assert_eq!(vote["vote"], Value::Null);

    let (body, ours) = render(Format::Cloud, &read);
    let shown = &ours["entry"][0]["changes"][0]["value"]["messages"][0];
    assert_eq!(shown["text"], json!({"body": "yes, no"}));
    assert_eq!(shown["context"], json!({"from": "4911100000", "id": "P1"}));
    assert_eq!(summarize_body(&body).expect("its own").content, "yes, no");
    let (_, ours) = render(Format::Cloud, &secret);
    let shown = &ours["entry"][0]["changes"][0]["value"]["messages"][0];
    assert_eq!(
        (&shown["type"], &shown["context"]["id"]),
        (&json!("unsupported"), &json!("P1"))
    );
}

#[test]
fn what_replaces_a_message_without_content_says_so_in_every_format() {
    let read = message(Kind::Text, "hi", json!({"replaces_unavailable": true}));
    let plain = message(Kind::Text, "hi", json!({}));
    let table = [
        (Format::Native, "/metadata/replaces_unavailable"),
        (Format::Waha, "/payload/_data/metadata/replaces_unavailable"),
        (Format::Evolution, "/data/replacesUnavailable"),
        (
            Format::Cloud,
            "/entry/0/changes/0/value/messages/0/replaces_unavailable",
        ),
    ];
    for (format, pointer) in table {
        let (_, ours) = render(format, &read);
        assert_eq!(ours.pointer(pointer), Some(&json!(true)), "{format:?}");
        let (_, ours) = render(format, &plain);
        assert_eq!(ours.pointer(pointer), None, "{format:?}");
    }
}
