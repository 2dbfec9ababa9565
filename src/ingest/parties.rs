//! Who wrote a message to whom.

use serde_json::{Map, Value};
use whatsapp_rust::{
    Jid,
    prelude::Client,
    types::message::{MessageInfo, MessageSource},
    wacore_binary::JidExt,
};

use crate::model::Phone;

/// Who wrote to whom.
pub(super) struct Parties {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) chat: String,
    is_lid: bool,
    is_broadcast: bool,
    /// The sender's other id.
    lid: Option<String>,
}

impl Parties {
    pub(super) async fn of(client: &Client, info: &MessageInfo, own: &Phone) -> Self {
        let source = &info.source;
        // WhatsApp shows a message to a list in the chat with its sender.
        let is_broadcast = source.chat.is_broadcast_list() && !source.is_from_me;
        let chat = if is_broadcast {
            name(client, &source.sender, source.sender_alt.as_ref()).await
        } else if source.is_group {
            source.chat.to_non_ad_string()
        } else {
            let alt = if source.is_from_me {
                &source.recipient_alt
            } else {
                &source.sender_alt
            };
            name(client, &source.chat, alt.as_ref()).await
        };
        let from = if source.is_from_me {
            own.as_str().to_owned()
        } else {
            name(client, &source.sender, source.sender_alt.as_ref()).await
        };
        let to = if source.is_from_me {
            chat.clone()
        } else {
            own.as_str().to_owned()
        };
        let is_lid = from.ends_with("@lid");
        Self {
            from,
            to,
            chat,
            is_lid,
            is_broadcast,
            lid: lid(client, source).await,
        }
    }

    pub(super) fn is_group(&self) -> bool {
        self.chat.ends_with("@g.us")
    }

    pub(super) fn metadata(&self, info: &MessageInfo) -> Map<String, Value> {
        let mut metadata = Map::new();
        let mut put = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
        put("chat", self.chat.clone().into());
        put(
            "is_group",
            (info.source.is_group && !self.is_broadcast).into(),
        );
        if self.is_broadcast {
            put("is_broadcast", true.into());
        }
        if let Some(lid) = &self.lid {
            put("from_lid", lid.clone().into());
        }
        if info.source.chat.is_newsletter() {
            put("is_channel", true.into());
        }
        if !info.push_name.is_empty() {
            put("push_name", info.push_name.clone().into());
        }
        if info.source.is_from_me {
            put("from_me", true.into());
        }
        if self.is_lid {
            put("from_is_hidden", true.into());
        }
        if let Some(seconds) = info.ephemeral_expiration {
            put("disappears_after_seconds", seconds.into());
        }
        metadata
    }
}

/// The sender's id that does not show a number, where the session knows it.
async fn lid(client: &Client, source: &MessageSource) -> Option<String> {
    let known = [Some(&source.sender), source.sender_alt.as_ref()];
    if let Some(lid) = known.into_iter().flatten().find(|jid| jid.is_lid()) {
        return Some(lid.to_non_ad_string());
    }
    let entry = client.get_lid_pn_entry(&source.sender).await.ok()??;
    Some(format!("{}@lid", entry.lid))
}

/// A contact's phone number; `…@lid` if WhatsApp hides the number and the session has not learnt
/// it.
pub(super) async fn name(client: &Client, jid: &Jid, alt: Option<&Jid>) -> String {
    if let Some(phone) = [Some(jid), alt]
        .into_iter()
        .flatten()
        .find(|jid| jid.is_pn())
    {
        return phone.user.to_string();
    }
    match client.get_lid_pn_entry(jid).await {
        Ok(Some(entry)) => entry.phone_number.to_string(),
        _ => jid.to_non_ad_string(),
    }
}
