//! What a job needs.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{bus::Bus, model::Timestamp, store::Store};

/// Shared by all jobs of this process.
pub(super) struct Context {
    pub(super) bus: Bus,
    pub(super) store: Arc<dyn Store>,
    pub(super) cancel: CancellationToken,
    /// This process, for operators who read the leases.
    pub(super) node: String,
}

impl Context {
    /// Under a name that no other has.
    pub(super) fn new(bus: Bus, store: Arc<dyn Store>, cancel: CancellationToken) -> Self {
        Self {
            bus,
            store,
            cancel,
            node: Uuid::now_v7().to_string(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.bus.now()
    }
}
