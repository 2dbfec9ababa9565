//! What one endpoint gets on this node: its rate, its requests in flight, its breaker.
//!
//! `endpoint` holds the state of one webhook's endpoint and survives a change of its settings,
//! `acquire` gives out permits, `slots` chooses when a parked message comes back, `hold` tells how
//! long one would stay, `pacing` is the arithmetic of all three, and `map` keeps the limiters in
//! use.
//!
//! While an endpoint fails, slots are as far apart as its rate says, and no further: how long a
//! failure takes says nothing of the time after it. While it answers slowly they are as far apart
//! as its answers allow. `backlog` remembers what is parked further ahead than that needs once the
//! endpoint is quick again, so that it can be brought forward.

mod acquire;
mod backlog;
mod endpoint;
mod hold;
mod map;
mod pacing;
mod permit;
mod slots;

use std::time::Instant;

pub(in crate::deliver) use self::{
    backlog::ParkedMessage,
    endpoint::{AttemptResult, EndpointLimiter},
    map::EndpointLimiters,
    permit::SendPermit,
    slots::Postponed,
};

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
