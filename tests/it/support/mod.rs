//! Real parts for tests: servers on free ports, ended by the test that started them.

pub(crate) mod app;
pub(crate) mod cassandra;
pub(crate) mod nats;
pub(crate) mod receiver;
pub(crate) mod troubled;
