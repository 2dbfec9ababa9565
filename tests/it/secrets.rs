//! Secrets at rest: sealed as they are stored, opened by those who have the keys, sealed again when
//! the keys change.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use wahook::{
    bus::Bus,
    model::{ClientId, Phone, SigningSecret, Timestamp, Webhook, WebhookId},
    tasks::Tasks,
    wire::Keyring,
};

use crate::support::{
    app::{App, Client},
    nats::NatsServer,
    process::wahook,
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

fn keys_file(app: &App) -> std::path::PathBuf {
    app.data.path().join("secrets.keys")
}

/// As an operator should: others may not read it.
fn write_keys(app: &App, text: &str) {
    let file = keys_file(app);
    fs::write(&file, text).expect("writable");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its own file");
}

/// What the bucket holds for the number, as a reader of the disk sees it.
async fn stored(app: &App, bucket: &str, key: &str) -> Vec<u8> {
    let bucket = app
        .nats
        .jetstream()
        .await
        .get_key_value(bucket)
        .await
        .expect("the bucket");
    bucket
        .get(key)
        .await
        .expect("an answer")
        .expect("a value")
        .to_vec()
}

async fn stored_webhook(app: &App) -> String {
    String::from_utf8(stored(app, "wa_webhooks", &format!("1.{PHONE}")).await).expect("JSON")
}

async fn delivers_signed(client: &Client, webhook: &Value, receiver: &Receiver, message: &str) {
    client.publish(PHONE, message).await;
    client.event_when(webhook, message, "delivered").await;
    let received = receiver.received().pop().expect("a request");
    assert!(
        received.signed_by(webhook["signing_secret"].as_str().expect("shown once")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_secrets_are_sealed_with_a_key_that_is_not_on_the_bus() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let text = stored_webhook(&app).await;
    assert!(
        text.contains("sealed.v1.k") && !text.contains("whsec_"),
        "{text}"
    );
    assert!(
        !text.contains("127.0.0.1"),
        "the URL may have a key: {text}"
    );
    delivers_signed(&client, &webhook, &receiver, "M1").await;
    for name in ["cursor_key", "media_key"] {
        assert!(
            stored(&app, "wa_settings", name)
                .await
                .starts_with(b"sealed.v1.k"),
            "{name}"
        );
    }
    let mode = fs::metadata(keys_file(&app))
        .expect("made by the node")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_however_much_is() {
    let app = App::with(&[
        ("LOG__FILTER", "debug,wahook=trace"),
        ("LOG__FORMAT", "json"),
    ])
    .await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500, 200]).await;
    let token = "Bearer 0123456789-not-for-logs";
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/?key=not-for-logs-either"),
        "signature": "both",
        "headers": {"authorization": token},
    });
    let webhook = client.register_with(body).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "delivered").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    client
        .call("POST", &format!("{path}/rotate-secret"), None)
        .await;
    client
        .call(
            "PATCH",
            &path,
            Some(json!({"headers": {"x-bad": "not-for-logs\n"}})),
        )
        .await;
    let log = app.log();
    assert!(log.contains("webhook registered"), "it logs at all");
    let secret = webhook["signing_secret"].as_str().expect("shown once");
    for text in [
        secret,
        &secret[10..20],
        "whsk_",
        "not-for-logs",
        &client.token,
    ] {
        assert!(
            !log.contains(text),
            "{:#?}",
            log.lines().find(|line| line.contains(text))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_while_it_runs_and_what_lay_in_clear_is_sealed() {
    let mut app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    for phone in ["4915112345601", "4915112345602"] {
        client.register(phone, &receiver.url("/")).await;
    }
    // As it was stored before there were keys.
    let mut value: Value = serde_json::from_str(&stored_webhook(&app).await).expect("JSON");
    value["secrets"][0]["text"] = webhook["signing_secret"].clone();
    let bucket = app
        .nats
        .jetstream()
        .await
        .get_key_value("wa_webhooks")
        .await
        .expect("the bucket");
    bucket
        .put(format!("1.{PHONE}"), value.to_string().into())
        .await
        .expect("stored");
    delivers_signed(&client, &webhook, &receiver, "M1").await;

    let told = app.command(&["secrets", "rotate"]).await;
    assert!(
        told.starts_with("3 webhooks: 1 sealed again")
            && told.contains("(1 of them were in clear), 2 were"),
        "{told}"
    );
    assert!(!stored_webhook(&app).await.contains("whsec_"));

    let old = fs::read_to_string(keys_file(&app)).expect("the file");
    let new = app.command(&["secrets", "new-key", "--id", "second"]).await;
    write_keys(&app, &format!("{new}{old}"));
    app.kill_and_restart().await;
    delivers_signed(&client, &webhook, &receiver, "M2").await;
    let told = app.command(&["secrets", "rotate"]).await;
    assert!(
        told.starts_with("3 webhooks: 3 sealed again with key second (0 of"),
        "{told}"
    );
    assert!(told.contains("no other key is needed"), "{told}");
    let again = app.command(&["secrets", "rotate"]).await;
    assert!(
        again.starts_with("3 webhooks: 0 sealed again")
            && again.contains("3 were sealed with it already"),
        "{again}"
    );
    // Its node saw the changes, and works on; so does one that never had the old key.
    delivers_signed(&client, &webhook, &receiver, "M3").await;
    write_keys(&app, &new);
    app.kill_and_restart().await;
    delivers_signed(&client, &webhook, &receiver, "M4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_named_and_nothing_is_touched() {
    let mut app = App::start().await;
    let client = app.client(1).await;
    client.register(PHONE, "http://127.0.0.1:9/").await;
    let before = stored_webhook(&app).await;
    let old = fs::read_to_string(keys_file(&app)).expect("the file");
    let id = old
        .lines()
        .last()
        .and_then(|line| line.split_once(':'))
        .expect("a key")
        .0
        .to_owned();
    app.kill().await;

    fs::remove_file(keys_file(&app)).expect("it is there");
    let told = app.failing_command(&["serve", "--roles", "api"]).await;
    assert!(
        told.contains("set secrets.keys_file to the keys file of the running nodes"),
        "{told}"
    );
    assert!(!keys_file(&app).exists(), "no second key is made");

    let other = app.command(&["secrets", "new-key"]).await;
    write_keys(&app, &other);
    let told = app.failing_command(&["serve", "--roles", "api"]).await;
    assert!(
        told.contains(&format!(
            "sealed with the key {id}, which is not in the keys file"
        )),
        "{told}"
    );
    let told = app.failing_command(&["secrets", "rotate"]).await;
    assert!(
        told.contains(&format!("a webhook of client 1: sealed with the key {id}")),
        "{told}"
    );
    assert!(
        !told.contains(PHONE) && told.contains("1 could not be opened"),
        "{told}"
    );
    assert_eq!(stored_webhook(&app).await, before);

    write_keys(&app, "not a key");
    let told = app.failing_command(&["serve", "--roles", "api"]).await;
    assert!(
        told.contains("line 1: it is not <id>:<base64 of 32 bytes>"),
        "{told}"
    );
    write_keys(&app, &old);
    app.restart().await;
    let shown = client.get("/api/webhooks/list").await;
    assert_eq!(shown["data"][0]["phone_number"], json!(PHONE));
}

/// What a rotation that was cut off leaves behind is some webhooks under the new key and some under
/// the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_where_it_was_cut_off_and_loses_no_change_made_meanwhile() {
    let server = NatsServer::start().await;
    let old = Keyring::new_line("old").expect("an id");
    let new = Keyring::new_line("new").expect("an id");
    let keys = |text: &str| Keyring::parse(text).expect("keys");
    let before = server.connect().await;
    let after = server.connect().await;
    before.apply().await.expect("applies");
    before
        .load_webhooks(keys(&format!("{old}\n{new}")), &Tasks::default())
        .await
        .expect("loads");
    let both = keys(&format!("{new}\n{old}"));
    after
        .load_webhooks(both.clone(), &Tasks::default())
        .await
        .expect("loads");
    let client = ClientId::try_from(1).expect("in range");
    let ids = register_in_turns(&before, &after).await;
    let change = async {
        for id in &ids {
            after
                .webhooks()
                .update(client, *id, |webhook| webhook.rate_per_second += 1)
                .await
                .expect("changes");
        }
    };
    let (done, ()) = tokio::join!(after.reseal(&both), change);
    let done = done.expect("seals");
    assert_eq!(
        (done.webhooks, done.current + done.again, done.closed.len()),
        (40, 40, 0),
        "{done:?}"
    );
    assert!(done.current >= 10 && done.again <= 30, "{done:?}");
    let again = after.reseal(&both).await.expect("seals");
    assert_eq!((again.current, again.again), (40, 0));
    // A node with the new key alone reads all of it.
    let third = server.connect().await;
    third
        .load_webhooks(keys(&new), &Tasks::default())
        .await
        .expect("its keys are those of the bus");
    let all = third.webhooks().list(client).await.expect("answers");
    assert_eq!(all.len(), 40);
    assert!(
        all.iter()
            .all(|webhook| webhook.rate_per_second == 51 && webhook.secrets[0].key() == [7; 32])
    );
}

/// Registers 40 webhooks, one in four with the new key.
async fn register_in_turns(before: &Bus, after: &Bus) -> Vec<WebhookId> {
    let client = ClientId::try_from(1).expect("in range");
    let mut ids = Vec::new();
    for number in 0..40_u32 {
        let bus = if number % 4 == 0 { after } else { before };
        let phone: Phone = format!("4915112345{number:03}").parse().expect("valid");
        let id = WebhookId(uuid::Uuid::now_v7());
        let make = |_: Option<&Webhook>| Webhook {
            secrets: vec![SigningSecret::from_key(&[7; 32])],
            ..Webhook::new(
                id,
                client,
                phone.clone(),
                "https://example.com/".to_owned(),
                Timestamp::EPOCH,
            )
        };
        bus.webhooks()
            .register(client, &phone, make)
            .await
            .expect("registers");
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn a_command_whose_reader_closes_the_pipe_ends_without_error() {
    for arguments in [&["secrets", "new-key"][..], &["dump-config"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = wahook(&Vec::new())
            .args(arguments)
            .stdout(writer)
            .output()
            .await
            .expect("the executable starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{arguments:?}: {} {said}",
            output.status
        );
    }
}
