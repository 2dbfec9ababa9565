//! What a request to send must hold.

use super::{
    super::{
        AppState,
        problem::{FieldErrors, Problem},
        session_call::Named,
    },
    Send, kinds,
};
use crate::{
    model::{MessageId, OutboundKind, WhatsAppId},
    policy::address::check_url,
};

const TEXT_CHARS_MAX: usize = 4096;
const FILE_NAME_CHARS_MAX: usize = 255;

/// Refuses what cannot be sent, and writes the rest in its one form. What is neither text nor file
/// is handed back.
pub(super) fn check(app: &AppState, wanted: &mut Send) -> Result<Option<OutboundKind>, Problem> {
    let mut errors = FieldErrors::default();
    check_to(wanted, &mut errors);
    check_only_one(wanted, &mut errors);
    check_text(wanted, &mut errors);
    if let Some(media) = &mut wanted.media {
        let checked = check_url(&media.url, app.egress.allow_http, &app.egress.allow_cidrs);
        if let Some(sent) = errors.take("/media/url", checked) {
            media.url = sent.into();
        }
        let is_name = |name: &String| (1..=FILE_NAME_CHARS_MAX).contains(&name.chars().count());
        let is_named = media.file_name.as_ref().is_none_or(is_name);
        errors.check(is_named, "/media/file_name", || {
            "has 1 to 255 characters".to_owned()
        });
    }
    check_reply(wanted, &mut errors);
    Named::new(wanted.session_id.as_deref(), wanted.phone_number.as_deref()).check(&mut errors);
    let kind = take_kind(wanted, &mut errors);
    errors.unless_any(kind)
}

/// A message is one thing. Each of these stands for itself; a text may stand beside media and edit.
fn check_only_one(wanted: &Send, errors: &mut FieldErrors) {
    let given = [
        ("/media", wanted.media.is_some()),
        ("/location", wanted.location.is_some()),
        ("/contacts", wanted.contacts.is_some()),
        ("/poll", wanted.poll.is_some()),
        ("/reaction", wanted.reaction.is_some()),
        ("/edit", wanted.edit.is_some()),
        ("/delete", wanted.delete.is_some()),
    ];
    let given = given.into_iter().filter(|(_, is_given)| *is_given);
    for (pointer, _) in given.skip(1) {
        errors.add(pointer, "is one too many: a message is one of them");
    }
    let refers = wanted.reaction.is_some() || wanted.edit.is_some() || wanted.delete.is_some();
    errors.check(!refers || wanted.reply_to.is_none(), "/reply_to", || {
        "fits no reaction, edit or delete, which name their message themselves".to_owned()
    });
}

fn check_text(wanted: &Send, errors: &mut FieldErrors) {
    let has_kind = wanted.location.is_some()
        || wanted.contacts.is_some()
        || wanted.poll.is_some()
        || wanted.reaction.is_some()
        || wanted.delete.is_some();
    let chars = wanted.text.chars().count();
    if has_kind {
        let detail = || "stands alone, or beside media or edit".to_owned();
        return errors.check(chars == 0, "/text", detail);
    }
    let chars_min = usize::from(wanted.media.is_none());
    let is_text = (chars_min..=TEXT_CHARS_MAX).contains(&chars);
    errors.check(is_text, "/text", || {
        "has 1 to 4096 characters; none are needed beside media".to_owned()
    });
}

fn take_kind(wanted: &mut Send, errors: &mut FieldErrors) -> Option<OutboundKind> {
    if let Some(place) = wanted.location.take() {
        return Some(kinds::location(place, errors));
    }
    if let Some(cards) = wanted.contacts.take() {
        return Some(kinds::contacts(cards, errors));
    }
    if let Some(poll) = wanted.poll.take() {
        return Some(kinds::poll(poll, errors));
    }
    if let Some(reaction) = wanted.reaction.take() {
        return Some(kinds::reaction(reaction, errors));
    }
    if let Some(edit) = wanted.edit.take() {
        return Some(kinds::edit(edit, std::mem::take(&mut wanted.text), errors));
    }
    let delete = wanted.delete.take()?;
    Some(kinds::delete(delete, errors))
}

fn check_to(wanted: &mut Send, errors: &mut FieldErrors) {
    if let Some(to) = take_receiver(&wanted.to, errors) {
        wanted.to = to;
    }
}

/// Whom a session can write to, in its one form.
pub(in crate::api) fn take_receiver(to: &str, errors: &mut FieldErrors) -> Option<String> {
    match errors.take("/to", to.parse())? {
        WhatsAppId::Broadcast(_) => errors.add(
            "/to",
            "is a broadcast list, which only the phone can write to; send to its members",
        ),
        WhatsAppId::Channel(_) => errors.add(
            "/to",
            "is a channel, and wahook does not publish in channels",
        ),
        id => return Some(id.to_string()),
    }
    None
}

fn check_reply(wanted: &mut Send, errors: &mut FieldErrors) {
    let Some(reply) = &mut wanted.reply_to else {
        return;
    };
    let is_id = reply.message_id.parse::<MessageId>().is_ok();
    errors.check(is_id, "/reply_to/message_id", || {
        "is the message_id of a webhook".to_owned()
    });
    if reply.from.is_some() || !reply.from_me {
        let pointer = "/reply_to/from".to_owned();
        reply.from = kinds::author(reply.from.as_deref(), pointer, errors);
    }
    let chars = reply
        .content
        .as_ref()
        .map_or(0, |text| text.chars().count());
    errors.check(chars <= TEXT_CHARS_MAX, "/reply_to/content", || {
        "has at most 4096 characters".to_owned()
    });
    if let Some(chat) = &reply.chat
        && let Some(id) = errors.take("/reply_to/chat", chat.parse::<WhatsAppId>())
    {
        reply.chat = Some(id.to_string());
    }
}
