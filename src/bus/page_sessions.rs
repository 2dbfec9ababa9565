//! Sessions of the page that were signed out, so that no copy of their cookie counts any more.
//!
//! They are in the bucket of idempotency keys of sends: `api` may write there, and what is in it is
//! forgotten after a day, which is longer than a session of the page lasts.

use bytes::Bytes;
use uuid::Uuid;

use super::{Bus, Error};
use crate::wire::dedupe_id;

/// The name of a session that ended.
fn key(id: Uuid) -> String {
    dedupe_id(&["page session", &id.to_string()])
}

impl Bus {
    /// Notes that somebody signed out.
    pub async fn end_page_session(&self, id: Uuid) -> Result<(), Error> {
        let ended = Bytes::from_static(b"signed out");
        self.send_bucket().put(&key(id), &ended).await.map(drop)
    }

    /// Whether somebody signed out of this session. The server is asked each time, as for tokens.
    pub async fn has_page_session_ended(&self, id: Uuid) -> Result<bool, Error> {
        let ended = self.send_bucket().get(&key(id)).await?;
        Ok(ended.is_some())
    }
}
