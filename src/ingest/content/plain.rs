//! Texts, places, contacts and reactions.

use serde_json::{Value, json};
use whatsapp_rust::prelude::{MessageExt, wa};

use super::{
    model::{Content, LIST_MAX, object, short},
    target::Target,
};
use crate::{model::Kind, wire};

pub(super) fn plain(base: &wa::Message) -> Option<Content> {
    if let Some(text) = base.text_content() {
        return Some(Content::new(Kind::Text, Some(text)).with("link", link(base)));
    }
    location(base)
        .or_else(|| live_location(base))
        .or_else(|| contacts(base))
        .or_else(|| reaction(base))
}

/// The preview of the first link.
fn link(base: &wa::Message) -> Value {
    let Some(m) = base.extended_text_message.as_option() else {
        return Value::Null;
    };
    if m.matched_text.is_none() {
        return Value::Null;
    }
    object(json!({
        "url": short(m.matched_text.as_ref()),
        "title": short(m.title.as_ref()),
        "description": short(m.description.as_ref()),
    }))
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
        "sequence": m.sequence_number,
        "accuracy_meters": m.accuracy_in_meters,
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
    let left_out = m.contacts.len().saturating_sub(LIST_MAX);
    let left_out = (left_out > 0).then_some(left_out);
    let content = content.with("contacts", json!(cards));
    Some(content.with("contacts_left_out", json!(left_out)))
}

fn contact(contact: &wa::message::ContactMessage) -> Value {
    let card = contact.vcard.as_deref().map(wire::shorten_card);
    let phones = contact
        .vcard
        .as_deref()
        .map(wire::card_phones)
        .unwrap_or_default();
    object(json!({
        "name": short(contact.display_name.as_ref()),
        "vcard": card,
        "phones": (!phones.is_empty()).then_some(phones),
    }))
}

fn reaction(base: &wa::Message) -> Option<Content> {
    let m = base.reaction_message.as_option()?;
    let key = m.key.as_option();
    let id = key.and_then(|key| key.id.as_ref());
    let removed = m.text.as_deref().unwrap_or_default().is_empty();
    let reaction = json!({"message_id": short(id), "removed": removed});
    let content = Content::new(Kind::Reaction, m.text.as_deref()).with("reaction", reaction);
    Some(content.about(Target::of(key)))
}
