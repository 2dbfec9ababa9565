//! What a node does with the WhatsApp client, if it was built with the feature `whatsapp`.
//!
//! Without it there is no role `ingest`, and the API serves no media. All else works: messages come
//! through `POST /api/messages`, or from nodes that have the client.

#[cfg(feature = "whatsapp")]
mod client;
#[cfg(feature = "whatsapp")]
mod media;
#[cfg(not(feature = "whatsapp"))]
mod none;

#[cfg(feature = "whatsapp")]
pub(super) use client::start_ingest;
#[cfg(feature = "whatsapp")]
pub(super) use media::media_source;
#[cfg(not(feature = "whatsapp"))]
pub(super) use none::{media_source, start_ingest};

use super::cli::Role;

/// The roles of this build.
pub(super) fn roles() -> Vec<Role> {
    let mut all = vec![Role::Api, Role::Ingest, Role::Deliver, Role::Record];
    all.retain(|role| *role != Role::Ingest || cfg!(feature = "whatsapp"));
    all
}
