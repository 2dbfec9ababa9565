//! The JSON that customers receive, in the format that their webhook asks for.
//!
//! A body is built once, before the first attempt, and stored in the delivery. So a new format
//! counts for new messages only. The format of a stored body shows in its first bytes: each format
//! starts with another field, and the order of fields is fixed.

mod cloud;
mod evolution;
mod native;
mod notice;
mod parts;
#[cfg(test)]
mod tests;
mod waha;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

pub use native::Payload;

use crate::model::{EventId, Format, Kind, Message, PublicEventId, Timestamp, Webhook};

/// What a body is built from.
struct Source<'a> {
    message: &'a Message,
    event: PublicEventId,
    /// When the message was first published.
    at: Timestamp,
    url: &'a str,
}

/// The body of every attempt to deliver this message to this webhook, in the webhook's format.
pub fn delivery_body(
    webhook: &Webhook,
    message: &Message,
    event: EventId,
    published_at: Timestamp,
) -> Bytes {
    let event = PublicEventId {
        webhook: webhook.id,
        event,
    };
    let source = Source {
        message,
        event,
        at: published_at,
        url: &webhook.url,
    };
    if message.kind == Kind::Operational {
        return notice::body(message).into();
    }
    let body = match webhook.sending.format {
        Format::Native => return webhook_body(message),
        Format::Waha => waha::body(&source),
        Format::Evolution => evolution::body(&source),
        Format::Cloud => cloud::body(&source),
    };
    body.into()
}

/// The body in wahook's own format, which depends on the message alone.
pub fn webhook_body(message: &Message) -> Bytes {
    json(&Payload::from(message)).into()
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and maps with text keys have a JSON form")
}

/// The format that a body was built in.
pub(super) fn format_of(body: &[u8]) -> Format {
    if body.starts_with(br#"{"id":"evt_"#) {
        Format::Waha
    } else if body.starts_with(br#"{"event":"messages."#) {
        Format::Evolution
    } else if body.starts_with(br#"{"object":"whatsapp_business_account""#) {
        Format::Cloud
    } else {
        Format::Native
    }
}

/// What the audit shows of a message beside its body.
///
/// # Examples
///
/// ```
/// use wahook::{
///     model::{ClientId, Kind, Message, Timestamp},
///     wire::{summarize_body, webhook_body},
/// };
///
/// let message = Message {
///     client_id: ClientId::try_from(1)?,
///     phone: "4915112345678".parse()?,
///     message_id: "3EB0C767D097B7C7".parse()?,
///     chat: "4922200000".to_owned(),
///     from: "4922200000".to_owned(),
///     to: "4915112345678".to_owned(),
///     timestamp: Timestamp::EPOCH,
///     kind: Kind::Text,
///     content: "hi".to_owned(),
///     metadata: Default::default(),
/// };
/// let summary = summarize_body(&webhook_body(&message)).expect("its own body");
/// assert_eq!(summary.content, "hi");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySummary {
    /// Sender.
    pub from: String,
    /// Receiver.
    pub to: String,
    /// Text or caption.
    pub content: String,
}

/// The summary of a body in any format; `None` when it cannot be read.
pub fn summarize_body(body: &[u8]) -> Option<BodySummary> {
    let value = || serde_json::from_slice::<Value>(body).ok();
    match format_of(body) {
        Format::Native => serde_json::from_slice::<Payload>(body).ok().map(Into::into),
        Format::Waha => waha::summary(&value()?),
        Format::Evolution => evolution::summary(&value()?),
        Format::Cloud => cloud::summary(&value()?),
    }
}
