//! What a WhatsApp message says, as wahook's kinds, text and metadata. Pure.
//!
//! `peel` opens the wrappers, `read` asks each reader in turn, and `other` keeps what can be told
//! of a kind without a name. Names of people stay as WhatsApp wrote them; the hook resolves them.

mod context_info;
mod interactive;
mod media;
mod model;
mod other;
mod peel;
mod plain;
mod poll;
mod read;
mod reply;
mod social;
mod target;
mod trade;

pub(super) use model::{Content, SealedVote, hex};
pub(super) use poll::{Asked, asked};
pub(super) use read::read;
pub(super) use target::Target;

#[cfg(test)]
mod tests;
