//! Plain data with its invariants: no IO and no clock.
//!
//! A **client** owns phone numbers. A **webhook** is the endpoint registered for one phone number
//! of one client. A **message** was received by such a number. A **delivery** is one message for
//! one webhook; the API calls it an **event**. Each request for it is an **attempt**, and a
//! **verdict** says what follows.
//!
//! Every id is a newtype that can only be made from valid text, so code that has one may put it
//! into a subject, a key or a query without checking it again. Times are [`Timestamp`]s:
//! milliseconds since 1970, UTC.

mod attempt;
mod chat_key;
mod client_limits;
mod delivery;
mod delivery_options;
mod event;
mod event_id;
mod format_options;
mod hex;
mod ids;
mod job;
mod media_type;
mod message;
mod metadata;
mod notice;
mod number_forms;
mod outbound_message;
mod quota;
mod secret;
mod session;
mod session_keys;
mod session_request;
mod timestamp;
mod token;
mod webhook;
pub mod webhook_limits;
mod whatsapp_id;

pub use attempt::{Attempt, ERROR_CHARS_MAX, Outcome, RESPONSE_BYTES_MAX, Verdict};
pub use chat_key::ChatKey;
pub use client_limits::{Limit, OwnLimits};
pub use delivery::{Delivery, Priority};
pub use delivery_options::{DeliveryOptions, Format, SignatureScheme};
pub use event::{Event, EventFilter, EventStatus, HourStats, Position, WebhookState};
pub use event_id::{EventId, PublicEventId};
pub use format_options::{FormatOption, FormatOptions};
pub use hex::{hex, parse_hex};
pub use ids::{ClientId, JobId, MessageId, ParseError, Phone, SessionId, WebhookId};
pub use job::{Job, JobCursor, JobFilter, JobState, JobWork};
pub use media_type::{UNKNOWN_MEDIA_TYPE, is_media_type};
pub use message::{CONTENT_BYTES_MAX, Kind, Message, PARTY_CHARS_MAX};
pub use metadata::{
    METADATA_DEPTH_MAX, METADATA_VALUES_MAX, Metadata, MetadataError, parse_metadata,
};
pub use notice::{NoticeKind, NoticeSettings};
pub use outbound_message::{
    OutboundContact, OutboundKind, OutboundLocation, OutboundMedia, OutboundMessage, OutboundPoll,
    Quoted, SendOutcome, ShownAs,
};
pub use quota::{Quota, Usage};
pub use secret::{Secret, SigningKey, SigningSecret};
pub use session::{Pairing, PairingMethod, Session, SessionState, SessionStatus};
pub use session_keys::{KeyChange, KeyTables};
pub use session_request::{
    Backfill, FoundContact, ReadMark, SessionAct, SessionRequest, TypingState,
};
pub use timestamp::Timestamp;
pub use token::{Scope, Token, TokenHash};
pub use webhook::{DeliveryOrder, DisabledReason, EventType, Webhook, WebhookStatus};
pub use whatsapp_id::WhatsAppId;
