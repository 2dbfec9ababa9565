//! Texts, places, contacts, reactions and polls.

use serde_json::{Value, json};
use whatsapp_rust::prelude::{MessageExt, wa};

use super::model::{Content, LIST_MAX, cut, object, short};
use crate::model::Kind;

/// Bytes of a contact card.
const VCARD_BYTES_MAX: usize = 16 * 1024;

pub(super) fn plain(base: &wa::Message) -> Option<Content> {
    if let Some(text) = base.text_content() {
        return Some(Content::new(Kind::Text, Some(text)));
    }
    location(base)
        .or_else(|| live_location(base))
        .or_else(|| contacts(base))
        .or_else(|| reaction(base))
        .or_else(|| poll(base))
}

fn location(base: &wa::Message) -> Option<Content> {
    let m = base.location_message.as_option()?;
    let name = m.name.as_deref().or(m.address.as_deref());
    let location = json!({
        "latitude": m.degrees_latitude,
        "longitude": m.degrees_longitude,
        "name": short(m.name.as_ref()),
        "address": short(m.address.as_ref()),
        "url": short(m.url.as_ref()),
    });
    Some(Content::new(Kind::Location, name).with("location", object(location)))
}

fn live_location(base: &wa::Message) -> Option<Content> {
    let m = base.live_location_message.as_option()?;
    let location = json!({
        "latitude": m.degrees_latitude,
        "longitude": m.degrees_longitude,
        "live": true,
    });
    let content = Content::new(Kind::Location, m.caption.as_deref());
    Some(content.with("location", object(location)))
}

fn contacts(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.contact_message.as_option() {
        let content = Content::new(Kind::Contact, m.display_name.as_deref());
        return Some(content.with("contacts", json!([contact(m)])));
    }
    let m = base.contacts_array_message.as_option()?;
    let cards: Vec<_> = m.contacts.iter().take(LIST_MAX).map(contact).collect();
    let content = Content::new(Kind::Contact, m.display_name.as_deref());
    Some(content.with("contacts", json!(cards)))
}

fn contact(contact: &wa::message::ContactMessage) -> Value {
    let vcard = contact
        .vcard
        .as_deref()
        .map(|card| cut(card, VCARD_BYTES_MAX));
    object(json!({"name": short(contact.display_name.as_ref()), "vcard": vcard}))
}

fn reaction(base: &wa::Message) -> Option<Content> {
    let m = base.reaction_message.as_option()?;
    let id = m.key.as_option().and_then(|key| key.id.as_ref());
    let removed = m.text.as_deref().unwrap_or_default().is_empty();
    let reaction = json!({"message_id": short(id), "removed": removed});
    Some(Content::new(Kind::Reaction, m.text.as_deref()).with("reaction", reaction))
}

fn poll(base: &wa::Message) -> Option<Content> {
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
