//! One session's panic is that session's alone.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio_util::sync::CancellationToken;
use wahook::{
    config::{self, Sources},
    ingest::{self, Fetch, Ingest, Open},
    tasks::Tasks,
};
use whatsapp_sim::{Server, content};

use super::{PHONE, STEP_MAX, link, when};
use crate::support::{app::App, receiver::Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_panics_touches_no_other_and_comes_back() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp_playing("api,deliver,record", &server, &[]).await;
    let client = app.client(1).await;
    let poisoned = Arc::new(Mutex::new(None::<String>));
    let tasks = Tasks::default();
    let cancel = CancellationToken::new();
    ingest_in_process(&app, &server, &poisoned, &tasks, cancel.clone()).await;

    let (one, first) = link(&client, &server, json!({}), PHONE).await;
    let (_, second) = link(&client, &server, json!({}), "4915187654321").await;
    let at_first = Receiver::answering(&[200]).await;
    let at_second = Receiver::answering(&[200]).await;
    client.register(PHONE, &at_first.url("/")).await;
    client.register("4915187654321", &at_second.url("/")).await;
    let alice = server.contact("4915200000001", "Alice");
    let first_logins = first.logins();
    let second_logins = second.logins();

    *poisoned.lock().expect("not held by a panic") = Some(one.clone());
    let (status, _) = client
        .call("POST", &format!("/api/sessions/{one}/restart"), None)
        .await;
    assert_eq!(status, 202);
    first.wait_offline(STEP_MAX).await.expect("it ends");
    let meant_for_first = alice
        .send(&first, content::text("to the one that panics"))
        .await
        .expect("sent");
    let id = alice
        .send(&second, content::text("to the other"))
        .await
        .expect("sent");
    second
        .wait_acked(&id, STEP_MAX)
        .await
        .expect("the other goes on");
    at_second.wait_for(1).await;

    first
        .wait_acked(&meant_for_first, STEP_MAX)
        .await
        .expect("it comes back");
    at_first.wait_for(1).await;
    when(&client, &one, "connected").await;
    assert_eq!(
        *poisoned.lock().expect("not held by a panic"),
        None,
        "it did panic"
    );
    assert_eq!(
        (first.logins(), second.logins()),
        (first_logins + 1, second_logins)
    );
    cancel.cancel();

    tokio::time::timeout(STEP_MAX, tasks.wait())
        .await
        .expect("stops in time");
}

/// The ingest role in this process. The keys of the session that `poisoned` names cannot be opened:
/// trying it panics, once.
async fn ingest_in_process(
    app: &App,
    server: &Server,
    poisoned: &Arc<Mutex<Option<String>>>,
    tasks: &Tasks,
    cancel: CancellationToken,
) {
    let settings = config::WhatsApp {
        sessions_dir: app.data.path().join("sessions-in-process"),
        url: server.url(),
        version: Some(config::WebVersion(2, 3000, 1_023_223_821)),
        connects_per_second: 1000,
        ..config::load(&Sources::default())
            .expect("the defaults are right")
            .config
            .whatsapp
    };
    let poison = Arc::clone(poisoned);
    let open: Open = Arc::new(move |path| {
        let hit = poison
            .lock()
            .expect("not held by a panic")
            .take_if(|id| path.display().to_string().contains(&**id));
        assert!(hit.is_none(), "poisoned");
        ingest::sqlite(path)
    });
    let fetch: Fetch =
        Arc::new(|_, _| Box::pin(async { Err("nothing is fetched here".to_owned()) }));
    let bus = app.nats.bus().await;
    Ingest::start(bus, &settings, fetch, open, tasks, cancel)
        .await
        .expect("ingest starts");
}
