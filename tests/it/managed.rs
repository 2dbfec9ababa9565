//! NATS servers that others run: JetStream in another domain, behind a leaf node.

use crate::support::{
    app::{App, eventually},
    nats::{NatsServer, binary, start},
    process::free_port,
    receiver::Receiver,
};
use serde_json::json;

const PHONE: &str = "4915112345678";

/// A server with JetStream in the domain `hub`, which leaf nodes can join at this port.
async fn hub(leaf_port: u16) -> (NatsServer, tempfile::TempDir) {
    NatsServer::configured(&format!(
        "server_name: hub\n\
         max_payload: 2MB\n\
         jetstream {{ domain: hub, sync_interval: 100ms, max_memory_store: 256MB, \
         max_file_store: 20GB }}\n\
         leafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}\n"
    ))
    .await
}

/// A server without JetStream that passes on to the hub; its URL.
struct Leaf {
    url: String,
    _process: tokio::process::Child,
    _folder: tempfile::TempDir,
}

impl Leaf {
    fn start(leaf_port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("leaf.conf");
        let port = free_port();
        let configuration = format!(
            "server_name: leaf\n\
             listen: \"127.0.0.1:{port}\"\n\
             max_payload: 2MB\n\
             leafnodes {{ remotes: [{{ url: \"nats://127.0.0.1:{leaf_port}\" }}] }}\n"
        );
        std::fs::write(&file, configuration).expect("a writable folder");
        let mut command = tokio::process::Command::new(binary());
        command.arg("--config").arg(&file);
        Self {
            url: format!("nats://127.0.0.1:{port}"),
            _process: start(command),
            _folder: folder,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_leaf_works_on_the_streams_of_the_hub() {
    let leaf_port = free_port();
    let (hub, _folder) = hub(leaf_port).await;
    let leaf = Leaf::start(leaf_port);
    let settings = [
        ("NATS__URL", leaf.url.as_str()),
        ("NATS__JETSTREAM_DOMAIN", "hub"),
    ];
    let app = App::on_server(hub, &settings).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500, 200]).await;
    let webhook = client.register_ordered(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "delivered").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let pause = json!({"is_active": false});
    assert_eq!(client.call("PATCH", &path, Some(pause)).await.0, 200);
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "pending").await;
    let resume = json!({"is_active": true});
    assert_eq!(client.call("PATCH", &path, Some(resume)).await.0, 200);
    client.event_when(&webhook, "M2", "delivered").await;
    assert_eq!(receiver.received().len(), 3);
    let check = app.command(&["bus", "check"]).await;
    assert!(check.contains("as declared"), "{check}");
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_domain_a_leaf_has_no_jetstream() {
    let leaf_port = free_port();
    let (hub, _folder) = hub(leaf_port).await;
    let leaf = Leaf::start(leaf_port);
    let mut config = hub.config();
    config.nats.url = leaf.url.clone();
    let connect = async |config: &wahook::config::Config| {
        let bus = hub.connect_with(config).await;
        bus.check().await
    };
    assert!(connect(&config).await.is_err(), "no JetStream here");
    config.nats.jetstream_domain = Some("hub".to_owned());
    eventually("the leaf has joined", async || connect(&config).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_placed_where_the_settings_say() {
    let nats = NatsServer::start().await;
    let mut config = nats.config();
    config.bus.placement_tags = vec!["region:eu".to_owned()];
    let bus = nats.connect_with(&config).await;
    bus.apply().await.expect("applies");
    assert_eq!(bus.check().await.expect("answers"), []);
}
