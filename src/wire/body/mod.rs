//! The JSON that customers receive, in the format that their webhook asks for.
//!
//! A body is built once, before the first attempt, and stored in the delivery. So a new format
//! counts for new messages only. The format of a stored body shows in its first bytes: each format
//! starts with another field, and the order of fields is fixed.
//!
//! A body has a limit. JSON may be longer than what it is made of: a control character becomes six
//! bytes, and the formats of other gateways make objects of short list entries. So the writer stops
//! at the limit, and the body is built again from a message that is cut; see [`cut_message`].

mod bounded;
mod cloud;
mod cut;
mod evolution;
mod native;
mod notice;
mod parts;
#[cfg(test)]
mod tests;
mod waha;

use bounded::TooLong;
use bytes::Bytes;
use serde_json::Value;

pub use bounded::json as bounded_json;
pub use cut::cut_message;

use crate::model::{
    EventId, Format, FormatOptions, Kind, Message, PublicEventId, Timestamp, Webhook,
};

/// Bytes of a body in a stream that takes messages of 2 MiB. The rest is for the envelope: the ids
/// of a delivery, and in an attempt the response and the error.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - ENVELOPE_BYTES_MAX;

/// Bytes of one message in a stream, as nats/streams/WA_MSG.json has them.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What an envelope and the headers take at most beside the body: an attempt has 16 KiB of a
/// response, each byte of which may become three in text.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The least limit that a body may have: what the formats add to a cut message fits below it.
pub const BODY_BYTES_MAX_LEAST: usize = 256 * 1024;

/// What a body is built from.
struct Source<'a> {
    message: &'a Message,
    event: PublicEventId,
    /// When the message was first published.
    at: Timestamp,
    url: &'a str,
    options: &'a FormatOptions,
    bytes_max: usize,
}

/// The body of every attempt to deliver this message to this webhook, in the webhook's format. It
/// has at most `bytes_max` bytes, which must be [`BODY_BYTES_MAX_LEAST`] or more: what does not fit
/// is cut.
pub fn delivery_body(
    webhook: &Webhook,
    message: &Message,
    event: EventId,
    published_at: Timestamp,
    bytes_max: usize,
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
        options: &webhook.sending.format_options,
        bytes_max,
    };
    let format = webhook.sending.format;
    let whole = body_in(format, &source);
    whole.unwrap_or_else(|TooLong| {
        // Meta's escapes make up to three bytes of one.
        let cut_bytes_max = match format {
            Format::Cloud => bytes_max / 3,
            Format::Native | Format::Waha | Format::Evolution => bytes_max,
        };
        let message = &cut_message(message, cut_bytes_max);
        body_in(format, &Source { message, ..source })
            .expect("a cut message leaves room for what a format adds")
    })
}

fn body_in(format: Format, source: &Source<'_>) -> Result<Bytes, TooLong> {
    if source.message.kind == Kind::Operational {
        return notice::body(source.message, source.bytes_max).map(Bytes::from);
    }
    let body = match format {
        Format::Native => native_body(source.message, source.bytes_max),
        Format::Waha => waha::body(source),
        Format::Evolution => evolution::body(source),
        Format::Cloud => cloud::body(source),
    };
    body.map(Bytes::from)
}

fn native_body(message: &Message, bytes_max: usize) -> Result<Vec<u8>, TooLong> {
    bounded::json(&native::Body::from(message), bytes_max)
}

/// The body in wahook's own format, which depends on the message alone; cut at
/// [`BODY_BYTES_MAX`].
pub fn webhook_body(message: &Message) -> Bytes {
    native_body(message, BODY_BYTES_MAX)
        .or_else(|TooLong| native_body(&cut_message(message, BODY_BYTES_MAX), BODY_BYTES_MAX))
        .expect("a cut message leaves room for what a format adds")
        .into()
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
///     metadata_json: None,
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
        Format::Native => serde_json::from_slice::<native::Summary>(body)
            .ok()
            .map(Into::into),
        Format::Waha => waha::summary(body),
        Format::Evolution => evolution::summary(&value()?),
        Format::Cloud => cloud::summary(&value()?),
    }
}
