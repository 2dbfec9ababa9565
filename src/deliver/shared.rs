//! What all partitions of a node share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{health::Health, notices::Notices, places::Places, results::Settled, taken_up::Memory};
use crate::{
    bus::{Bus, Membership},
    config, egress,
    tasks::Tasks,
};

/// Whether new messages may be taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backpressure {
    /// Retries and chat queues have room.
    Open,
    /// They have none: a failed message could not be stored.
    Closed,
}

/// Who had a partition before this node. Another node may have used up what an endpoint's rate
/// allows, so the limiters start without a burst after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastOwner {
    /// No other node had it lately.
    Nobody,
    /// Another node may have had it a moment ago.
    AnotherNode,
}

/// What all partitions of a node share.
pub(super) struct Shared {
    pub(super) bus: Bus,
    pub(super) notices: Arc<Notices>,
    pub(super) egress: egress::Client,
    pub(super) deliver: config::Deliver,
    /// Where finished attempts go.
    pub(super) results: mpsc::Sender<Settled>,
    /// After how long without an ack a message is handed out again.
    pub(super) ack_wait: Duration,
    pub(super) membership: Membership,
    /// Requests in flight on this node.
    pub(super) places: Arc<Places>,
    /// Bytes of the messages that this node has taken up.
    pub(super) memory: Arc<Memory>,
    pub(super) tasks: Tasks,
    pub(super) health: Health,
    /// Whether more retries and more queued messages may be stored.
    pub(super) backpressure: watch::Sender<Backpressure>,
}
