//! Tests on real parts: a real nats-server, real SQLite files, real sockets, the real executable.

mod api;
mod bus;
mod chat;
mod drain;
mod egress;
mod operations;
mod pipeline;
mod repartition;
mod replay;
mod secrets;
mod server_list;
mod snippets;
mod storage;
mod store;
mod support;
mod tasks;
mod tidy;
mod whatsapp;
