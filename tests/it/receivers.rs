//! Real deliveries, handed to what other people wrote for receiving them:
//! `scripts/install-receivers.sh` installs it. Without it these tests are not run, and fail in CI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    app::{App, Client},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
const ANN: &str = "4915100000001";
/// Messages of every kind that other formats have a name for: `what` it is, and the fields that
/// differ.
const MESSAGES: &str = include_str!("../receivers/messages.json");

/// All of them as they came, with what else the programs need.
async fn deliveries(client: &Client, settings: Value) -> Vec<Value> {
    let receiver = Receiver::answering(&[200]).await;
    let mut webhook = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"),
        "event_types": ["message", "receipt"],
    });
    let fields = webhook.as_object_mut().expect("an object");
    fields.extend(settings.as_object().expect("an object").clone());
    let webhook = client.register_with(webhook).await;
    let mut all = Vec::new();
    let messages: Vec<serde_json::Map<String, Value>> =
        serde_json::from_str(MESSAGES).expect("JSON");
    for (number, mut fields) in messages.into_iter().enumerate() {
        let id = format!("3EB0{number:04}");
        let what = fields.remove("what").expect("is told");
        let content = fields["content"].clone();
        let mut body = json!({"phone_number": PHONE, "message_id": id, "from": ANN});
        body.as_object_mut().expect("an object").extend(fields);
        body["metadata"]["push_name"] = "Änn".into();
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 202, "{what}: {answer}");
        let received = receiver.wait_for(number + 1).await;
        let one = received.last().expect("came");
        let headers: serde_json::Map<String, Value> = one
            .headers
            .iter()
            .map(|(name, value)| {
                let value = value.to_str().expect("ASCII");
                (name.as_str().to_owned(), value.into())
            })
            .collect();
        all.push(json!({
            "kind": what, "content": content, "headers": headers,
            "body": String::from_utf8(one.body.clone()).expect("UTF-8"),
            "secret": webhook["signing_secret"],
            "phone_number_id": webhook["format_options"]["phone_number_id"],
        }));
    }
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/receivers")
}

/// Runs a program with the deliveries in a file; a runtime that is not installed fails in CI, and
/// is named elsewhere.
fn hand_to(command: &str, program: Option<&str>, deliveries: &[Value]) {
    let kept = tempfile::tempdir().expect("a folder");
    let file = kept.path().join("deliveries.json");
    fs::write(&file, json!(deliveries).to_string()).expect("writes");
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers");
    let command = match command.strip_prefix("./") {
        Some(installed) => folder().join(installed),
        None => command.into(),
    };
    let started = Command::new(&command)
        .args(program.map(|name| programs.join(name)))
        .arg(&file)
        .env("RECEIVERS", folder())
        .output();
    let output = match started {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            return println!(
                "NOT RUN: {}: {error}: run make receivers",
                command.display()
            );
        }
        Err(error) => panic!("{}: {error}", command.display()),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {stdout}{stderr}",
        command.display()
    );
    println!("{}: {stdout}", program.unwrap_or("Go"));
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_standard_webhooks_and_svix_verify_every_format_and_signature() {
    let app = App::start().await;
    let mut all = Vec::new();
    for (client, format) in (1..).zip(["native", "waha", "evolution", "cloud"]) {
        let client = app.client(client).await;
        all.extend(deliveries(&client, json!({"format": format})).await);
    }
    let client = app.client(9).await;
    all.extend(deliveries(&client, json!({"signature": "both"})).await);
    hand_to("./python/bin/python", Some("verify.py"), &all);
    hand_to("node", Some("verify.mjs"), &all);
    hand_to("python3", Some("example.py"), &all);
    hand_to("./verify-go", None, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_for_the_cloud_api_see_every_message_as_what_it_is() {
    let app = App::start().await;
    let settings = json!({
        "format": "cloud",
        "format_options": {
            "phone_number_id": "106540352242922", "business_account_id": "102290129340398",
        },
    });
    let all = deliveries(&app.client(1).await, settings).await;
    hand_to("./python/bin/python", Some("bot_pywa.py"), &all);
    hand_to("node", Some("bot_whatsapp_api_js.mjs"), &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_for_receivers_of_waha_are_of_its_types() {
    let app = App::start().await;
    let settings = json!({"format": "waha", "format_options": {"session": "default"}});
    let all = deliveries(&app.client(1).await, settings).await;
    hand_to("./python/bin/python", Some("read_waha.py"), &all);
    let body: Value = serde_json::from_str(all[0]["body"].as_str().expect("a text")).expect("JSON");
    assert_eq!(body["session"], "default");
}
