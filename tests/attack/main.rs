//! One tenant, one endpoint or one peer without a token attacks; another tenant's deliveries and
//! API calls are watched. The real executable on a real nats-server and SQLite, all on loopback.
//!
//! Each attack prints one line of JSON: the victim's figures before and under the attack, what
//! the attacker was answered, and the most memory that the process had.
//!
//! What is promised at any speed is always judged: nothing of the victim's lost or refused, no
//! panic, no server error but 503, the attacker's token revoked. Times and memory are judged where
//! `ATTACK_WAHOOK` names an optimised build, one attack after the other (`make attack`).
//! `ATTACK_SECONDS` sets how long each lasts, `ATTACK_SEED` draws the same requests again.

mod bodies;
mod endpoint;
mod endpoints;
mod lab;
mod peers;
mod report;
mod requests;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the integration tests, which use the rest"
)]
mod support;
mod tenants;
mod victim;
