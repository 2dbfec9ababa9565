//! Waits for a signal, then drains within one deadline.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, timeout_at},
};

use super::roles::Node;
use crate::config::Config;

/// SIGTERM and SIGINT. They are caught before the first role starts.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("catching SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("catching SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs until a signal, or until a task ends early whose kind stops the node; then drains.
pub(super) async fn run(
    node: Node,
    mut signals: Signals,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let failed = tokio::select! {
        () = signals.next() => false,
        // The task has logged why.
        _ = node.tasks.failed() => true,
    };
    // A node that lost a task starts nothing more, because it may not be able to settle it.
    let delay = if failed {
        Duration::ZERO
    } else {
        config.node.drain_delay
    };
    tracing::info!(tasks = node.tasks.len(), "draining");
    let drained = tokio::select! {
        drained = drain(node, delay, config.node.drain_deadline) => drained,
        () = signals.next() => {
            tracing::warn!("second signal: exiting at once");
            false
        }
    };
    Ok(if drained && !failed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether all ended in time.
async fn drain(node: Node, delay: Duration, time: Duration) -> bool {
    node.readiness.drain();
    sleep(delay).await;
    let deadline = Instant::now() + time;
    node.cancel.cancel();
    let tasks = timeout_at(deadline, node.tasks.wait()).await.is_ok();
    if !tasks {
        tracing::error!(
            tasks = node.tasks.len(),
            "drain deadline passed: unsettled messages will be redelivered"
        );
    }
    // NAKs must reach the server, or those messages are redelivered only after `bus.ack_wait`.
    let flushed = timeout_at(deadline, node.bus.flush()).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("the last acknowledgements may not have reached NATS");
    }
    node.admin_cancel.cancel();
    let listeners = timeout_at(deadline, node.listeners.wait()).await.is_ok();
    if !listeners {
        tracing::error!("drain deadline passed: requests to the API were cut");
    }
    tasks && listeners
}
