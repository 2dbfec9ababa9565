//! Messages that are neither text nor file: their fields, and what these must hold.

use std::collections::HashSet;

use serde::Deserialize;

use super::super::problem::FieldErrors;
use crate::{
    model::{
        MessageId, OutboundContact, OutboundKind, OutboundLocation, OutboundPoll, Phone, Quoted,
        WhatsAppId,
    },
    wire::{CARD_BYTES_MAX, contact_card},
};

/// Characters of a name, an address or a question.
const NAME_CHARS_MAX: usize = 255;
const CONTACTS_MAX: usize = 20;
const OPTIONS_MIN: usize = 2;
const OPTIONS_MAX: usize = 12;
const OPTION_CHARS_MAX: usize = 100;
/// Some emoji are made of many characters: families, and flags of regions.
const EMOJI_CHARS_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Location {
    latitude: f64,
    longitude: f64,
    name: Option<String>,
    address: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contact {
    name: String,
    phone_number: Option<String>,
    vcard: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Poll {
    question: String,
    options: Vec<String>,
    selectable: Option<u32>,
}

/// A message that something is done to: the fields of a webhook that name it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    message_id: String,
    from: Option<String>,
    #[serde(default)]
    from_me: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reaction {
    message_id: String,
    from: Option<String>,
    #[serde(default)]
    from_me: bool,
    emoji: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    message_id: String,
}

fn check_chars(text: &str, max: usize, pointer: String, errors: &mut FieldErrors) {
    let is_right = (1..=max).contains(&text.chars().count());
    errors.check(is_right, pointer, || format!("has 1 to {max} characters"));
}

pub(super) fn location(wanted: Location, errors: &mut FieldErrors) -> OutboundKind {
    let degrees = [
        ("/location/latitude", wanted.latitude, 90.0),
        ("/location/longitude", wanted.longitude, 180.0),
    ];
    for (pointer, value, max) in degrees {
        errors.check((-max..=max).contains(&value), pointer, || {
            format!("is a number of degrees from -{max} to {max}")
        });
    }
    let texts = [
        ("/location/name", &wanted.name),
        ("/location/address", &wanted.address),
    ];
    for (pointer, text) in texts {
        if let Some(text) = text {
            check_chars(text, NAME_CHARS_MAX, pointer.to_owned(), errors);
        }
    }
    OutboundKind::Location(OutboundLocation {
        latitude: wanted.latitude,
        longitude: wanted.longitude,
        name: wanted.name,
        address: wanted.address,
    })
}

pub(super) fn contacts(wanted: Vec<Contact>, errors: &mut FieldErrors) -> OutboundKind {
    errors.check(
        (1..=CONTACTS_MAX).contains(&wanted.len()),
        "/contacts",
        || format!("has 1 to {CONTACTS_MAX} contacts"),
    );
    let cards = wanted.into_iter().enumerate();
    let cards = cards.map(|(number, one)| contact(number, one, errors));
    OutboundKind::Contacts(cards.collect())
}

fn contact(number: usize, wanted: Contact, errors: &mut FieldErrors) -> OutboundContact {
    let at = |field: &str| format!("/contacts/{number}/{field}");
    check_chars(&wanted.name, NAME_CHARS_MAX, at("name"), errors);
    let vcard = match (wanted.phone_number, wanted.vcard) {
        (Some(phone), None) => {
            let phone = errors.take(at("phone_number"), phone.parse::<Phone>());
            phone.map(|phone| contact_card(&wanted.name, &phone))
        }
        (None, Some(card)) => {
            let is_card = card.trim_start().starts_with("BEGIN:VCARD")
                && card.trim_end().ends_with("END:VCARD")
                && card.len() <= CARD_BYTES_MAX;
            errors.check(is_card, at("vcard"), || {
                format!("is a card from BEGIN:VCARD to END:VCARD of at most {CARD_BYTES_MAX} bytes")
            });
            Some(card)
        }
        _ => {
            errors.add(at("phone_number"), "give either phone_number or vcard");
            None
        }
    };
    OutboundContact {
        name: wanted.name,
        vcard: vcard.unwrap_or_default(),
    }
}

pub(super) fn poll(wanted: Poll, errors: &mut FieldErrors) -> OutboundKind {
    check_chars(
        &wanted.question,
        NAME_CHARS_MAX,
        "/poll/question".to_owned(),
        errors,
    );
    let count = wanted.options.len();
    errors.check(
        (OPTIONS_MIN..=OPTIONS_MAX).contains(&count),
        "/poll/options",
        || format!("has {OPTIONS_MIN} to {OPTIONS_MAX} options"),
    );
    let mut seen = HashSet::new();
    for (number, option) in wanted.options.iter().enumerate() {
        let pointer = || format!("/poll/options/{number}");
        check_chars(option, OPTION_CHARS_MAX, pointer(), errors);
        // Votes name an option by its hash.
        errors.check(seen.insert(option), pointer(), || "stands twice".to_owned());
    }
    let selectable = wanted.selectable.unwrap_or(1);
    let is_right = (1..=count.max(1)).contains(&(selectable as usize));
    errors.check(is_right, "/poll/selectable", || {
        "is how many options one person may choose: from 1 to as many as there are".to_owned()
    });
    OutboundKind::Poll(OutboundPoll {
        question: wanted.question,
        options: wanted.options,
        selectable,
    })
}

pub(super) fn reaction(wanted: Reaction, errors: &mut FieldErrors) -> OutboundKind {
    let is_short = wanted.emoji.chars().count() <= EMOJI_CHARS_MAX;
    errors.check(is_short, "/reaction/emoji", || {
        "is one emoji, or empty to take a reaction back".to_owned()
    });
    let target = Target {
        message_id: wanted.message_id,
        from: wanted.from,
        from_me: wanted.from_me,
    };
    OutboundKind::Reaction {
        target: self::target(target, "/reaction", errors),
        emoji: wanted.emoji,
    }
}

pub(super) fn edit(wanted: Edit, text: String, errors: &mut FieldErrors) -> OutboundKind {
    check_id(&wanted.message_id, "/edit", errors);
    OutboundKind::Edit {
        message_id: wanted.message_id,
        text,
    }
}

pub(super) fn delete(wanted: Target, errors: &mut FieldErrors) -> OutboundKind {
    OutboundKind::Delete {
        target: target(wanted, "/delete", errors),
    }
}

fn check_id(id: &str, parent: &str, errors: &mut FieldErrors) {
    let is_id = id.parse::<MessageId>().is_ok();
    errors.check(is_id, format!("{parent}/message_id"), || {
        "is the message_id of a webhook, or of an answer to sending".to_owned()
    });
}

fn target(wanted: Target, parent: &str, errors: &mut FieldErrors) -> Quoted {
    check_id(&wanted.message_id, parent, errors);
    let from = if wanted.from_me {
        None
    } else {
        author(wanted.from.as_deref(), format!("{parent}/from"), errors)
    };
    Quoted {
        message_id: wanted.message_id,
        from,
        content: None,
        chat: None,
    }
}

/// The author of a message that is not the account's own, in its one form.
pub(super) fn author(
    from: Option<&str>,
    pointer: String,
    errors: &mut FieldErrors,
) -> Option<String> {
    let Some(from) = from else {
        errors.add(
            pointer,
            "is needed: the author of the message, unless from_me is true",
        );
        return None;
    };
    let id = errors.take(pointer.clone(), from.parse::<WhatsAppId>())?;
    errors.check(id.is_person(), pointer, || {
        "is the author of the message: a phone number, or …@lid".to_owned()
    });
    Some(id.to_string())
}
