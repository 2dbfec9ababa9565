//! Messages that are neither text nor file: places, contacts, polls, and what refers to another
//! message.

use whatsapp_rust::{
    Jid,
    prelude::{Client, MessageField, wa},
    wacore_binary::JidExt as _,
};

use super::message::{address, own_address, quoted};
use crate::model::{
    OutboundContact, OutboundKind, OutboundLocation, OutboundMessage, OutboundPoll, Quoted,
    Timestamp,
};

/// Bytes of the secret that the votes of a poll are encrypted with.
const POLL_SECRET_BYTES: usize = 32;

/// The message that WhatsApp gets. `to`: the chat.
pub(super) fn message(
    client: &Client,
    to: &Jid,
    outgoing: &OutboundMessage,
    kind: &OutboundKind,
    now: Timestamp,
) -> wa::Message {
    let own = own_address(client);
    let context = quoted(outgoing.reply_to.as_ref(), &own);
    match kind {
        OutboundKind::Location(place) => location(place, context),
        OutboundKind::Contacts(cards) => contacts(cards, context),
        OutboundKind::Poll(asked) => poll(asked, context),
        OutboundKind::Reaction { target, emoji } => reaction(key(to, target), emoji, now),
        OutboundKind::Edit { message_id, text } => edit(own_key(to, message_id, &own), text, now),
        OutboundKind::Delete { target } => revoke(key(to, target)),
    }
}

/// Names a message of the chat `to`.
pub(super) fn key(to: &Jid, target: &Quoted) -> wa::MessageKey {
    let author = target.from.as_deref().map(address);
    wa::MessageKey {
        remote_jid: Some(to.to_string()),
        from_me: Some(author.is_none()),
        id: Some(target.message_id.clone()),
        // Between two people it is clear who the author is.
        participant: author.filter(|_| to.is_group()),
    }
}

fn own_key(to: &Jid, message_id: &str, own: &str) -> wa::MessageKey {
    wa::MessageKey {
        remote_jid: Some(to.to_string()),
        from_me: Some(true),
        id: Some(message_id.to_owned()),
        participant: to.is_group().then(|| own.to_owned()),
    }
}

fn location(place: &OutboundLocation, context: MessageField<wa::ContextInfo>) -> wa::Message {
    wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(place.latitude),
            degrees_longitude: Some(place.longitude),
            name: place.name.clone(),
            address: place.address.clone(),
            context_info: context,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn contacts(cards: &[OutboundContact], context: MessageField<wa::ContextInfo>) -> wa::Message {
    let card = |one: &OutboundContact, context_info| wa::message::ContactMessage {
        display_name: Some(one.name.clone()),
        vcard: Some(one.vcard.clone()),
        context_info,
        ..Default::default()
    };
    if let [one] = cards {
        return wa::Message {
            contact_message: MessageField::some(card(one, context)),
            ..Default::default()
        };
    }
    let cards: Vec<_> = cards
        .iter()
        .map(|one| card(one, MessageField::none()))
        .collect();
    wa::Message {
        contacts_array_message: MessageField::some(wa::message::ContactsArrayMessage {
            display_name: Some(format!("{} contacts", cards.len())),
            contacts: cards,
            context_info: context,
        }),
        ..Default::default()
    }
}

/// As WhatsApp Web makes them: a type of its own where one option may be chosen.
fn poll(asked: &OutboundPoll, context: MessageField<wa::ContextInfo>) -> wa::Message {
    let option = |name: &String| wa::message::poll_creation_message::Option {
        option_name: Some(name.clone()),
        ..Default::default()
    };
    let poll = MessageField::some(wa::message::PollCreationMessage {
        name: Some(asked.question.clone()),
        options: asked.options.iter().map(option).collect(),
        selectable_options_count: Some(asked.selectable),
        context_info: context,
        ..Default::default()
    });
    let secret: [u8; POLL_SECRET_BYTES] = rand::random();
    let mut message = wa::Message {
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    };
    if asked.selectable == 1 {
        message.poll_creation_message_v3 = poll;
    } else {
        message.poll_creation_message = poll;
    }
    message
}

fn reaction(key: wa::MessageKey, emoji: &str, now: Timestamp) -> wa::Message {
    wa::Message {
        reaction_message: MessageField::some(wa::message::ReactionMessage {
            key: MessageField::some(key),
            text: Some(emoji.to_owned()),
            sender_timestamp_ms: Some(now.millis()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn edit(key: wa::MessageKey, text: &str, now: Timestamp) -> wa::Message {
    let edited = wa::Message {
        conversation: Some(text.to_owned()),
        ..Default::default()
    };
    wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(wa::message::protocol_message::Type::MessageEdit),
            edited_message: MessageField::some(edited),
            timestamp_ms: Some(now.millis()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn revoke(key: wa::MessageKey) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(wa::message::protocol_message::Type::Revoke),
            ..Default::default()
        }),
        ..Default::default()
    }
}
