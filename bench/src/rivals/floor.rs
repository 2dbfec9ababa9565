//! The floor: pull → POST → acknowledge on a JetStream consumer, without audit, signature, retry or
//! limit. What is above it is what wahook's promises cost.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::Context;
use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, PullConsumer, pull},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use bytes::Bytes;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};
use wahook::wire::webhook_body;

use crate::{
    process::{Nats, START_MAX, Sink, http_client, nats_server, spawn},
    system::{Plan, Sent, System, open_loop},
    usage::{Part, Role},
    webhooks::{Endpoint, message},
};

const STREAM: &str = "FLOOR";
const PULL: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The same `nats-server` and sink as wahook's, and this program once more as the sender.
pub(crate) struct Floor {
    bus: jetstream::Context,
    nats: Nats,
    sink: Sink,
    in_flight: u32,
    sender: Option<Child>,
    _data: TempDir,
}

impl Floor {
    pub(crate) async fn prepare(in_flight: u32) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let nats = Nats::start(data.path())?;
        let sink = Sink::start().await?;
        let bus = connect(&nats.url()).await?;
        // As WA_MSG: on disk, acknowledged once it is stored, gone when it is settled.
        bus.create_stream(Config {
            name: STREAM.to_owned(),
            subjects: vec!["floor.*".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: 1 << 30,
            ..Config::default()
        })
        .await?;
        Ok(Self {
            bus,
            nats,
            sink,
            in_flight,
            sender: None,
            _data: data,
        })
    }
}

impl System for Floor {
    fn sink_port(&self) -> u16 {
        self.sink.port
    }

    fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let sender = self
            .sender
            .as_ref()
            .map(|sender| sender.id().context("the floor's sender ended"))
            .transpose()?;
        let sender = sender.map(|id| Part {
            name: "sender",
            role: Role::Sender,
            id,
        });
        let others = [
            Part {
                name: "nats-server",
                role: Role::Store,
                id: self.nats.id()?,
            },
            Part {
                name: "publisher",
                role: Role::Harness,
                id: std::process::id(),
            },
            Part {
                name: "sink",
                role: Role::Harness,
                id: self.sink.id()?,
            },
        ];
        Ok(sender.into_iter().chain(others).collect())
    }

    /// It knows none: the subject says where a message goes, and all endpoints are well.
    async fn register(&self, _: Vec<Endpoint>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn deliver(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        let port = self.sink.port.to_string();
        let in_flight = self.in_flight.to_string();
        command
            .args(["floor", &self.nats.url(), &port, &in_flight])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let sender = self.sender.insert(spawn(&mut command)?);
        let mut lines =
            BufReader::new(sender.stdout.take().context("the sender's output")?).lines();
        timeout(START_MAX, lines.next_line())
            .await??
            .context("the floor's sender ended")?;
        Ok(())
    }

    async fn publish(&self, plan: Plan) -> anyhow::Result<Vec<Sent>> {
        open_loop(plan, |number, endpoint| {
            let bus = self.bus.clone();
            let body = webhook_body(&message(number, endpoint));
            async move {
                match bus.publish(format!("floor.{endpoint}"), body).await {
                    Ok(acked) => acked.await.is_ok(),
                    Err(_) => false,
                }
            }
        })
        .await
    }

    async fn newest_recorded(&self, _: u32) -> anyhow::Result<Vec<u64>> {
        Ok(Vec::new())
    }

    fn versions(&self) -> anyhow::Result<String> {
        let server = std::process::Command::new(nats_server()?)
            .arg("--version")
            .output()?;
        Ok(String::from_utf8_lossy(&server.stdout).trim().to_owned())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(mut sender) = self.sender.take() {
            sender.kill().await?;
        }
        self.sink.stop().await?;
        self.nats.stop().await
    }
}

async fn connect(url: &str) -> anyhow::Result<jetstream::Context> {
    let client = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(url)
        .await?;
    timeout(START_MAX, client.flush())
        .await
        .context("nats-server did not answer")??;
    Ok(jetstream::new(client))
}

/// The sender's process: says one line when it is ready, and sends until it is killed.
pub(crate) async fn send(nats: &str, sink_port: u16, in_flight: usize) -> anyhow::Result<()> {
    let bus = connect(nats).await?;
    let pending = i64::try_from(in_flight + 2 * PULL)?;
    let config = pull::Config {
        durable_name: Some("floor".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(60),
        max_ack_pending: pending,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = bus.create_consumer_on_stream(config, STREAM).await?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(PULL)
        .messages()
        .await?;
    let http = http_client();
    let permits = Arc::new(Semaphore::new(in_flight));
    println!("ready");
    while let Some(message) = messages.next().await {
        let message = message?;
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let http = http.clone();
        tokio::spawn(async move {
            let endpoint = message.subject.rsplit('.').next().unwrap_or_default();
            let url = format!("http://127.0.0.1:{sink_port}/ok/{endpoint}");
            if post(&http, url, message.payload.clone()).await {
                // The next one tells of a lost acknowledgement by coming twice.
                let _ = message.ack_with(AckKind::Ack).await;
            }
            drop(permit);
        });
    }
    Ok(())
}

async fn post(http: &reqwest::Client, url: String, body: Bytes) -> bool {
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .timeout(TIMEOUT)
        .body(body);
    match request.send().await {
        Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
        Err(_) => false,
    }
}
