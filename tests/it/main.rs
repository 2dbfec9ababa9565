//! Tests on real parts: a real nats-server, real SQLite files, real sockets, the real executable.

mod bus;
mod pipeline;
mod support;
