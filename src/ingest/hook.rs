//! From WhatsApp's message to the stream's acknowledgement.
//!
//! The client calls the hook before it acknowledges a message to WhatsApp. After an error it sends
//! no receipt, and WhatsApp hands the message out again at the next connect. So an error also takes
//! the session offline.

use std::{
    borrow::Cow,
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
use serde_json::{Map, Value, json};
use tokio::{sync::Notify, time::timeout};
use tracing::Instrument as _;
use whatsapp_rust::{
    InboundDurabilityHook, Jid,
    prelude::Client,
    types::{
        events::{InboundMessage, UnavailableType, UndecryptableMessage},
        message::{MessageCategory, MessageInfo},
    },
    wacore_binary::JidExt,
};

use super::{
    content::{self, Content},
    media::Origin,
    names::Names,
    parties::{Parties, name},
    polls::Polls,
    receipt::{Receipt, failure},
    seen::Seen,
    unread::Unread,
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
    /// How long the stream may take to accept a batch.
    pub(super) publish_timeout: Duration,
    /// Asks for the session to go offline.
    pub(super) offline: Arc<Notify>,
    /// When the newest message was sent, in milliseconds since 1970.
    pub(super) last_message: Arc<AtomicI64>,
    /// What came without its content.
    pub(super) unread: Arc<Unread>,
    /// Polls that votes may come for.
    pub(super) polls: Arc<Polls>,
    /// What was published.
    pub(super) seen: Arc<Seen>,
    /// The session's span: the client calls the hook from tasks of its own.
    pub(super) span: tracing::Span,
}

#[async_trait]
impl InboundDurabilityHook for Publisher {
    async fn on_messages(
        &self,
        client: Arc<Client>,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        // This runs in one of the client's tasks. An uncaught panic there would block the chat, and
        // nothing would report it.
        let publish = self
            .publish_all(&client, batch)
            .instrument(self.span.clone());
        let published = AssertUnwindSafe(timeout(self.publish_timeout, publish)).catch_unwind();
        let result = match published.await {
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
    /// Publishes one after the other, so that the stream keeps the order of each chat.
    pub(super) async fn publish_all(
        &self,
        client: &Client,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        for inbound in batch {
            match self.message(client, inbound).await? {
                Some((message, dedupe_id)) => {
                    let chat = message.chat.clone();
                    self.publish_wanted(message, &dedupe_id).await?;
                    self.seen.note(&inbound.info, &chat);
                }
                None => telemetry::inbound("skipped"),
            }
        }
        Ok(())
    }

    /// Publishes a message that the number's webhook takes. One without a webhook is published,
    /// too: deliver nodes count it.
    pub(super) async fn publish_wanted(
        &self,
        mut message: Message,
        dedupe_id: &str,
    ) -> anyhow::Result<()> {
        let webhooks = self.bus.webhooks();
        let webhook = webhooks
            .by_account(message.client_id, &message.phone)
            .await?;
        if let Some(webhook) = webhook {
            if !webhook.wants(&message.kind) {
                telemetry::inbound("skipped");
                return Ok(());
            }
            // It may be registered for the number as people dial it.
            message.phone = webhook.phone.clone();
        }
        self.publish(&message, dedupe_id).await
    }

    async fn publish(&self, message: &Message, dedupe_id: &str) -> anyhow::Result<()> {
        let mut message = Cow::Borrowed(message);
        let mut is_cut = false;
        // WhatsApp keeps it, and hands it out again at the next connect.
        if let Some(used_up) = self.bus.used_up(message.client_id).await? {
            telemetry::quota_refused(used_up.as_str());
            anyhow::bail!("the client's quota of waiting bytes or a share of it is used up");
        }
        loop {
            match self.bus.publish_message_as(&message, dedupe_id).await {
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
                // WhatsApp would hand it out for ever, and its chat would wait behind it.
                Err(bus::Error::TooLarge) if !is_cut => {
                    telemetry::inbound("too_large");
                    tracing::warn!("a message is too large for the stream and is cut");
                    let bytes_max = self.bus.body_bytes_max();
                    message = Cow::Owned(wire::cut_message(&message, bytes_max));
                    is_cut = true;
                }
                // The caller's timeout ends this loop.
                Err(error) => tracing::warn!(%error, "publishing again"),
            }
        }
    }

    /// The message to publish, and its id for deduplication. `None` for traffic between devices,
    /// own messages that the owner did not ask for, and statuses.
    pub(super) async fn message(
        &self,
        client: &Client,
        inbound: &InboundMessage,
    ) -> anyhow::Result<Option<(Message, String)>> {
        let info = &inbound.info;
        let now = self.bus.now();
        // Also one that the owner does not want to hear of: votes on it may come.
        self.polls.see(client, &inbound.message, info, now).await;
        if self.is_private(info) {
            return Ok(None);
        }
        let Some(mut content) = unpanicked(|| content::read(&inbound.message)) else {
            return Ok(None);
        };
        if content.kind == Kind::PollVote {
            content = self.polls.read(client, info, content, now).await;
        }
        if self.unread.read(info) || info.unavailable_request_id.is_some() {
            content = content.with("replaces_unavailable", true.into());
        }
        self.message_of(client, info, content).await.map(Some)
    }

    /// Traffic between devices, own messages that the owner did not ask for, and statuses.
    fn is_private(&self, info: &MessageInfo) -> bool {
        let source = &info.source;
        info.category == MessageCategory::Peer
            || source.is_from_me && !self.session.own_messages
            || source.chat.is_status_broadcast()
    }

    /// Says that a message came, whose content may follow.
    pub(super) async fn publish_unreadable(
        &self,
        client: &Client,
        unreadable: &UndecryptableMessage,
    ) -> anyhow::Result<()> {
        let info = &unreadable.info;
        if self.is_private(info) || !self.unread.tell(info) {
            telemetry::inbound("skipped");
            return Ok(());
        }
        let content = Content::unavailable(reason(unreadable));
        let (message, dedupe_id) = self.message_of(client, info, content).await?;
        self.publish_wanted(message, &dedupe_id).await
    }

    /// The message to publish, and its id for deduplication.
    async fn message_of(
        &self,
        client: &Client,
        info: &MessageInfo,
        content: Content,
    ) -> anyhow::Result<(Message, String)> {
        let source = &info.source;
        // An error: WhatsApp hands the message out again.
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
        let names = Names::new(client, &phone);
        names.resolve(&mut metadata).await;
        if let Some(target) = &content.target {
            let target = names.target(target, &parties).await;
            metadata.insert("target".to_owned(), target);
        }
        if let (Some(reference), Some(Value::Object(media))) =
            (&content.media, metadata.get_mut("media"))
        {
            // Nothing is encrypted in channels, whatever a message says.
            let in_clear = source.chat.is_newsletter().then(|| reference.in_clear());
            let reference = in_clear.as_ref().unwrap_or(reference);
            let reference = reference.came_in(Origin::of(self.session.id, info));
            let id = reference.seal(&self.media_secret, self.session.client_id);
            media.insert("id".to_owned(), id.into());
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
            metadata_json: None,
        };
        Ok((message, dedupe_id))
    }

    /// Publishes the new status of messages if the number's webhook asks for receipts. WhatsApp
    /// does not hand a receipt out twice: one that cannot be published now is lost.
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
            .webhooks()
            .by_account(self.session.client_id, &phone)
            .await?;
        let Some(webhook) = webhook.filter(|webhook| webhook.wants(&Kind::Receipt)) else {
            return Ok(());
        };
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
            // Two clients may have linked the same number.
            let client_id = self.session.client_id.to_string();
            let parts = [
                &client_id,
                phone.as_str(),
                "receipt",
                &chat,
                &from,
                id,
                receipt.status,
            ];
            let dedupe_id = wire::dedupe_id(&parts);
            let mut metadata = Map::new();
            metadata.insert("chat".to_owned(), chat.clone().into());
            if let Some(code) = &receipt.error {
                let error = json!({"code": code, "reason": failure(code)});
                metadata.insert("error".to_owned(), error);
            }
            let message = Message {
                client_id: self.session.client_id,
                phone: webhook.phone.clone(),
                message_id,
                // Two receipts of one message are two events: the status tells their ids apart.
                chat: format!("{chat}#{}", receipt.status),
                from: from.clone(),
                to: phone.as_str().to_owned(),
                timestamp: Timestamp::from_millis(receipt.at_millis),
                kind: Kind::Receipt,
                content: receipt.status.to_owned(),
                metadata,
                metadata_json: None,
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

/// Why a message has no content.
fn reason(unreadable: &UndecryptableMessage) -> &'static str {
    match unreadable.unavailable_type {
        UnavailableType::ViewOnce => "view_once",
        UnavailableType::Hosted => "hosted",
        UnavailableType::Bot => "bot",
        UnavailableType::Unknown if unreadable.is_unavailable => "on_phone_only",
        UnavailableType::Unknown => "undecryptable",
    }
}

/// What a message says. A message whose reading panics is kept as unknown: WhatsApp would hand it
/// out again, and it would panic again.
fn unpanicked(read: impl FnOnce() -> Option<Content>) -> Option<Content> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        telemetry::error("ingest", "panic");
        Some(Content::unknown())
    })
}

/// The id as it is, or its hash if it does not fit wahook's rules: senders choose their ids.
fn message_id(id: &str) -> MessageId {
    let hashed = || {
        wire::dedupe_id(&["message id", id])
            .parse()
            .expect("hex digits make an id")
    };
    id.parse().unwrap_or_else(|_| hashed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_whose_reading_panics_is_kept_as_unknown() {
        let read = unpanicked(|| panic!("poisoned")).expect("kept");
        assert_eq!((read.kind, read.text.as_str()), (Kind::Unknown, ""));
        assert_eq!(unpanicked(|| None), None);
    }

    #[test]
    fn message_id_that_breaks_the_rules_is_hashed() {
        assert_eq!(message_id("3EB0A1").as_str(), "3EB0A1");
        let odd = message_id("with space\r\n");
        assert_eq!(
            (odd.as_str().len(), message_id("with space\r\n") == odd),
            (32, true)
        );
        assert_ne!(message_id(&"x".repeat(200)), odd);
    }
}
