//! Real WhatsApp clients against the stand-in server, through the real executable.

mod backfill;
mod doctor;
mod files;
mod identity;
mod key_store;
mod kills;
mod kinds;
mod lifecycle;
mod liveness;
mod media;
mod number_forms;
mod order;
mod panics;
mod receivers;
mod refusals;
mod safety;
mod sending;
mod sending_kinds;
mod sending_refused;
mod shared_keys;
mod sources;
mod unavailable;
mod votes;

use std::time::Duration;

use serde_json::{Value, json};
use whatsapp_sim::{Device, Server};

use crate::support::{
    app::{App, Client, eventually},
    receiver::Receiver,
};

pub(crate) const PHONE: &str = "4915112345678";
/// How long one step of a session may take: a login, a message, its acknowledgement.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(30);

/// A linked session, with what is around it.
struct Linked {
    server: Server,
    app: App,
    client: Client,
    session: String,
    device: Device,
}

/// Asks for a session and scans its code.
pub(crate) async fn link(
    client: &Client,
    server: &Server,
    body: Value,
    phone: &str,
) -> (String, Device) {
    let (status, session) = client.call("POST", "/api/sessions", Some(body)).await;
    assert_eq!(status, 201, "{session}");
    let id = session["id"].as_str().expect("an id").to_owned();
    let code = qr_content(client, &id).await;
    let device = server
        .phone(phone)
        .scan(&code)
        .await
        .expect("the phone links it");
    when(client, &id, "connected").await;
    device.wait_online(1, STEP_MAX).await.expect("online");
    (id, device)
}

/// What the QR code says.
async fn qr_content(client: &Client, id: &str) -> String {
    eventually("a QR code is shown", async || {
        let (status, content) = client
            .text(&format!("/api/sessions/{id}/qr?format=raw"))
            .await;
        (status == 200).then_some(content)
    })
    .await
}

pub(crate) async fn when(client: &Client, id: &str, state: &str) -> Value {
    eventually(&format!("the session is {state}"), async || {
        let session = client.get(&format!("/api/sessions/{id}")).await;
        (session["state"] == state).then_some(session)
    })
    .await
}

impl Linked {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let server = Server::start().await.expect("the stand-in starts");
        let app = App::on_whatsapp(&server, settings).await;
        let client = app.client(1).await;
        let (session, device) = link(&client, &server, json!({}), PHONE).await;
        Self {
            server,
            app,
            client,
            session,
            device,
        }
    }

    async fn webhook(&self) -> (Value, Receiver) {
        let receiver = Receiver::answering(&[200]).await;
        (
            self.client.register(PHONE, &receiver.url("/hook")).await,
            receiver,
        )
    }
}

/// The session's client ends, and another takes its place.
async fn restart(linked: &Linked) {
    let logins = linked.device.logins();
    let path = format!("/api/sessions/{}/restart", linked.session);
    let (status, answer) = linked.client.call("POST", &path, None).await;
    assert!((200..300).contains(&status), "{answer}");
    let online = linked.device.wait_online(logins + 1, STEP_MAX).await;
    online.expect("online again");
}
