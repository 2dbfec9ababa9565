//! Bytes to model and back: subjects, envelopes, webhook bodies and signatures.
//!
//! - [`subject`]: the NATS subjects. Ids are valid tokens by construction. WhatsApp's message ids
//!   are not, so they appear only as a hash.
//! - Envelopes are MessagePack maps with named fields after one version byte, so that a newer node
//!   can add a field and an older one still reads the rest. Decoding never panics.
//! - [`delivery_body`]: the JSON that customers receive, in the format of their webhook. A delivery
//!   holds its body once it is built, so all attempts send the same bytes.
//! - [`Keyring`]: secrets are stored sealed, each bound to its place. [`encode_webhook`] is the
//!   only way to store a webhook.
//! - [`KeyRecord`]: what the log of a session's keys is made of, sealed like secrets.
//! - [`encode_opaque_id`]: ids that clients return unread and unchanged.
//! - [`request_headers`]: [Standard Webhooks](https://www.standardwebhooks.com), `v1` HMAC-SHA256
//!   and `v1a` ed25519.
//!
//! Text that people wrote goes into bodies only, never into NATS headers, because async-nats panics
//! on line breaks in headers.

mod body;
mod envelope;
mod key_record;
mod mac;
mod opaque_id;
mod secret_box;
mod signature;
pub mod subject;
mod vcard;
mod webhook_codec;

pub use body::{
    BODY_BYTES_MAX, BODY_BYTES_MAX_LEAST, BodySummary, ENVELOPE_BYTES_MAX, MESSAGE_BYTES_MAX,
    bounded_json, cut_message, delivery_body, summarize_body, webhook_body,
};
pub use envelope::{
    DeadLetter, Error, decode_attempts, decode_dead_letter, decode_delivery, decode_message,
    encode_attempts, encode_dead_letter, encode_delivery, encode_message,
};
pub use key_record::{
    KeyEntry, KeyRecord, KeyRecordError, decode_key_record, decode_key_value, encode_key_record,
    encode_key_value,
};
pub use mac::{mac, verify_mac};
pub use opaque_id::{decode_opaque_id, encode_opaque_id};
pub use secret_box::{Keyring, KeyringError, SealError};
pub use signature::{new_signing_key, new_signing_secret, request_headers};
pub use subject::{dedupe_id, message_dedupe_id, partition};
pub use vcard::{CARD_BYTES_MAX, card_phones, contact_card, shorten_card};
pub use webhook_codec::{
    SealedWith, WebhookCodecError, decode_webhook, encode_webhook, sealed_with,
};
