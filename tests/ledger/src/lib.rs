//! The books of a run, and what must hold between them.
//!
//! A run of whole processes, faults among them, is judged by what can be seen from outside:
//! [`Ledgers`] holds what was **offered** and **accepted** (the publish was acknowledged), every
//! **sighting** at an endpoint, what the audit has **recorded** in the end, the **dead** letters
//! with their reasons, and the **faults**. `invariants` are functions from the books to what is
//! wrong with them, and `windows` judges arrivals over any stretch of time. [`Summary`] is the one
//! line that every run prints.
//!
//! There is no IO here and no clock: times are microseconds since whatever moment the run counts
//! from, the same for all books. Whoever fills the books (tests from sockets and SQLite, the bench
//! from its sink) comes to the same judgement.

mod books;
pub mod invariants;
mod summary;
pub mod windows;

pub use books::{Accepted, Dead, Fate, Fault, Ledgers, Recorded, Sighting, fingerprint};
pub use invariants::Violation;
pub use summary::Summary;
