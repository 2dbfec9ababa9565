//! From WhatsApp's message to the stream's acknowledgement.
//!
//! The client calls this before it acknowledges a message to WhatsApp. An error leaves the message
//! unacknowledged, and WhatsApp hands it out again at the next connect; so an error also takes the
//! session offline.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::{Map, Value};
use tokio::{sync::Notify, time::timeout};
use whatsapp_rust::{
    InboundDurabilityHook, Jid,
    prelude::Client,
    types::{events::InboundMessage, message::MessageCategory, message::MessageInfo},
    wacore_binary::JidExt,
};

use super::{
    content::{self, Content},
    events::Receipt,
};
use crate::{
    bus::{self, Bus},
    model::{Kind, Message, MessageId, Phone, Session, Timestamp},
    telemetry, wire,
};

/// Publishes what a session receives.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) bus: Bus,
    pub(super) session: Session,
    pub(super) media_secret: Arc<[u8; 32]>,
    pub(super) patience: Duration,
    /// Asks for the session to go offline.
    pub(super) offline: Arc<Notify>,
    /// When the newest message was sent, in milliseconds since 1970.
    pub(super) last_message: Arc<AtomicI64>,
}

#[async_trait]
impl InboundDurabilityHook for Publisher {
    async fn on_messages(
        &self,
        client: Arc<Client>,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        // This runs in a task of the client's: a panic would leave the chat waiting without a word.
        let published = AssertUnwindSafe(timeout(self.patience, self.publish_all(&client, batch)))
            .catch_unwind()
            .await;
        let result = match published {
            Ok(published) => published
                .context("the stream did not take a message in time")
                .and_then(|result| result),
            Err(_) => Err(anyhow::anyhow!("publishing panicked")),
        };
        if result.is_err() {
            telemetry::inbound("failed");
            self.offline.notify_one();
        }
        result
    }
}

impl Publisher {
    /// One after the other: the stream keeps the order in which a chat's messages came.
    pub(super) async fn publish_all(
        &self,
        client: &Client,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        for inbound in batch {
            match self.message(client, inbound).await? {
                Some((message, dedupe_id)) => self.publish(&message, &dedupe_id).await?,
                None => telemetry::inbound("skipped"),
            }
        }
        Ok(())
    }

