//! Messages that an account's devices exchange.

use std::io::Write;

use buffa::{Message as _, MessageField};
use whatsapp_rust::waproto::whatsapp as wa;

use super::{protocol_message, text};

/// What the account itself wrote to somebody, as its other devices hear of it.
pub(crate) fn sent_to(chat: &str, message: wa::Message) -> wa::Message {
    let sent = wa::message::DeviceSentMessage {
        destination_jid: Some(chat.to_owned()),
        message: MessageField::some(message),
        ..Default::default()
    };
    wa::Message {
        device_sent_message: MessageField::some(sent),
        ..Default::default()
    }
}

/// What was written in a chat before the device was linked.
pub(crate) fn history(chat: &str, texts: &[&str]) -> anyhow::Result<wa::Message> {
    let old = |(at, old): (usize, &&str)| {
        let key = wa::MessageKey {
            remote_jid: Some(chat.to_owned()),
            from_me: Some(false),
            id: Some(format!("OLD{at}")),
            ..Default::default()
        };
        let message = wa::WebMessageInfo {
            key: MessageField::some(key),
            message: MessageField::some(text(old)),
            message_timestamp: Some(1_700_000_000),
            ..Default::default()
        };
        wa::HistorySyncMsg {
            message: MessageField::some(message),
            ..Default::default()
        }
    };
    let conversation = wa::Conversation {
        id: chat.to_owned(),
        messages: texts.iter().enumerate().map(old).collect(),
        ..Default::default()
    };
    let history = wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::INITIAL_BOOTSTRAP,
        chunk_order: Some(1),
        progress: Some(100),
        conversations: vec![conversation],
        ..Default::default()
    };
    let kind = wa::message::HistorySyncType::INITIAL_BOOTSTRAP;
    packed(&history, kind, None)
}

/// A page of a chat that the device with this request has asked for.
pub(crate) fn history_page(
    request: &str,
    conversation: wa::Conversation,
) -> anyhow::Result<wa::Message> {
    let history = wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::ON_DEMAND,
        conversations: vec![conversation],
        ..Default::default()
    };
    let kind = wa::message::HistorySyncType::ON_DEMAND;
    packed(&history, kind, Some(request))
}

fn packed(
    history: &wa::HistorySync,
    kind: wa::message::HistorySyncType,
    request: Option<&str>,
) -> anyhow::Result<wa::Message> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&history.encode_to_vec())?;
    let packed = packed.finish()?;
    let notification = wa::message::HistorySyncNotification {
        sync_type: Some(kind),
        file_length: Some(packed.len() as u64),
        chunk_order: Some(1),
        progress: Some(100),
        initial_hist_bootstrap_inline_payload: Some(packed),
        peer_data_request_session_id: request.map(str::to_owned),
        ..Default::default()
    };
    Ok(protocol_message(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
        history_sync_notification: MessageField::some(notification),
        ..Default::default()
    }))
}

/// What a handset shares with a freshly linked device. Without it a connect takes ten seconds
/// longer.
pub(crate) fn app_state_keys() -> wa::Message {
    let key = wa::message::AppStateSyncKey {
        key_id: MessageField::some(wa::message::AppStateSyncKeyId {
            key_id: Some(vec![0, 0, 0, 0, 0, 1]),
        }),
        key_data: MessageField::some(wa::message::AppStateSyncKeyData {
            key_data: Some(vec![7; 32]),
            timestamp: Some(1),
            // Without a fingerprint the client ignores the key.
            fingerprint: MessageField::some(wa::message::AppStateSyncKeyFingerprint {
                raw_id: Some(1),
                current_index: Some(0),
                device_indexes: vec![0],
            }),
        }),
    };
    protocol_message(wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: MessageField::some(wa::message::AppStateSyncKeyShare {
            keys: vec![key],
        }),
        ..Default::default()
    })
}
