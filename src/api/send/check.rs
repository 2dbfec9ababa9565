//! What a request to send must hold.

use super::{
    super::{
        AppState,
        problem::{FieldErrors, Problem},
    },
    Send,
};
use crate::{
    model::{MessageId, WhatsAppId},
    policy::address::check_url,
};

const TEXT_CHARS_MAX: usize = 4096;
const FILE_NAME_CHARS_MAX: usize = 255;

/// Refuses what cannot be sent, and writes the rest in its one form.
pub(super) fn check(app: &AppState, wanted: &mut Send) -> Result<(), Problem> {
    let mut errors = FieldErrors::default();
    check_to(wanted, &mut errors);
    let chars = wanted.text.chars().count();
    let chars_min = usize::from(wanted.media.is_none());
    let is_text = (chars_min..=TEXT_CHARS_MAX).contains(&chars);
    errors.check(is_text, "/text", || {
        "has 1 to 4096 characters; none are needed beside media".to_owned()
    });
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
    let is_one = wanted.session_id.is_some() != wanted.phone_number.is_some();
    errors.check(is_one, "/session_id", || {
        "give either session_id or phone_number".to_owned()
    });
    errors.unless_any(())
}

fn check_to(wanted: &mut Send, errors: &mut FieldErrors) {
    match errors.take("/to", wanted.to.parse()) {
        Some(WhatsAppId::Broadcast(_)) => errors.add(
            "/to",
            "is a broadcast list, which only the phone can write to; send to its members",
        ),
        Some(WhatsAppId::Channel(_)) => errors.add(
            "/to",
            "is a channel, and wahook does not publish in channels",
        ),
        Some(id) => wanted.to = id.to_string(),
        None => {}
    }
}

fn check_reply(wanted: &mut Send, errors: &mut FieldErrors) {
    let Some(reply) = &mut wanted.reply_to else {
        return;
    };
    let is_id = reply.message_id.parse::<MessageId>().is_ok();
    errors.check(is_id, "/reply_to/message_id", || {
        "is the message_id of a webhook".to_owned()
    });
    match &reply.from {
        Some(from) => match errors.take("/reply_to/from", from.parse::<WhatsAppId>()) {
            Some(id) if id.is_person() => reply.from = Some(id.to_string()),
            Some(_) => errors.add(
                "/reply_to/from",
                "is the author of the message: a phone number, or …@lid",
            ),
            None => {}
        },
        None => errors.check(reply.from_me, "/reply_to/from", || {
            "is needed: the author of the message, unless from_me is true".to_owned()
        }),
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