    async fn publish(&self, message: &Message, dedupe_id: &str) -> anyhow::Result<()> {
        loop {
            match self.bus.publish_message_as(message, dedupe_id).await {
                Ok(published) => {
                    telemetry::inbound(if published.duplicate {
                        "duplicate"
                    } else {
                        "published"
                    });
                    if message.kind != Kind::Receipt {
                        self.last_message
                            .fetch_max(message.timestamp.millis(), Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Err(bus::Error::TooLarge) => {
                    // It would come back for ever, and hold its chat up.
                    telemetry::inbound("too_large");
                    tracing::error!(session.id = %self.session.id, "a message is too large for \
                        the stream; dropped");
                    return Ok(());
                }
                // The caller's patience ends this.
                Err(error) => {
                    tracing::warn!(%error, session.id = %self.session.id, "publishing again")
                }
            }
        }
    }

    /// `None` for what is not published: traffic between devices, own messages when they are not
    /// asked for, and statuses.
    async fn message(
        &self,
        client: &Client,
        inbound: &InboundMessage,
    ) -> anyhow::Result<Option<(Message, String)>> {
        let info = &inbound.info;
        let source = &info.source;
        let is_private = info.category == MessageCategory::Peer
            || source.is_from_me && !self.session.own_messages;
        if is_private || source.chat.is_status_broadcast() {
            return Ok(None);
        }
        let Some(content) = unpanicked(|| content::read(&inbound.message)) else {
            return Ok(None);
        };
        // Not acknowledged then: WhatsApp hands it out again.
        let phone = self
            .own_phone(client)
            .context("a message came before the session knew its number")?;
        let message_id = message_id(&info.id);
        let parties = Parties::of(client, info, &phone).await;
        let dedupe_id = wire::dedupe_id(&[
            &self.session.client_id.to_string(),
            phone.as_str(),
            &source.chat.to_non_ad_string(),
            &source.sender.to_non_ad_string(),
            message_id.as_str(),
            content.kind.as_str(),
        ]);
        let mut metadata = parties.metadata(info);
        metadata.extend(content.metadata);
        if let (Some(reference), Some(Value::Object(media))) =
            (&content.media, metadata.get_mut("media"))
        {
            media.insert(
                "id".to_owned(),
                reference
                    .seal(&self.media_secret, self.session.client_id)
                    .into(),
            );
        }
        let message = Message {
            client_id: self.session.client_id,
            phone,
            message_id,
            chat: parties.chat,
            from: parties.from,
            to: parties.to,
            timestamp: Timestamp::from_millis(info.timestamp.timestamp_millis()),
            kind: content.kind,
            content: content.text,
            metadata,
        };
        Ok(Some((message, dedupe_id)))
    }

    /// Publishes what became of messages, if the number's webhook asks for it. WhatsApp does not
    /// hand receipts out twice: what cannot be published now is lost.
    pub(super) async fn publish_receipt(
        &self,
        client: &Client,
        receipt: &Receipt,
    ) -> anyhow::Result<()> {
        let Some(phone) = self.own_phone(client) else {
            return Ok(());
        };
        let webhook = self
            .bus
            .registry()
            .by_phone(self.session.client_id, &phone)
            .await?;
        if !webhook.is_some_and(|webhook| webhook.wants(&Kind::Receipt)) {
            return Ok(());
        }
        let named = async |jid: &Option<Jid>| match jid {
            Some(jid) => name(client, jid, None).await,
            None => String::new(),
        };
        let from = named(&receipt.from).await;
        let chat = named(&receipt.chat).await;
        let from = if from.is_empty() { chat.clone() } else { from };
        for id in &receipt.message_ids {
            let Ok(message_id) = id.parse::<MessageId>() else {
                continue;
            };
            let parts = [phone.as_str(), "receipt", &chat, &from, id, receipt.status];
            let dedupe_id = wire::dedupe_id(&parts);
            let mut metadata = Map::new();
            metadata.insert("chat".to_owned(), chat.clone().into());
            let message = Message {
                client_id: self.session.client_id,
                phone: phone.clone(),
                message_id,
                // Two receipts of one message are two events: the status tells their ids apart.
                chat: format!("{chat}#{}", receipt.status),
                from: from.clone(),
                to: phone.as_str().to_owned(),
                timestamp: Timestamp::from_millis(receipt.at_millis),
                kind: Kind::Receipt,
                content: receipt.status.to_owned(),
                metadata,
            };
            self.publish(&message, &dedupe_id).await?;
        }
        Ok(())
    }

    fn own_phone(&self, client: &Client) -> Option<Phone> {
        client
            .pn()
            .and_then(|jid| jid.user.parse().ok())
            .or_else(|| self.session.phone.clone())
    }
}

/// What a message says. Should reading it panic, it would come back for ever, and do so again:
/// better kept as unknown.
fn unpanicked(read: impl FnOnce() -> Option<Content>) -> Option<Content> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        telemetry::error("ingest", "panic");
        Some(Content::unknown())
    })
}

/// The id as it is; a hash of it when no id of ours can hold it, since senders choose their ids.
fn message_id(id: &str) -> MessageId {
    let hashed = || {
        wire::dedupe_id(&["message id", id])
            .parse()
            .expect("hex digits make an id")
    };
    id.parse().unwrap_or_else(|_| hashed())
}

/// Who wrote to whom.
struct Parties {
    from: String,
    to: String,
    chat: String,
    is_lid: bool,
}

impl Parties {
    async fn of(client: &Client, info: &MessageInfo, own: &Phone) -> Self {
        let source = &info.source;
        let chat = if source.is_group {
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
        }
    }

    fn metadata(&self, info: &MessageInfo) -> Map<String, Value> {
        let mut metadata = Map::new();
        let mut put = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
        put("chat", self.chat.clone().into());
        put("is_group", info.source.is_group.into());
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

/// A contact's phone number, by whichever name WhatsApp uses for it; `…@lid` when it hides the
/// number.
async fn name(client: &Client, jid: &Jid, alt: Option<&Jid>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_cannot_be_read_is_kept_as_unknown() {
        let read = unpanicked(|| panic!("poisoned")).expect("kept");
        assert_eq!((read.kind, read.text.as_str()), (Kind::Unknown, ""));
        assert_eq!(unpanicked(|| None), None);
    }

    #[test]
    fn every_id_that_a_sender_can_choose_makes_one() {
        assert_eq!(message_id("3EB0A1").as_str(), "3EB0A1");
        let odd = message_id("with space\r\n");
        assert_eq!(
            (odd.as_str().len(), message_id("with space\r\n") == odd),
            (32, true)
        );
        assert_ne!(message_id(&"x".repeat(200)), odd);
    }
}
