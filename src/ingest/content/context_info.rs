//! What a message refers to: the message it quotes, people it mentions, its origin.

use serde_json::{Value, json};
use whatsapp_rust::prelude::wa;

use super::model::{Content, LIST_MAX, cut, object, short};

/// Bytes of the text that is quoted.
const QUOTED_BYTES_MAX: usize = 4 * 1024;

/// What the message refers to. Each kind has a field of its own for that; a test compares the list
/// with the protocol's.
pub(super) fn context(base: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),* $(,)?) => {
            None$(.or_else(|| base.$field.as_option().and_then(|m| m.context_info.as_option())))*
        };
    }
    first!(
        extended_text_message,
        image_message,
        video_message,
        ptv_message,
        audio_message,
        document_message,
        sticker_message,
        sticker_pack_message,
        location_message,
        live_location_message,
        contact_message,
        contacts_array_message,
        buttons_response_message,
        template_button_reply_message,
        list_response_message,
        interactive_response_message,
        interactive_message,
        template_message,
        buttons_message,
        list_message,
        order_message,
        product_message,
        poll_creation_message,
        poll_creation_message_v2,
        poll_creation_message_v3,
        poll_creation_message_v5,
        poll_creation_message_v6,
        poll_result_snapshot_message,
        poll_result_snapshot_message_v3,
        group_invite_message,
        newsletter_admin_invite_message,
        newsletter_follower_invite_message_v2,
        event_message,
        event_invite_message,
        album_message,
        request_phone_number_message,
        message_history_notice,
        split_payment_message,
        rich_response_message,
    )
}

pub(super) fn with_context(content: Content, info: &wa::ContextInfo) -> Content {
    let mentions: Vec<_> = info
        .mentioned_jid
        .iter()
        .take(LIST_MAX)
        .map(|jid| short(Some(jid)))
        .collect();
    let left_out = info.mentioned_jid.len().saturating_sub(LIST_MAX);
    let is_forwarded = info.is_forwarded.filter(|forwarded| *forwarded);
    let score = info.forwarding_score.filter(|score| *score > 0);
    content
        .with("quoted", quoted(info))
        .with(
            "mentions",
            json!((!mentions.is_empty()).then_some(mentions)),
        )
        .with(
            "mentions_left_out",
            json!((left_out > 0).then_some(left_out)),
        )
        .with("forwarded", json!(is_forwarded))
        .with("forwarding_score", json!(score))
        .with("referral", referral(info))
}

/// The quoted message, with its author as WhatsApp names him.
fn quoted(info: &wa::ContextInfo) -> Value {
    if info.stanza_id.is_none() {
        return Value::Null;
    }
    let quoted = info
        .quoted_message
        .as_option()
        .and_then(super::read::read_inner);
    let text = quoted
        .as_ref()
        .map(|quoted| cut(&quoted.text, QUOTED_BYTES_MAX));
    let is_status = info.remote_jid.as_deref() == Some("status@broadcast");
    object(json!({
        "message_id": short(info.stanza_id.as_ref()),
        "from": short(info.participant.as_ref()),
        "type": quoted.map(|quoted| quoted.kind.as_str()),
        "content": text.filter(|text| !text.is_empty()),
        "is_status": is_status.then_some(true),
        // A private answer to a message of a group.
        "chat": (!is_status).then(|| short(info.remote_jid.as_ref())),
    }))
}

/// The advertisement that led here, in the words of Meta's Cloud API.
fn referral(info: &wa::ContextInfo) -> Value {
    let source = short(info.entry_point_conversion_source.as_ref());
    let Some(ad) = info.external_ad_reply.as_option() else {
        let entry = object(json!({"entry_point": source}));
        return if entry == json!({}) {
            Value::Null
        } else {
            entry
        };
    };
    object(json!({
        "source_type": short(ad.source_type.as_ref()),
        "source_id": short(ad.source_id.as_ref()),
        "source_url": short(ad.source_url.as_ref()),
        "headline": short(ad.title.as_ref()),
        "body": short(ad.body.as_ref()),
        "image_url": short(ad.thumbnail_url.as_ref()),
        "media_url": short(ad.media_url.as_ref()),
        "ctwa_clid": short(ad.ctwa_clid.as_ref()),
        "ref": short(ad.r#ref.as_ref()),
        "entry_point": source,
    }))
}
