//! Tests on real parts: a real nats-server, real SQLite files, real sockets, the real executable.

#![cfg_attr(
    not(feature = "whatsapp"),
    allow(dead_code, reason = "parts of `support` are for tests with the client")
)]

mod api;
mod bus;
mod chat;
mod clock;
mod cluster;
mod deploy;
mod dev;
mod drain;
mod egress;
mod fresh_webhooks;
mod hung_server;
mod managed;
#[cfg(feature = "whatsapp")]
mod operations;
mod page;
mod pipeline;
mod quotas;
mod readiness;
mod receivers;
mod remade_streams;
mod repartition;
mod replay;
mod secrets;
mod server_list;
mod snippets;
mod storage;
mod store;
mod support;
#[cfg(feature = "whatsapp")]
mod tasks;
mod tidy;
#[cfg(feature = "whatsapp")]
mod whatsapp;
#[cfg(not(feature = "whatsapp"))]
mod without_whatsapp;
