//! What a WhatsApp message says, as wahook's kinds, text and metadata. Pure.

use serde_json::{Map, Value, json};
use whatsapp_rust::{
    download::MediaType,
    prelude::{MessageExt, wa},
    waproto::whatsapp::message::protocol_message::Type as ProtocolType,
};

use super::media::Reference;
use crate::model::{CONTENT_BYTES_MAX, Kind};

/// Entries of a list that metadata shows: mentions, contacts, poll options.
const LIST_MAX: usize = 100;
/// Characters of a short text in metadata: names, titles, addresses.
const SHORT_CHARS_MAX: usize = 1024;
/// Bytes of a contact card.
const VCARD_BYTES_MAX: usize = 16 * 1024;

/// What a message says.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) metadata: Map<String, Value>,
    /// Where its media lie, and the key to them.
    pub(super) media: Option<Reference>,
}

impl Content {
    fn new(kind: Kind, text: Option<&str>) -> Self {
        Self {
            kind,
            text: cut(text.unwrap_or_default(), CONTENT_BYTES_MAX),
            metadata: Map::new(),
            media: None,
        }
    }

    /// Of a message that nobody can read.
    pub(super) fn unknown() -> Self {
        Self::new(Kind::Unknown, None)
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        if !value.is_null() {
            self.metadata.insert(key.to_owned(), value);
        }
        self
    }
}

/// At most so many bytes, never half a character.
fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn short(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| {
        text.chars()
            .take(SHORT_CHARS_MAX)
            .collect::<String>()
            .into()
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON object without its nulls.
fn object(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// What a message says; `None` for those that only clients and phones exchange, keys among them:
/// they are never published.
pub(super) fn read(message: &wa::Message) -> Option<Content> {
    let base = message.get_base_message();
    if let Some(protocol) = base.protocol_message.as_option() {
        return protocol_content(protocol);
    }
    let mut content = media(base)
        .or_else(|| plain(base))
        .or_else(|| reply(base))
        .unwrap_or_else(|| {
            // A key for a group's messages comes along with one or alone; alone it says nothing.
            Content::new(Kind::Unknown, None)
        });
    if content.kind == Kind::Unknown && base.sender_key_distribution_message.is_set() {
        return None;
    }
    if let Some(info) = context(base) {
        content = with_context(content, info);
    }
    if message.is_view_once() {
        content = content.with("view_once", true.into());
    }
    Some(content)
}

fn protocol_content(protocol: &wa::message::ProtocolMessage) -> Option<Content> {
    let id = protocol.key.as_option().and_then(|key| key.id.as_ref());
    match protocol.r#type? {
        ProtocolType::REVOKE => {
            Some(Content::new(Kind::Revoke, None).with("revoked_message_id", short(id)))
        }
        ProtocolType::MESSAGE_EDIT => {
            let edited = protocol.edited_message.as_option()?;
            let text = edited.text_content().or_else(|| edited.get_caption());
            Some(Content::new(Kind::Edit, text).with("edited_message_id", short(id)))
        }
        _ => None,
    }
}

macro_rules! media_of {
    ($kind:expr, $type:expr, $media:expr, $caption:expr) => {{
        let media = $media;
        let mut content = Content::new($kind, $caption);
        content.media = Reference::new(
            $type,
            media.direct_path.as_deref(),
            media.media_key.as_deref(),
            media.file_sha256.as_deref(),
            media.file_enc_sha256.as_deref(),
            media.file_length,
        );
        let description = object(json!({
            "mime_type": short(media.mimetype.as_ref()),
            "size": media.file_length,
            "sha256": media.file_sha256.as_deref().map(hex),
        }));
        (content, description)
    }};
}

/// Adds further fields of the media to their description.
fn described((content, mut description): (Content, Value), further: Value) -> Content {
    if let (Value::Object(all), Value::Object(further)) = (&mut description, object(further)) {
        all.extend(further);
    }
    content.with("media", description)
}

fn media(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.image_message.as_option() {
        let both = media_of!(Kind::Image, MediaType::Image, m, m.caption.as_deref());
        return Some(described(
            both,
            json!({"width": m.width, "height": m.height}),
        ));
    }
    if let Some(m) = base
        .video_message
        .as_option()
        .or(base.ptv_message.as_option())
    {
        let both = media_of!(Kind::Video, MediaType::Video, m, m.caption.as_deref());
        let gif = m.gif_playback.filter(|gif| *gif);
        return Some(described(
            both,
            json!({"width": m.width, "height": m.height, "seconds": m.seconds, "gif": gif}),
        ));
    }
    if let Some(m) = base.audio_message.as_option() {
        let both = media_of!(Kind::Audio, MediaType::Audio, m, None);
        return Some(described(
            both,
            json!({"seconds": m.seconds, "voice": m.ptt.unwrap_or(false)}),
        ));
    }
    if let Some(m) = base.document_message.as_option() {
        let both = media_of!(Kind::Document, MediaType::Document, m, m.caption.as_deref());
        let name = m.file_name.as_ref().or(m.title.as_ref());
        return Some(described(
            both,
            json!({"file_name": short(name), "pages": m.page_count}),
        ));
    }
    let m = base.sticker_message.as_option()?;
    let both = media_of!(Kind::Sticker, MediaType::Sticker, m, None);
    Some(described(
        both,
        json!({"width": m.width, "height": m.height, "animated": m.is_animated}),
    ))
}

fn plain(base: &wa::Message) -> Option<Content> {
    if let Some(text) = base.text_content() {
        return Some(Content::new(Kind::Text, Some(text)));
    }
    if let Some(m) = base.location_message.as_option() {
        let name = m.name.as_deref().or(m.address.as_deref());
        let location = json!({
            "latitude": m.degrees_latitude, "longitude": m.degrees_longitude,
            "name": short(m.name.as_ref()), "address": short(m.address.as_ref()),
            "url": short(m.url.as_ref()),
        });
        return Some(Content::new(Kind::Location, name).with("location", object(location)));
    }
    if let Some(m) = base.live_location_message.as_option() {
        let location =
            json!({"latitude": m.degrees_latitude, "longitude": m.degrees_longitude, "live": true});
        return Some(
            Content::new(Kind::Location, m.caption.as_deref()).with("location", object(location)),
        );
    }
    if let Some(m) = base.contact_message.as_option() {
        let content = Content::new(Kind::Contact, m.display_name.as_deref());
        return Some(content.with("contacts", json!([contact(m)])));
    }
    if let Some(m) = base.contacts_array_message.as_option() {
        let all: Vec<_> = m.contacts.iter().take(LIST_MAX).map(contact).collect();
        return Some(
            Content::new(Kind::Contact, m.display_name.as_deref()).with("contacts", json!(all)),
        );
    }
    if let Some(m) = base.reaction_message.as_option() {
        let id = m.key.as_option().and_then(|key| key.id.as_ref());
        let removed = m.text.as_deref().unwrap_or_default().is_empty();
        let reaction = json!({"message_id": short(id), "removed": removed});
        return Some(Content::new(Kind::Reaction, m.text.as_deref()).with("reaction", reaction));
    }
    let polls = [
        &base.poll_creation_message,
        &base.poll_creation_message_v2,
        &base.poll_creation_message_v3,
    ];
    let poll = polls.into_iter().find_map(|poll| poll.as_option())?;
    let options: Vec<_> = poll
        .options
        .iter()
        .take(LIST_MAX)
        .map(|option| short(option.option_name.as_ref()))
        .collect();
    let shown = json!({"options": options, "selectable": poll.selectable_options_count});
    Some(Content::new(Kind::Poll, poll.name.as_deref()).with("poll", object(shown)))
}

fn contact(contact: &wa::message::ContactMessage) -> Value {
    let vcard = contact
        .vcard
        .as_deref()
        .map(|card| cut(card, VCARD_BYTES_MAX));
    object(json!({"name": short(contact.display_name.as_ref()), "vcard": vcard}))
}

fn reply(base: &wa::Message) -> Option<Content> {
    use wa::message::buttons_response_message::Response;
    if let Some(m) = base.buttons_response_message.as_option() {
        let text = m
            .response
            .as_ref()
            .map(|Response::SelectedDisplayText(text)| text.as_str());
        let button = json!({"id": short(m.selected_button_id.as_ref())});
        return Some(Content::new(Kind::ButtonReply, text).with("button", object(button)));
    }
    if let Some(m) = base.template_button_reply_message.as_option() {
        let button = json!({"id": short(m.selected_id.as_ref()), "index": m.selected_index});
        let content = Content::new(Kind::ButtonReply, m.selected_display_text.as_deref());
        return Some(content.with("button", object(button)));
    }
    let m = base.list_response_message.as_option()?;
    let row = m
        .single_select_reply
        .as_option()
        .and_then(|row| row.selected_row_id.as_ref());
    let list = json!({"row_id": short(row), "description": short(m.description.as_ref())});
    Some(Content::new(Kind::ListReply, m.title.as_deref()).with("list", object(list)))
}

/// What the message hangs on, wherever its kind keeps that.
fn context(base: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),*) => {
            None$(.or_else(|| base.$field.as_option().and_then(|m| m.context_info.as_option())))*
        };
    }
    first!(
        extended_text_message,
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message,
        location_message,
        contact_message,
        buttons_response_message,
        template_button_reply_message,
        list_response_message,
        poll_creation_message
    )
}

