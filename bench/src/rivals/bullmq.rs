//! The rival of `bench/rivals/bullmq`: Node.js, BullMQ on Redis, the audit in PostgreSQL.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Mutex, OnceCell},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    process::{START_MAX, Sink, free_port, spawn},
    sink::number_of,
    system::{PUBLISHES_MAX, Pace, Plan, Sent, System},
    usage::{Part, Role},
    webhooks::{CONTENT_BYTES, Endpoint, KEY, client, phone},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals/bullmq");

/// How it is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Sender processes.
    pub(crate) workers: u32,
    /// Requests under way, over all of them.
    pub(crate) in_flight: u32,
    /// Audit rows of several attempts in one commit.
    pub(crate) is_batched: bool,
}

pub(crate) struct Bullmq {
    shape: Shape,
    sink: Sink,
    servers: Servers,
    publisher: Console,
    /// A second one, so that the audit can be read while the first one publishes.
    reader: OnceCell<Console>,
    webhooks: Mutex<Vec<Uuid>>,
    workers: Vec<Child>,
}

/// The script that runs Redis and PostgreSQL; both end when it does.
struct Servers {
    script: Child,
    redis: u32,
    postgres: u32,
    versions: String,
    env: [(&'static str, String); 2],
}

/// The publisher's program: one command a line to it, one answer a line from it.
struct Console {
    child: Child,
    talk: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Console {
    fn start(servers: &Servers) -> anyhow::Result<Self> {
        let mut child = spawn(node("publisher.mjs", servers).stdin(Stdio::piped()))?;
        let input = child.stdin.take().context("the publisher's input")?;
        let output = BufReader::new(child.stdout.take().context("the publisher's output")?).lines();
        Ok(Self {
            child,
            talk: Mutex::new((input, output)),
        })
    }

    async fn ask(&self, command: &Value) -> anyhow::Result<Value> {
        let (input, output) = &mut *self.talk.lock().await;
        input.write_all(format!("{command}\n").as_bytes()).await?;
        let line = output
            .next_line()
            .await?
            .context("the rival's publisher ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Servers {
    async fn start() -> anyhow::Result<Self> {
        let redis_port = free_port()?.to_string();
        let postgres_port = free_port()?.to_string();
        let mut command = Command::new(PathBuf::from(FOLDER).join("serve.sh"));
        command
            .args([&redis_port, &postgres_port])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Not killed on drop: it ends by itself, and both servers with it, when its input is
        // closed.
        let mut script = spawn(command.kill_on_drop(false))?;
        let mut lines =
            BufReader::new(script.stdout.take().context("the script's output")?).lines();
        let mut redis = 0;
        let mut postgres = 0;
        let mut versions = String::new();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                match line.split_once(' ') {
                    Some(("redis", id)) => redis = id.parse()?,
                    Some(("postgres", id)) => postgres = id.parse()?,
                    Some(("versions", text)) => text.clone_into(&mut versions),
                    _ => return anyhow::Ok(line == "ready"),
                }
            }
            Ok(false)
        };
        ensure!(
            timeout(START_MAX, ready).await??,
            "the rival does not start: `make bench-rivals` installs it"
        );
        let env = [("REDIS_PORT", redis_port), ("POSTGRES_PORT", postgres_port)];
        Ok(Self {
            script,
            redis,
            postgres,
            versions,
            env,
        })
    }
}

impl Bullmq {
    pub(crate) async fn prepare(shape: Shape) -> anyhow::Result<Self> {
        let sink = Sink::start().await?;
        let servers = Servers::start().await?;
        let publisher = Console::start(&servers)?;
        let reader = OnceCell::new();
        let webhooks = Mutex::default();
        Ok(Self {
            shape,
            sink,
            servers,
            publisher,
            reader,
            webhooks,
            workers: Vec::new(),
        })
    }
}

fn node(program: &str, servers: &Servers) -> Command {
    let mut command = Command::new("node");
    command
        .arg(program)
        .current_dir(FOLDER)
        .envs(servers.env.clone())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

impl System for Bullmq {
    fn sink_port(&self) -> u16 {
        self.sink.port
    }

    fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let id = |child: &Child| {
            child
                .id()
                .context("a part of the rival ended during the run")
        };
        let mut parts = Vec::new();
        for worker in &self.workers {
            parts.push(Part {
                name: "node worker",
                role: Role::Sender,
                id: id(worker)?,
            });
        }
        parts.push(Part {
            name: "redis",
            role: Role::Store,
            id: self.servers.redis,
        });
        parts.push(Part {
            name: "postgres",
            role: Role::Store,
            id: self.servers.postgres,
        });
        parts.push(Part {
            name: "publisher",
            role: Role::Harness,
            id: id(&self.publisher.child)?,
        });
        parts.push(Part {
            name: "sink",
            role: Role::Harness,
            id: self.sink.id()?,
        });
        Ok(parts)
    }

    async fn register(&self, endpoints: Vec<Endpoint>) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = endpoints.iter().map(|_| Uuid::now_v7()).collect();
        let webhook = |(endpoint, id): (Endpoint, &Uuid)| {
            json!({
                "id": id,
                "client_id": client(),
                "phone": phone(endpoint.number).as_str(),
                "url": endpoint.manner.url(self.sink.port, endpoint.number),
                "secret": KEY.map(|byte| format!("{byte:02x}")).concat(),
            })
        };
        let webhooks: Vec<Value> = endpoints.into_iter().zip(&ids).map(webhook).collect();
        self.publisher
            .ask(&json!({"do": "register", "webhooks": webhooks}))
            .await?;
        *self.webhooks.lock().await = ids;
        Ok(())
    }

    async fn deliver(&mut self) -> anyhow::Result<()> {
        let concurrency = (self.shape.in_flight / self.shape.workers).to_string();
        let audit = if self.shape.is_batched {
            "batched"
        } else {
            "plain"
        };
        for _ in 0..self.shape.workers {
            let mut command = node("worker.mjs", &self.servers);
            let mut worker = spawn(command.env("CONCURRENCY", &concurrency).env("AUDIT", audit))?;
            let mut lines =
                BufReader::new(worker.stdout.take().context("the worker's output")?).lines();
            timeout(START_MAX, lines.next_line())
                .await??
                .context("the rival's worker ended")?;
            self.workers.push(worker);
        }
        Ok(())
    }

    async fn publish(&self, plan: Plan) -> anyhow::Result<Vec<Sent>> {
        let rate = match plan.pace {
            Pace::Flat => None,
            Pace::Rate(rate) => Some(rate),
        };
        let command = json!({
            "do": "publish",
            "first": plan.first,
            "messages": plan.messages,
            "rate": rate,
            "in_flight": PUBLISHES_MAX,
            "webhooks": plan.endpoints,
            "content": "x".repeat(CONTENT_BYTES),
        });
        let answer = self.publisher.ask(&command).await?;
        let times: Vec<(u64, u64)> = serde_json::from_value(answer["times"].clone())?;
        Ok(times
            .into_iter()
            .map(|(due, acked)| Sent {
                due,
                acked: Some(acked),
            })
            .collect())
    }

    async fn newest_recorded(&self, endpoint: u32) -> anyhow::Result<Vec<u64>> {
        let reader = self
            .reader
            .get_or_try_init(async || Console::start(&self.servers))
            .await?;
        let webhook = self.webhooks.lock().await[endpoint as usize];
        let answer = reader
            .ask(&json!({"do": "recorded", "webhook_id": webhook}))
            .await?;
        let ids: Vec<String> = serde_json::from_value(answer["message_ids"].clone())?;
        Ok(ids.iter().filter_map(|id| number_of(id)).collect())
    }

    fn versions(&self) -> anyhow::Result<String> {
        let lock: Value = serde_json::from_str(&std::fs::read_to_string(format!(
            "{FOLDER}/package-lock.json"
        ))?)?;
        let of = |name: &str| {
            format!(
                "{name} {}",
                lock["packages"][format!("node_modules/{name}")]["version"]
                    .as_str()
                    .unwrap_or("?")
            )
        };
        let node = std::process::Command::new("node")
            .arg("--version")
            .output()?;
        let node = String::from_utf8_lossy(&node.stdout).trim().to_owned();
        Ok(format!(
            "{}, {}, {}, Node.js {node}, {}",
            of("bullmq"),
            of("axios"),
            of("pg"),
            self.servers.versions
        ))
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        for mut child in self
            .workers
            .drain(..)
            .chain([self.publisher.child])
            .chain(self.reader.into_inner().map(|reader| reader.child))
        {
            child.kill().await?;
        }
        self.sink.stop().await?;
        drop(self.servers.script.stdin.take());
        timeout(START_MAX, self.servers.script.wait())
            .await
            .context("the rival's servers did not end")??;
        Ok(())
    }
}
