//! Messages to send.

mod media;
mod polls;
mod protocol;

use buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

pub use polls::{Ballot, open_poll};
pub(crate) use protocol::{app_state_keys, history, history_page, sent_to};

/// A plain text.
pub fn text(text: &str) -> wa::Message {
    wa::Message {
        conversation: Some(text.to_owned()),
        ..Default::default()
    }
}

/// A text that quotes an earlier message of somebody.
pub fn quote(text: &str, message_id: &str, from: &str) -> wa::Message {
    let context = wa::ContextInfo {
        stanza_id: Some(message_id.to_owned()),
        participant: Some(format!("{from}@s.whatsapp.net")),
        ..Default::default()
    };
    let extended = wa::message::ExtendedTextMessage {
        text: Some(text.to_owned()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    wa::Message {
        extended_text_message: MessageField::some(extended),
        ..Default::default()
    }
}

/// A place.
pub fn location(latitude: f64, longitude: f64, name: &str) -> wa::Message {
    let location = wa::message::LocationMessage {
        degrees_latitude: Some(latitude),
        degrees_longitude: Some(longitude),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    wa::Message {
        location_message: MessageField::some(location),
        ..Default::default()
    }
}

/// A contact card.
pub fn contact(name: &str, vcard: &str) -> wa::Message {
    let contact = wa::message::ContactMessage {
        display_name: Some(name.to_owned()),
        vcard: Some(vcard.to_owned()),
        ..Default::default()
    };
    wa::Message {
        contact_message: MessageField::some(contact),
        ..Default::default()
    }
}

fn key(message_id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        id: Some(message_id.to_owned()),
        from_me: Some(false),
        ..Default::default()
    })
}

/// A reaction; an empty one takes an earlier one back.
pub fn reaction(message_id: &str, emoji: &str) -> wa::Message {
    let reaction = wa::message::ReactionMessage {
        key: key(message_id),
        text: Some(emoji.to_owned()),
        ..Default::default()
    };
    wa::Message {
        reaction_message: MessageField::some(reaction),
        ..Default::default()
    }
}

/// A poll.
pub fn poll(question: &str, options: &[&str]) -> wa::Message {
    let option = |name: &&str| wa::message::poll_creation_message::Option {
        option_name: Some((*name).to_owned()),
        ..Default::default()
    };
    let poll = wa::message::PollCreationMessage {
        name: Some(question.to_owned()),
        options: options.iter().map(option).collect(),
        selectable_options_count: Some(1),
        ..Default::default()
    };
    wa::Message {
        poll_creation_message: MessageField::some(poll),
        ..Default::default()
    }
}

fn protocol_message(message: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(message),
        ..Default::default()
    }
}

/// A new text for an earlier message.
pub fn edit(message_id: &str, new_text: &str) -> wa::Message {
    protocol_message(wa::message::ProtocolMessage {
        key: key(message_id),
        r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
        edited_message: MessageField::some(text(new_text)),
        ..Default::default()
    })
}

/// Takes an earlier message back.
pub fn revoke(message_id: &str) -> wa::Message {
    protocol_message(wa::message::ProtocolMessage {
        key: key(message_id),
        r#type: Some(wa::message::protocol_message::Type::REVOKE),
        ..Default::default()
    })
}

/// A button that was pressed.
pub fn button_reply(id: &str, shown: &str) -> wa::Message {
    let reply = wa::message::ButtonsResponseMessage {
        selected_button_id: Some(id.to_owned()),
        response: Some(
            wa::message::buttons_response_message::Response::SelectedDisplayText(shown.to_owned()),
        ),
        ..Default::default()
    };
    wa::Message {
        buttons_response_message: MessageField::some(reply),
        ..Default::default()
    }
}

/// A row of a list that was chosen.
pub fn list_reply(row_id: &str, title: &str) -> wa::Message {
    let row = wa::message::list_response_message::SingleSelectReply {
        selected_row_id: Some(row_id.to_owned()),
    };
    let reply = wa::message::ListResponseMessage {
        title: Some(title.to_owned()),
        single_select_reply: MessageField::some(row),
        ..Default::default()
    };
    wa::Message {
        list_response_message: MessageField::some(reply),
        ..Default::default()
    }
}
