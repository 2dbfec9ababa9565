//! What a WhatsApp message says, as wahook's kinds, text and metadata. Pure.

mod context_info;
mod media;
mod model;
mod plain;
mod read;
mod reply;

pub(super) use model::Content;
pub(super) use read::read;

#[cfg(test)]
mod tests;
