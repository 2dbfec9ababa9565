mod kinds;
mod people;
mod protocol;

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

/// Kind, text, the field of metadata that the kind has, and its value.
type Expected = (Kind, &'static str, &'static str, Value);

fn live_location() -> (wa::Message, Expected) {
    let location = wa::message::LiveLocationMessage {
        degrees_latitude: Some(52.5),
        degrees_longitude: Some(13.4),
        caption: Some("on my way".into()),
        ..Default::default()
    };
    let message = wa::Message {
        live_location_message: MessageField::some(location),
        ..Default::default()
    };
    let shown = json!({"latitude": 52.5, "longitude": 13.4, "live": true});
    (message, (Kind::Location, "on my way", "location", shown))
}

fn video_note() -> (wa::Message, Expected) {
    let note = wa::message::VideoMessage {
        mimetype: Some("video/mp4".into()),
        seconds: Some(7),
        ..Default::default()
    };
    let message = wa::Message {
        ptv_message: MessageField::some(note),
        ..Default::default()
    };
    let shown = json!({"mime_type": "video/mp4", "seconds": 7});
    (message, (Kind::Video, "", "media", shown))
}

fn template_button() -> (wa::Message, Expected) {
    let button = wa::message::TemplateButtonReplyMessage {
        selected_id: Some("yes-1".into()),
        selected_display_text: Some("Yes".into()),
        selected_index: Some(2),
        ..Default::default()
    };
    let message = wa::Message {
        template_button_reply_message: MessageField::some(button),
        ..Default::default()
    };
    let shown = json!({"id": "yes-1", "index": 2});
    (message, (Kind::ButtonReply, "Yes", "button", shown))
}

pub(super) fn wrapped(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
    MessageField::some(wa::message::FutureProofMessage {
        message: MessageField::some(message),
    })
}

pub(super) fn image(caption: &str) -> wa::Message {
    let image = wa::message::ImageMessage {
        caption: Some(caption.into()),
        ..Default::default()
    };
    wa::Message {
        image_message: MessageField::some(image),
        ..Default::default()
    }
}

#[test]
fn kind_is_read_with_its_text_and_its_own_metadata() {
    for (message, (kind, text, field, value)) in [live_location(), video_note(), template_button()]
    {
        let content = read(&message).expect("content");
        assert_eq!((content.kind.clone(), content.text.as_str()), (kind, text));
        assert_eq!(content.metadata[field], value, "{:?}", content.kind);
        assert_eq!(content.metadata.len(), 1, "{:?}", content.metadata);
    }
}

#[test]
fn view_once_message_is_read_and_marked_in_each_of_its_wrappers() {
    let wrappers = [
        wa::Message {
            view_once_message: wrapped(image("once")),
            ..Default::default()
        },
        wa::Message {
            view_once_message_v2: wrapped(image("once")),
            ..Default::default()
        },
        wa::Message {
            view_once_message_v2_extension: wrapped(image("once")),
            ..Default::default()
        },
    ];
    for message in wrappers {
        let content = read(&message).expect("content");
        assert_eq!((content.kind, content.text.as_str()), (Kind::Image, "once"));
        assert_eq!(content.metadata["view_once"], json!(true));
    }
    let plain = read(&image("plain")).expect("content");
    assert_eq!(plain.metadata.get("view_once"), None);
}

pub(super) fn some<T: Default>(value: T) -> MessageField<T> {
    MessageField::some(value)
}

pub(super) fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) fn conversation(words: &str) -> wa::Message {
    wa::Message {
        conversation: text(words),
        ..Default::default()
    }
}

pub(super) fn key(id: &str) -> MessageField<wa::MessageKey> {
    some(wa::MessageKey {
        id: text(id),
        ..Default::default()
    })
}

/// Kind, text and one field of the metadata.
pub(super) fn says(message: &wa::Message, kind: &Kind, words: &str, field: &str, value: &Value) {
    let content = read(message).expect("it is a message");
    assert_eq!((&content.kind, content.text.as_str()), (kind, words));
    let shown = content.metadata.get(field).unwrap_or(&Value::Null);
    assert_eq!(shown, value, "{kind}: {:?}", content.metadata);
}
