//! Pure decisions. Time and chance come in as arguments, so every rule is a table that a test can
//! read.
//!
//! - [`verdict()`] with [`outcome_of_status`] and [`parse_retry_after`]: what follows an attempt.
//! - [`Limiter`] and [`KeyedLimiter`]: how often, by the generic cell rate algorithm of `governor`.
//! - [`Breaker`]: when to leave an endpoint alone for a while.
//! - [`owners()`]: which node of a fleet owns which partition.
//! - [`address`]: which URLs and addresses wahook ever calls.
//! - [`header`]: which headers a webhook may ask for.

pub mod address;
mod breaker;
pub mod header;
mod limiter;
mod owners;
mod verdict;

pub use breaker::{Admit, Breaker};
pub use limiter::{Clock, KeyedLimiter, Limiter};
pub use owners::owners;
pub use verdict::{
    Backoff, RETRY_AFTER_MAX, RetryPolicy, outcome_of_status, parse_retry_after, verdict,
};
