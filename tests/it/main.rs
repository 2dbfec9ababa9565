//! Tests on real parts: a real nats-server, real SQLite files, real sockets, the real executable.

mod api;
mod bus;
mod egress;
mod pipeline;
mod replay;
mod snippets;
mod support;
mod tidy;
mod whatsapp;