fn with_context(content: Content, info: &wa::ContextInfo) -> Content {
    let quoted = info.stanza_id.as_ref().map(|id| {
        let from = info
            .participant
            .as_deref()
            .map(|jid| jid.split(['@', ':']).next().unwrap_or_default());
        object(json!({"message_id": short(Some(id)), "from": from}))
    });
    let mentions: Vec<_> = info
        .mentioned_jid
        .iter()
        .take(LIST_MAX)
        .filter_map(|jid| jid.split(['@', ':']).next())
        .collect();
    content
        .with("quoted", quoted.unwrap_or_default())
        .with(
            "mentions",
            if mentions.is_empty() {
                Value::Null
            } else {
                json!(mentions)
            },
        )
        .with(
            "forwarded",
            info.is_forwarded
                .filter(|forwarded| *forwarded)
                .map_or(Value::Null, Value::from),
        )
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::prelude::MessageField;

    use super::*;

    #[test]
    fn texts_are_read_whole_or_cut_between_characters() {
        let message = wa::Message {
            conversation: Some("hello".into()),
            ..Default::default()
        };
        let content = read(&message).expect("a text");
        assert_eq!((content.kind, content.text.as_str()), (Kind::Text, "hello"));
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn an_image_is_described_without_its_key() {
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
    fn keys_are_never_content() {
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
    fn a_removed_reaction_says_so() {
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
    fn what_nobody_knows_is_kept_as_unknown() {
        assert_eq!(
            read(&wa::Message::default()).map(|content| content.kind),
            Some(Kind::Unknown)
        );
    }
}
