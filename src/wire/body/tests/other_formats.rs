//! The formats of wahook, WAHA and Evolution API.

use serde_json::{Map, json};
use uuid::Uuid;

use super::{EVENT, image, meets, message, receipt, render};
use crate::{
    model::{Format, Kind, PublicEventId, Timestamp, WebhookId},
    wire::{body::format_of, webhook_body},
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
    // Its event ids are ULIDs; ours are those of the API. The session's name is the number.
    let outer = [
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
