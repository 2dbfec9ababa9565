//! Three servers as `nats/cluster.conf` sets them up, and each role as a process of its own under
//! the user that the file gives it.

mod elections;
#[cfg(feature = "whatsapp")]
mod features;
mod permissions;
mod watches;

use std::fs;

use crate::support::{app::App, process::Node};

/// A process with this role, under the role's user, that logs to a file of its own.
async fn role(app: &App, role: &str) -> Node {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(log_of(app, role))
        .expect("a writable folder");
    let (mut node, _) = app.second_logging(role, &[], log.into());
    node.ready().await;
    node
}

fn log_of(app: &App, role: &str) -> std::path::PathBuf {
    app.data.path().join(format!("{role}.log"))
}
