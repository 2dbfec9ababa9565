//! Real parts for tests: servers on free ports, ended by the test that started them.

pub(crate) mod app;
pub(crate) mod cassandra;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod dev;
pub(crate) mod nats;
mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod troubled;
