//! Logins that WhatsApp refuses: a session's keys survive all but a log-out.

use std::path::PathBuf;

use serde_json::{Value, json};
use whatsapp_sim::{Device, Server};

use super::{PHONE, STEP_MAX, link, when};
use crate::support::app::{App, Client, eventually};

struct Session {
    id: String,
    device: Device,
    keys: PathBuf,
}

async fn linked(app: &App, client: &Client, server: &Server, phone: &str) -> Session {
    let (id, device) = link(client, server, json!({}), phone).await;
    let keys = app.data.path().join("sessions").join(format!("{id}.db"));
    Session { id, device, keys }
}

fn reason(session: &Value) -> &str {
    session["reason"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn session_keeps_its_keys_and_comes_back_when_its_login_is_refused() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let codes = [400, 409, 413, 418, 429, 501, 502, 504].map(Some);
    let mut sessions = Vec::new();
    for (number, code) in codes.into_iter().chain([None]).enumerate() {
        let phone = format!("49151000000{number:02}");
        sessions.push((code, linked(&app, &client, &server, &phone).await));
    }

    for (code, session) in &sessions {
        session.device.refuse(*code);
    }
    for (code, session) in &sessions {
        let refused = when(&client, &session.id, "refused").await;
        let reason = reason(&refused);
        assert!(reason.contains("the keys are kept"), "{code:?}: {reason}");
        assert!(session.keys.exists(), "{code:?}");
    }
    for (code, session) in &sessions {
        let online = session.device.wait_online(2, STEP_MAX).await;
        online.unwrap_or_else(|error| panic!("{code:?}: {error}"));
        when(&client, &session.id, "connected").await;
        assert!(session.keys.exists(), "{code:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_keeps_its_keys_when_it_is_banned_without_a_term() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let session = linked(&app, &client, &server, PHONE).await;

    session.device.refuse(Some(402));
    let banned = when(&client, &session.id, "banned").await;
    assert!(reason(&banned).contains("restart"), "{banned}");
    assert!(session.keys.exists());

    let path = format!("/api/sessions/{}/restart", session.id);
    assert_eq!(client.call("POST", &path, None).await.0, 202);
    when(&client, &session.id, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_loses_its_keys_when_whatsapp_logs_it_out() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let session = linked(&app, &client, &server, PHONE).await;

    session.device.refuse(Some(401));
    when(&client, &session.id, "logged_out").await;
    eventually("the keys are erased", async || {
        (!session.keys.exists()).then_some(())
    })
    .await;
}
