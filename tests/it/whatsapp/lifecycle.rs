//! Linking, losing and ending sessions.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};
use whatsapp_sim::{Server, content};

use super::{Linked, PHONE, STEP_MAX, link, when};
use crate::support::app::{App, eventually, stays};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_can_be_seen_as_picture_and_text_by_its_client_alone() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;
    let (_, session) = client.call("POST", "/api/sessions", Some(json!({}))).await;
    let id = session["id"].as_str().expect("an id");
    assert_eq!(
        (&session["state"], &session["phone_number"]),
        (&json!("pairing"), &Value::Null)
    );
    let http = crate::support::app::http_client();
    for (format, kind, start) in [
        ("png", "image/png", &b"\x89PNG"[..]),
        ("svg", "image/svg+xml", b"<svg"),
        ("text", "text/plain; charset=utf-8", "█".as_bytes()),
    ] {
        let url = format!("{}/api/sessions/{id}/qr?format={format}", app.api);
        let answer = http
            .get(url)
            .bearer_auth(&client.token)
            .send()
            .await
            .expect("the API answers");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], kind);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(answer.bytes().await.expect("a body").starts_with(start));
    }
    for (method, path) in [
        ("GET", ""),
        ("GET", "/qr"),
        ("POST", "/restart"),
        ("DELETE", ""),
    ] {
        let (status, _) = stranger
            .call(method, &format!("/api/sessions/{id}{path}"), None)
            .await;
        assert_eq!(status, 404, "{method} {path}");
    }
    assert_eq!(stranger.get("/api/sessions").await["data"], json!([]));
    let reader = app.client_with(1, &["sessions:read"]).await;
    let (status, _) = reader
        .call("GET", &format!("/api/sessions/{id}/qr"), None)
        .await;
    assert_eq!(
        status, 403,
        "everybody who sees the code can link the account"
    );
    assert!(
        !client
            .get(&format!("/api/sessions/{id}"))
            .await
            .to_string()
            .contains("2@ref"),
        "no code in the view"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_linked_by_a_typed_code() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let (status, answer) = client
        .call("POST", "/api/sessions", Some(json!({"method": "code"})))
        .await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/phone_number"))
    );
    let body = json!({"method": "code", "phone_number": PHONE});
    let (status, session) = client.call("POST", "/api/sessions", Some(body)).await;
    assert_eq!(status, 201, "{session}");
    let id = session["id"].as_str().expect("an id");
    let path = format!("/api/sessions/{id}/pair-code");
    let (status, code) = client.call("POST", &path, Some(json!({}))).await;
    assert_eq!(status, 200, "{code}");
    let (_, again) = client.call("POST", &path, Some(json!({}))).await;
    assert_eq!(again, code, "one that waits is given again");
    let code = code["code"].as_str().expect("a code");
    let device = server
        .phone(PHONE)
        .enter_code(code)
        .await
        .expect("the phone links it");
    let session = when(&client, id, "connected").await;
    assert_eq!(
        (&session["phone_number"], device.number()),
        (&json!(PHONE), PHONE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_than_asked_for_is_unlinked_again() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let body = json!({"phone_number": PHONE});
    let (_, session) = client.call("POST", "/api/sessions", Some(body)).await;
    let code = super::qr_content(&client, session["id"].as_str().expect("an id")).await;
    // The device may be gone before the phone has said all it has to say.
    let _ = server.phone("4915199999999").scan(&code).await;
    let session = when(
        &client,
        session["id"].as_str().expect("an id"),
        "logged_out",
    )
    .await;
    assert!(
        session["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("another number")),
        "{session}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_comes_back_and_brings_what_was_missed() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact("4915200000001", "Alice");
    alice
        .send(&linked.device, content::text("before"))
        .await
        .expect("sent");
    receiver.wait_for(1).await;
    linked.device.cut();
    linked.device.wait_offline(STEP_MAX).await.expect("offline");
    let mut sent = Vec::new();
    for number in 0..500 {
        sent.push(
            alice
                .send(&linked.device, content::text(&format!("offline {number}")))
                .await
                .expect("sent"),
        );
    }
    let memory = linked.app.rss_bytes();
    linked.device.wait_online(2, STEP_MAX).await.expect("back");
    linked
        .device
        .wait_idle(STEP_MAX)
        .await
        .expect("all acknowledged");
    let received = receiver.wait_for(501).await;
    let grown = linked.app.rss_bytes().saturating_sub(memory);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");
    let mut ids: Vec<_> = received[1..]
        .iter()
        .map(|one| one.json()["message_id"].as_str().map(str::to_owned))
        .collect();
    let mut expected: Vec<_> = sent.into_iter().map(Some).collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected, "each once");
    linked.device.end_stream();
    linked
        .device
        .wait_online(3, STEP_MAX)
        .await
        .expect("back again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_is_shown_and_a_restart_brings_it_back() {
    let linked = Linked::start().await;
    let client = &linked.client;
    let device = &linked.device;
    let path = format!("/api/sessions/{}", linked.session);
    let restart = async || {
        let (status, _) = client.call("POST", &format!("{path}/restart"), None).await;
        assert_eq!(status, 202);
    };
    device.replace();
    when(client, &linked.session, "replaced").await;
    let logins = device.logins();
    // Long enough for several reconnects.
    let span = Duration::from_secs(3);
    stays(span, "it does not fight for its place", async || {
        device.logins() == logins
    })
    .await;
    restart().await;
    when(client, &linked.session, "connected").await;

    device.ban(102, Duration::from_secs(3600));
    let banned = when(client, &linked.session, "banned").await;
    assert!(
        banned["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("3600 s")),
        "{banned}"
    );
    restart().await;
    when(client, &linked.session, "connected").await;

    device.refuse(Some(405));
    when(client, &linked.session, "outdated").await;
    restart().await;
    when(client, &linked.session, "connected").await;

    linked.server.phone(PHONE).remove(device);
    when(client, &linked.session, "logged_out").await;
    restart().await;
    let session = when(client, &linked.session, "pairing").await;
    assert_eq!(session["phone_number"], Value::Null, "{session}");
    let code = super::qr_content(client, &linked.session).await;
    linked
        .server
        .phone(PHONE)
        .scan(&code)
        .await
        .expect("linked again");
    when(client, &linked.session, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_logs_out_and_erases_the_keys() {
    let linked = Linked::start().await;
    let folder = linked.app.data.path().join("sessions");
    let database = folder.join(format!("{}.db", linked.session));
    assert_eq!(
        folder.metadata().expect("the folder").permissions().mode() & 0o777,
        0o700
    );
    for file in [database.clone(), database.with_extension("db-wal")] {
        let mode = file
            .metadata()
            .expect("a file with keys")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let path = format!("/api/sessions/{}", linked.session);
    let (status, _) = linked.client.call("DELETE", &path, None).await;
    assert_eq!(status, 204);
    assert!(!linked.device.is_linked(), "WhatsApp was told");
    assert!(!database.exists());
    let (status, _) = linked.client.call("GET", &path, None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_runs_is_unlinked_by_the_next_node() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp_playing("api", &server, &[]).await;
    let client = app.client(1).await;
    let mut ingest = app.second("ingest");
    let (known, device) = link(&client, &server, json!({}), PHONE).await;
    let (refused, other) = link(&client, &server, json!({}), "4915187654321").await;
    ingest.kill().await;
    server.phone("4915187654321").remove(&other);
    let delete = async |id: &str| {
        client
            .call("DELETE", &format!("/api/sessions/{id}"), None)
            .await
    };
    let (one, two) = tokio::join!(delete(&known), delete(&refused));
    for (status, answer) in [one, two] {
        assert_eq!((status, &answer["status"]), (202, &json!("deleting")));
        assert!(
            answer["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("not been told")),
            "{answer}"
        );
    }
    assert!(device.is_linked());
    ingest = app.second("ingest");
    for id in [&known, &refused] {
        let path = format!("/api/sessions/{id}");
        eventually("it is gone", async || {
            (client.call("GET", &path, None).await.0 == 404).then_some(())
        })
        .await;
        assert!(
            !app.data
                .path()
                .join("sessions")
                .join(format!("{id}.db"))
                .exists()
        );
    }
    assert!(!device.is_linked(), "WhatsApp was told");
    ingest.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_runs_the_sessions_of_several_clients() {
    let linked = Linked::start().await;
    let other = linked.app.client(2).await;
    let (_, device) = link(
        &other,
        &linked.server,
        json!({"own_messages": true}),
        "4915187654321",
    )
    .await;
    let (_, first) = linked.webhook().await;
    let second = crate::support::receiver::Receiver::answering(&[200]).await;
    other.register("4915187654321", &second.url("/")).await;
    let alice = linked.server.contact("4915200000001", "Alice");
    alice
        .send(&linked.device, content::text("to one"))
        .await
        .expect("sent");
    alice
        .send(&device, content::text("to two"))
        .await
        .expect("sent");
    let one = first.wait_for(1).await.remove(0).json();
    let two = second.wait_for(1).await.remove(0).json();
    assert_eq!(
        (&one["client_id"], &one["content"]),
        (&json!(1), &json!("to one"))
    );
    assert_eq!(
        (&two["client_id"], &two["content"]),
        (&json!(2), &json!("to two"))
    );
    let metrics = eventually("both are counted", async || {
        let url = format!("{}/metrics", linked.app.admin);
        let text = crate::support::app::http_client()
            .get(url)
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        text.contains("wahook_sessions{state=\"connected\"} 2")
            .then_some(text)
    })
    .await;
    for secret in ["4915200000001", "to one", PHONE, "Alice"] {
        assert!(!metrics.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_that_links_a_session_is_sealed_on_the_bus() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let (_, session) = client.call("POST", "/api/sessions", Some(json!({}))).await;
    let id = session["id"].as_str().expect("an id");
    let code = super::qr_content(&client, id).await;
    let bucket = app
        .nats
        .jetstream()
        .await
        .get_key_value("wa_session_status")
        .await
        .expect("the bucket");
    let stored = bucket.get(format!("1.{id}")).await.expect("an answer");
    let stored = stored.expect("a status");
    let text = String::from_utf8_lossy(&stored);
    assert!(text.contains("sealed.v1.k"), "{text}");
    // The first part changes every minute, the others stay.
    for part in code.split(',').filter(|part| part.len() > 8) {
        assert!(!text.contains(part), "{part} in {text}");
    }
}
