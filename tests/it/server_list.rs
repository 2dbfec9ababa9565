//! `nats.url` with several servers.

use tokio::net::TcpListener;
use wahook::bus::Bus;

use crate::support::{nats::NatsServer, process::free_port};

/// The addresses that stand in front of the one that works.
async fn connects_past(broken: &[String]) -> bool {
    let nats = NatsServer::start().await;
    let mut config = nats.config();
    config.nats.connect_timeout = std::time::Duration::from_secs(1);
    let mut servers = broken.to_vec();
    servers.push(config.nats.url.clone());
    config.nats.url = servers.join(",");
    Bus::connect(&config.nats, &config.bus, "list")
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_connects_when_only_one_of_the_listed_servers_answers() {
    let dead = format!("nats://127.0.0.1:{}", free_port());
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = silent
        .local_addr()
        .map(|at| format!("nats://{at}"))
        .expect("bound");
    let unknown = "nats://no-such-host.invalid:4222".to_owned();
    for broken in [
        vec![],
        vec![dead.clone()],
        vec![silent.clone()],
        vec![unknown.clone()],
        vec![dead, silent, unknown],
    ] {
        assert!(connects_past(&broken).await, "{broken:?}");
    }
}
