//! Who signed it, and what else a webhook asked to be sent along.

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::{Value, json};

use crate::support::{
    app::{App, Client, let_pass},
    receiver::{Received, Receiver},
};

const PHONE: &str = "4915112345678";

/// As a receiver does it that has the public key alone, with another library than wahook's.
fn verified_with(received: &Received, public: &Value) -> bool {
    let public = public
        .as_str()
        .and_then(|text| text.strip_prefix("whpk_"))
        .expect("a public key");
    let public: [u8; 32] = BASE64_STANDARD
        .decode(public)
        .expect("base64")
        .try_into()
        .expect("32 bytes");
    let public = VerifyingKey::from_bytes(&public).expect("a point");
    let signed = [
        received.header("webhook-id").as_bytes(),
        b".",
        received.header("webhook-timestamp").as_bytes(),
        b".",
        &received.body,
    ]
    .concat();
    received
        .header("webhook-signature")
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1a,"))
        .any(|one| {
            let signature = Signature::from_slice(&BASE64_STANDARD.decode(one).expect("base64"))
                .expect("64 bytes");
            public.verify(&signed, &signature).is_ok()
        })
}

fn versions(received: &Received) -> Vec<&str> {
    received
        .header("webhook-signature")
        .split(' ')
        .filter_map(|one| one.split(',').next())
        .collect()
}

fn path(webhook: &Value) -> String {
    format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"))
}

async fn next(client: &Client, receiver: &Receiver, message: &str) -> Received {
    let before = receiver.received().len();
    client.publish(PHONE, message).await;
    receiver
        .wait_for(before + 1)
        .await
        .pop()
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_in_place_of_the_secret_beside_it_and_after_a_rotation() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client
        .register_with(json!({
            "phone_number": PHONE,
            "webhook_url": receiver.url("/"),
            "signature": "ed25519",
        }))
        .await;
    assert_eq!(
        (
            &webhook["signature"],
            webhook["public_keys"].as_array().map(Vec::len)
        ),
        (&json!("ed25519"), Some(1))
    );
    let first = webhook["public_keys"][0].clone();
    let received = next(&client, &receiver, "M1").await;
    assert_eq!(versions(&received), ["v1a"]);
    assert!(verified_with(&received, &first));
    let mut changed = received.clone();
    changed.body.push(b' ');
    assert!(!verified_with(&changed, &first));

    let (status, both) = client
        .call("PATCH", &path(&webhook), Some(json!({"signature": "both"})))
        .await;
    assert_eq!((status, &both["public_keys"]), (200, &json!([first])));
    let received = next(&client, &receiver, "M2").await;
    assert_eq!(versions(&received), ["v1", "v1a"]);
    let secret = webhook["signing_secret"].as_str().expect("shown once");
    assert!(received.signed_by(secret) && verified_with(&received, &first));

    let (status, rotated) = client
        .call("POST", &format!("{}/rotate-secret", path(&webhook)), None)
        .await;
    assert_eq!(status, 200);
    let new = rotated["public_keys"][0].clone();
    assert!(
        new != first && rotated["public_keys"][1] == first,
        "{rotated}"
    );
    let received = next(&client, &receiver, "M3").await;
    assert_eq!(versions(&received), ["v1", "v1", "v1a", "v1a"]);
    assert!(verified_with(&received, &first) && verified_with(&received, &new));
    assert!(
        received.signed_by(secret)
            && received.signed_by(rotated["signing_secret"].as_str().expect("new"))
    );

    let (status, answer) = client
        .call("PATCH", &path(&webhook), Some(json!({"signature": "rsa"})))
        .await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/signature"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_signs_no_more_after_the_overlap() {
    let app = App::with(&[("API__SECRET_OVERLAP", "5s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client
        .register_with(
            json!({"phone_number": PHONE, "webhook_url": receiver.url("/"), "signature": "both"}),
        )
        .await;
    let (_, rotated) = client
        .call("POST", &format!("{}/rotate-secret", path(&webhook)), None)
        .await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    let received = next(&client, &receiver, "M1").await;
    assert_eq!(versions(&received), ["v1", "v1", "v1a", "v1a"]);
    let_pass(end.duration_since(tokio::time::Instant::now())).await;
    let received = next(&client, &receiver, "M2").await;
    assert_eq!(versions(&received), ["v1", "v1a"]);
    assert!(received.signed_by(rotated["signing_secret"].as_str().expect("new")));
    assert!(!received.signed_by(webhook["signing_secret"].as_str().expect("old")));
    assert!(verified_with(&received, &rotated["public_keys"][0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_its_own_are_sent_and_shown_by_hints_alone() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let token = "Bearer 0123456789-secret-abcd";
    let headers = json!({"Authorization": token, "x-tenant": "t1"});
    let webhook = client
        .register_with(
            json!({"phone_number": PHONE, "webhook_url": receiver.url("/"), "headers": headers}),
        )
        .await;
    assert_eq!(
        webhook["headers"],
        json!({"authorization": "…abcd", "x-tenant": "…"})
    );
    let received = next(&client, &receiver, "M1").await;
    assert_eq!(
        (
            received.header("authorization"),
            received.header("x-tenant")
        ),
        (token, "t1")
    );
    let bucket = app
        .nats
        .jetstream()
        .await
        .get_key_value("wa_webhooks")
        .await
        .expect("the bucket");
    let stored = bucket
        .get(format!("1.{PHONE}"))
        .await
        .expect("an answer")
        .expect("a value");
    assert!(
        !String::from_utf8_lossy(&stored).contains("secret-abcd"),
        "sealed"
    );

    let change = json!({"headers": {"x-tenant": null, "x-new": "n"}});
    let (status, changed) = client.call("PATCH", &path(&webhook), Some(change)).await;
    assert_eq!(
        (status, &changed["headers"]),
        (200, &json!({"authorization": "…abcd", "x-new": "…"}))
    );
    let received = next(&client, &receiver, "M2").await;
    assert_eq!(
        (
            received.header("authorization"),
            received.header("x-tenant")
        ),
        (token, "")
    );

    wrong_headers_are_named(&client, &webhook).await;
}

/// Headers that cannot be sent are named, and nothing changes.
async fn wrong_headers_are_named(client: &Client, webhook: &Value) {
    let before = client.get(&path(webhook)).await["headers"].clone();
    let wrong = json!({
        "Webhook-Id": "x",
        "host": "internal",
        "x-a": "a\r\nx-b: c",
        "x/y": "z",
        "content-length": "1",
    });
    let (status, answer) = client
        .call("PATCH", &path(webhook), Some(json!({"headers": wrong})))
        .await;
    assert_eq!(status, 400);
    let mut pointers: Vec<_> = answer["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| e["pointer"].clone())
        .collect();
    pointers.sort_by_key(ToString::to_string);
    assert_eq!(
        pointers,
        [
            "/headers/Webhook-Id",
            "/headers/content-length",
            "/headers/host",
            "/headers/x-a",
            "/headers/x~1y"
        ]
    );
    assert!(
        !answer.to_string().contains("internal"),
        "no value is repeated: {answer}"
    );
    let many: serde_json::Map<_, _> = (0..15).map(|n| (format!("x-{n}"), json!("v"))).collect();
    let (status, answer) = client
        .call("PATCH", &path(webhook), Some(json!({"headers": many})))
        .await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/headers")),
        "two are there already"
    );
    assert_eq!(client.get(&path(webhook)).await["headers"], before);
}
