//! The stand-in as a program: it prints where it is, and does what it is told by HTTP.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use whatsapp_sim::{Contact, Device, Server, content};

/// How long a device may take to be online again before it is written to.
const ONLINE_MAX: Duration = Duration::from_secs(20);

/// A stand-in WhatsApp server for demos and tests. It never talks to WhatsApp.
#[derive(Parser)]
struct Cli {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the authority of the media server is written to, as PEM.
    #[arg(long)]
    ca_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    phone: String,
    qr: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    phone: String,
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: String,
    from: String,
    name: String,
    text: String,
    /// Base64 of an image; the text is its caption then.
    image: Option<String>,
    group: Option<String>,
}

struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": format!("{:#}", self.0)})),
        )
            .into_response()
    }
}

/// The server, and who has written so far: somebody who writes again is the same person.
#[derive(Clone)]
struct Control {
    server: Server,
    contacts: Arc<tokio::sync::Mutex<HashMap<String, Contact>>>,
}

type Answer = Result<Json<Value>, Failure>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let server = Server::bind(cli.listen).await?;
    std::fs::write(&cli.ca_file, server.ca_pem())
        .with_context(|| format!("writing {}", cli.ca_file.display()))?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let control = format!("http://{}", listener.local_addr()?);
    println!(
        "{}",
        json!({"url": server.url(), "media_host": server.media_host(), "control": control})
    );
    let router = Router::new()
        .route("/scan", post(scan))
        .route("/code", post(code))
        .route("/messages", post(send))
        .route("/devices", get(devices))
        .with_state(Control {
            server,
            contacts: Arc::default(),
        });
    axum::serve(listener, router).await?;
    Ok(())
}

fn linked(device: &Device) -> Json<Value> {
    Json(json!({"phone": device.number(), "device": device.id()}))
}

async fn scan(State(Control { server, .. }): State<Control>, Json(scan): Json<Scan>) -> Answer {
    Ok(linked(&server.phone(&scan.phone).scan(&scan.qr).await?))
}

async fn code(State(Control { server, .. }): State<Control>, Json(code): Json<Code>) -> Answer {
    Ok(linked(
        &server.phone(&code.phone).enter_code(&code.code).await?,
    ))
}

async fn send(
    State(Control { server, contacts }): State<Control>,
    Json(send): Json<Send>,
) -> Answer {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let found = server
        .devices()
        .into_iter()
        .find(|device| device.number() == send.to);
    let device = found.context("no device is linked to that number")?;
    device.wait_online(0, ONLINE_MAX).await?;
    let message = match &send.image {
        Some(image) => server.image(&BASE64_STANDARD.decode(image)?, &send.text)?,
        None => content::text(&send.text),
    };
    let mut contacts = contacts.lock().await;
    let contact = contacts
        .entry(send.from.clone())
        .or_insert_with(|| server.contact(&send.from, &send.name));
    let id = match &send.group {
        Some(group) => contact.send_group(&device, group, message).await?,
        None => contact.send(&device, message).await?,
    };
    Ok(Json(json!({"id": id})))
}

async fn devices(State(Control { server, .. }): State<Control>) -> Json<Value> {
    let show = |device: Device| {
        json!({
            "phone": device.number(), "device": device.id(), "online": device.is_online(),
            "logins": device.logins(), "pending": device.pending(), "acked": device.acked(),
        })
    };
    Json(server.devices().into_iter().map(show).collect())
}
