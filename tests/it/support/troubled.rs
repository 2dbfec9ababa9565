//! Cassandra behind a proxy that can be told to fail: by the driver's own authors, so that it
//! speaks the protocol.

use std::net::SocketAddr;

use scylla_proxy::{
    Condition, Node, Proxy, RequestOpcode, RequestReaction, RequestRule, RunningProxy,
    ShardAwareness,
};
use tokio::net::TcpStream;

use super::{app::eventually, process::free_port};

/// The proxy; while it is stopped, connections are refused.
pub(crate) struct Troubled {
    real: SocketAddr,
    address: SocketAddr,
    running: Option<RunningProxy>,
}

impl Troubled {
    pub(crate) async fn before(port: u16) -> Self {
        let mut proxy = Self::stopped(port);
        proxy.start().await;
        proxy
    }

    /// One that is still to be started.
    pub(crate) fn stopped(port: u16) -> Self {
        let address = ([127, 0, 0, 1], free_port()).into();
        Self {
            real: ([127, 0, 0, 1], port).into(),
            address,
            running: None,
        }
    }

    pub(crate) fn node(&self) -> String {
        self.address.to_string()
    }

    /// The node is back.
    pub(crate) async fn start(&mut self) {
        let node = Node::new(self.real, self.address, ShardAwareness::Unaware, None, None);
        self.running = Some(Proxy::new([node]).run().await.expect("the port is free"));
    }

    /// The node is gone, its connections with it.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // In a task of its own: it reports the connections that it cut, and in 0.0.8 may panic
            // over them.
            let _ = tokio::spawn(running.finish()).await;
        }
        eventually("the proxy is gone", async || {
            TcpStream::connect(self.address)
                .await
                .is_err()
                .then_some(())
        })
        .await;
    }

    /// What happens to the next `times` prepared statements, from now on.
    pub(crate) fn next_executes(&mut self, times: usize, reaction: RequestReaction) {
        let execute = Condition::RequestOpcode(RequestOpcode::Execute);
        let rule = RequestRule(execute.and(Condition::TrueForLimitedTimes(times)), reaction);
        self.rules(Some(vec![rule]));
    }

    /// What happens to those that come with this text in their values.
    pub(crate) fn executes_with(&mut self, text: &str, reaction: RequestReaction) {
        let execute = Condition::RequestOpcode(RequestOpcode::Execute);
        let with = Condition::BodyContainsCaseSensitive(text.as_bytes().into());
        self.rules(Some(vec![RequestRule(execute.and(with), reaction)]));
    }

    /// All is well again.
    pub(crate) fn heal(&mut self) {
        self.rules(None);
    }

    fn rules(&mut self, rules: Option<Vec<RequestRule>>) {
        let running = self.running.as_mut().expect("it runs");
        running.running_nodes[0].change_request_rules(rules);
    }
}
