//! Invitations, events, albums, pins, comments, answers and calls.

use serde_json::json;
use whatsapp_rust::prelude::wa;

use super::{
    model::{Content, object, short},
    target::Target,
};
use crate::model::Kind;

pub(super) fn social(base: &wa::Message) -> Option<Content> {
    invite(base)
        .or_else(|| event(base))
        .or_else(|| collection(base))
        .or_else(|| mark(base))
        .or_else(|| answer(base))
        .or_else(|| call(base))
        .or_else(|| unavailable(base))
}

fn invite(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.group_invite_message.as_option() {
        let invite = json!({
            "group": short(m.group_jid.as_ref()),
            "name": short(m.group_name.as_ref()),
            "code": short(m.invite_code.as_ref()),
            "expires_at": m.invite_expiration,
        });
        let text = m.caption.as_deref().or(m.group_name.as_deref());
        return Some(Content::new(Kind::GroupInvite, text).with("invite", object(invite)));
    }
    let admin = base.newsletter_admin_invite_message.as_option().map(|m| {
        let channel = (m.newsletter_jid.as_ref(), m.newsletter_name.as_ref());
        (channel, m.caption.as_deref())
    });
    let follower = || {
        let m = base.newsletter_follower_invite_message_v2.as_option()?;
        let channel = (m.newsletter_jid.as_ref(), m.newsletter_name.as_ref());
        Some((channel, m.caption.as_deref()))
    };
    let ((channel, name), caption) = admin.or_else(follower)?;
    let text = caption.or(name.map(String::as_str));
    let invite = json!({"channel": short(channel), "name": short(name)});
    Some(Content::new(Kind::ChannelInvite, text).with("invite", object(invite)))
}

fn event(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.event_message.as_option() {
        let place = m.location.as_option().map(|place| {
            object(json!({
                "latitude": place.degrees_latitude,
                "longitude": place.degrees_longitude,
                "name": short(place.name.as_ref()),
                "address": short(place.address.as_ref()),
            }))
        });
        let event = json!({
            "name": short(m.name.as_ref()),
            "description": short(m.description.as_ref()),
            "starts_at": m.start_time,
            "ends_at": m.end_time,
            "link": short(m.join_link.as_ref()),
            "is_canceled": m.is_canceled.filter(|canceled| *canceled),
            "location": place,
        });
        return Some(Content::new(Kind::Event, m.name.as_deref()).with("event", object(event)));
    }
    if let Some(m) = base.event_invite_message.as_option() {
        let event = json!({
            "id": short(m.event_id.as_ref()),
            "name": short(m.event_title.as_ref()),
            "starts_at": m.start_time,
            "ends_at": m.end_time,
            "is_canceled": m.is_canceled.filter(|canceled| *canceled),
        });
        let text = m.caption.as_deref().or(m.event_title.as_deref());
        return Some(Content::new(Kind::Event, text).with("event", object(event)));
    }
    let m = base.enc_event_response_message.as_option()?;
    let content = Content::new(Kind::EventReply, None);
    Some(content.about(Target::of(m.event_creation_message_key.as_option())))
}

/// Albums and packs of stickers.
fn collection(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.album_message.as_option() {
        let album = json!({"images": m.expected_image_count, "videos": m.expected_video_count});
        return Some(Content::new(Kind::Album, None).with("album", object(album)));
    }
    let m = base.sticker_pack_message.as_option()?;
    let pack = json!({
        "id": short(m.sticker_pack_id.as_ref()),
        "name": short(m.name.as_ref()),
        "publisher": short(m.publisher.as_ref()),
        "description": short(m.pack_description.as_ref()),
        "stickers": m.stickers.len(),
    });
    let text = m.caption.as_deref().or(m.name.as_deref());
    Some(Content::new(Kind::StickerPack, text).with("sticker_pack", object(pack)))
}

/// What is done to another message: pinning, keeping, commenting.
fn mark(base: &wa::Message) -> Option<Content> {
    use wa::{KeepType, message::pin_in_chat_message::Type as PinType};
    if let Some(m) = base.pin_in_chat_message.as_option() {
        let is_removed = m.r#type == Some(PinType::UNPIN_FOR_ALL);
        let content = Content::new(Kind::Pin, None).with("pin", json!({"removed": is_removed}));
        return Some(content.about(Target::of(m.key.as_option())));
    }
    if let Some(m) = base.keep_in_chat_message.as_option() {
        let is_removed = m.keep_type == Some(KeepType::UNDO_KEEP_FOR_ALL);
        let content = Content::new(Kind::Keep, None).with("keep", json!({"removed": is_removed}));
        return Some(content.about(Target::of(m.key.as_option())));
    }
    let m = base.comment_message.as_option()?;
    let comment = m.message.as_option().and_then(super::read::read_inner);
    let text = comment.map(|comment| comment.text);
    let content = Content::new(Kind::Comment, text.as_deref());
    Some(content.about(Target::of(m.target_message_key.as_option())))
}

fn answer(base: &wa::Message) -> Option<Content> {
    let question = base.question_response_message.as_option();
    let (key, text) = match question {
        Some(m) => (m.key.as_option(), m.text.as_deref()),
        None => {
            let m = base.status_question_answer_message.as_option()?;
            (m.key.as_option(), m.text.as_deref())
        }
    };
    Some(Content::new(Kind::Answer, text).about(Target::of(key)))
}

fn call(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.call_log_messsage.as_option() {
        let call = json!({
            "video": m.is_video.unwrap_or_default(),
            "outcome": m.call_outcome.map(|outcome| format!("{outcome:?}").to_lowercase()),
            "seconds": m.duration_secs,
        });
        return Some(Content::new(Kind::Call, None).with("call", object(call)));
    }
    if let Some(m) = base.scheduled_call_creation_message.as_option() {
        let call = json!({"outcome": "scheduled", "at_millis": m.scheduled_timestamp_ms});
        let content = Content::new(Kind::Call, m.title.as_deref());
        return Some(content.with("call", object(call)));
    }
    if let Some(m) = base.scheduled_call_edit_message.as_option() {
        let content = Content::new(Kind::Call, None).with("call", json!({"outcome": "canceled"}));
        return Some(content.about(Target::of(m.key.as_option())));
    }
    let m = base.bcall_message.as_option()?;
    let call = json!({"outcome": "broadcast", "id": short(m.session_id.as_ref())});
    Some(Content::new(Kind::Call, m.caption.as_deref()).with("call", object(call)))
}

/// What only the phone can read, and a wish for a number.
fn unavailable(base: &wa::Message) -> Option<Content> {
    if base.request_phone_number_message.is_set() {
        return Some(Content::new(Kind::NumberRequest, None));
    }
    let unreadable = |reason: &str, key| Content::unavailable(reason).about(Target::of(key));
    if base.placeholder_message.is_set() {
        return Some(unreadable("hidden_from_linked_devices", None));
    }
    if let Some(m) = base.enc_comment_message.as_option() {
        return Some(unreadable("encrypted", m.target_message_key.as_option()));
    }
    if let Some(m) = base.enc_reaction_message.as_option() {
        return Some(unreadable("encrypted", m.target_message_key.as_option()));
    }
    let m = base.secret_encrypted_message.as_option()?;
    Some(unreadable("encrypted", m.target_message_key.as_option()))
}
