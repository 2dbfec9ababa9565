//! Whole processes under load, and faults: the real executable once per role, a real nats-server,
//! SQLite, and endpoints in this process. What was seen is judged by the books of `tests/ledger`.
//!
//! Each scenario prints one line of JSON, whatever becomes of it. `CHAOS_SEED` draws the same
//! chances again; `CHAOS_KILLS` sets how often the first scenario kills. `CHAOS_LOGS` names a
//! folder that keeps the logs of all processes.

mod books;
mod farm;
mod fleet;
mod load;
mod run;
mod scenarios;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the integration tests, which use the rest"
)]
mod support;
