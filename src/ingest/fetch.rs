//! Files to send, fetched from elsewhere.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::model::ClientId;

/// A file from somewhere else.
pub struct Fetched {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// What its server says it is, like `image/jpeg; a=b`; empty when it does not say.
    pub content_type: String,
}

/// A file, or why it cannot be fetched.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, String>> + Send>>;

/// Gets the file behind a client's URL. The node gives it, since this room may not use `egress`.
pub type Fetch = Arc<dyn Fn(ClientId, String) -> Fetching + Send + Sync>;
