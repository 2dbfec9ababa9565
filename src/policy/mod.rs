//! Pure decisions. The time and random numbers are arguments, so a test can give each rule a table
//! of cases.
//!
//! - [`verdict()`] with [`outcome_of_status`] and [`parse_retry_after`]: what follows an attempt.
//! - [`Limiter`] and [`KeyedLimiter`]: how often something may happen.
//! - [`Turns`]: when something may happen that is not refused.
//! - [`Shares`]: how clients share what can run out.
//! - [`Breaker`]: when an endpoint gets no requests for a while.
//! - [`owners()`]: which node owns which partition.
//! - [`address`]: which URLs and addresses wahook calls.
//! - [`header`]: which headers a webhook may have.

pub mod address;
mod breaker;
pub mod header;
mod limiter;
mod owners;
mod retry_after;
mod shares;
mod turns;
mod verdict;

pub use breaker::{Admit, Breaker, OpenCause};
pub use limiter::{KeyedLimiter, Limiter, Rate, RateLimiters};
pub use owners::owners;
pub use retry_after::{RETRY_AFTER_MAX, parse_retry_after};
pub use shares::{Decision, Shares};
pub use turns::Turns;
pub use verdict::{Backoff, RetryPolicy, outcome_of_status, verdict};
