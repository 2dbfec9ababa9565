use serde_json::{Value, json};
use whatsapp_rust::{
    prelude::{MessageField, wa},
    waproto::whatsapp::message::protocol_message::Type as ProtocolType,
};

use super::{model::cut, read};
use crate::model::Kind;

#[test]
fn text_is_cut_between_characters() {
    let message = wa::Message {
        conversation: Some("hello".into()),
        ..Default::default()
    };
    let content = read(&message).expect("a text");
    assert_eq!((content.kind, content.text.as_str()), (Kind::Text, "hello"));
    assert_eq!(cut("aé", 2), "a");
}

#[test]
fn image_is_described_without_its_key() {
    let image = wa::message::ImageMessage {
        caption: Some("cap".into()),
        mimetype: Some("image/jpeg".into()),
        direct_path: Some("/v/1".into()),
        media_key: Some(vec![0x5e; 32]),
        file_sha256: Some(vec![1; 32]),
        file_enc_sha256: Some(vec![2; 32]),
        file_length: Some(9),
        ..Default::default()
    };
    let message = wa::Message {
        image_message: MessageField::some(image),
        ..Default::default()
    };
    let content = read(&message).expect("an image");
    assert_eq!((content.kind, content.text.as_str()), (Kind::Image, "cap"));
    assert!(content.media.is_some());
    let shown = Value::from(content.metadata).to_string();
    assert!(
        shown.contains("\"mime_type\":\"image/jpeg\"") && !shown.contains("5e5e"),
        "{shown}"
    );
}

#[test]
fn message_with_keys_has_no_content() {
    let share = wa::message::ProtocolMessage {
        r#type: Some(ProtocolType::APP_STATE_SYNC_KEY_SHARE),
        ..Default::default()
    };
    let message = wa::Message {
        protocol_message: MessageField::some(share),
        ..Default::default()
    };
    assert_eq!(read(&message), None);
    let key = wa::message::SenderKeyDistributionMessage {
        group_id: Some("g".into()),
        ..Default::default()
    };
    let message = wa::Message {
        sender_key_distribution_message: MessageField::some(key),
        ..Default::default()
    };
    assert_eq!(read(&message), None);
}

#[test]
fn reaction_without_an_emoji_is_marked_removed() {
    let reaction = wa::message::ReactionMessage {
        key: MessageField::some(wa::MessageKey {
            id: Some("M1".into()),
            ..Default::default()
        }),
        text: Some(String::new()),
        ..Default::default()
    };
    let message = wa::Message {
        reaction_message: MessageField::some(reaction),
        ..Default::default()
    };
    let content = read(&message).expect("a reaction");
    assert_eq!(
        content.metadata["reaction"],
        json!({"message_id": "M1", "removed": true})
    );
}

#[test]
fn message_of_an_unknown_kind_is_kept_as_unknown() {
    assert_eq!(
        read(&wa::Message::default()).map(|content| content.kind),
        Some(Kind::Unknown)
    );
}
