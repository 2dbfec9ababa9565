//! Looking over the server's shoulder, at the instant at which something happens.

use std::{future::Future, pin::Pin, sync::Arc};

use wacore_binary::NodeRef;

use crate::{Server, keys::attr};

/// What a watcher is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A message was written to a device's connection.
    Sent {
        /// Of the message.
        id: String,
    },
    /// A device says that it has these messages. The server has not acted on it yet.
    Receipt {
        /// Of the messages.
        ids: Vec<String>,
    },
}

/// Whether the server goes on; if not, it never read what was seen.
pub type Watching = Pin<Box<dyn Future<Output = bool> + Send>>;

pub(crate) type Watcher = Arc<dyn Fn(Seen) -> Watching + Send + Sync>;

impl Server {
    /// Calls this for all that is seen from now on; the connection waits for its answer.
    pub fn watch(&self, watcher: impl Fn(Seen) -> Watching + Send + Sync + 'static) {
        *self
            .0
            .watcher
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(watcher));
    }

    pub(crate) async fn seen(&self, seen: Seen) -> bool {
        let watcher = self
            .0
            .watcher
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        match watcher {
            Some(watcher) => watcher(seen).await,
            None => true,
        }
    }
}

/// The messages that a stanza from a device acknowledges.
pub(crate) fn acknowledged(stanza: &NodeRef<'_>) -> Option<Vec<String>> {
    let is_receipt = stanza.tag.as_ref() == "receipt" && attr(stanza, "type") != "retry";
    if !is_receipt && stanza.tag.as_ref() != "ack" {
        return None;
    }
    let mut ids = vec![attr(stanza, "id")];
    // Receipts of an offline batch come together.
    if let Some(list) = stanza.get_optional_child("list") {
        ids.extend(
            list.get_children_by_tag("item")
                .map(|item| attr(item, "id")),
        );
    }
    Some(ids)
}
