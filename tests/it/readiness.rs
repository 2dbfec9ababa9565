//! What `/readyz` says when NATS refuses to store.

use serde_json::{Value, json};

use crate::support::app::{App, eventually, http_client};

/// Changes how many bytes a value of the bucket of settings may have; -1 is no limit.
async fn limit(app: &App, value_bytes_max: i64) {
    let jetstream = app.nats.jetstream().await;
    let info: Value = jetstream
        .request("STREAM.INFO.KV_wa_settings", &())
        .await
        .expect("is declared");
    let mut config = info["config"].clone();
    config["max_msg_size"] = json!(value_bytes_max);
    let answer: Value = jetstream
        .request("STREAM.UPDATE.KV_wa_settings", &config)
        .await
        .expect("an answer");
    assert!(answer["error"].is_null(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_refuses_writes_turns_readiness_red_until_it_takes_them() {
    let app = App::start().await;
    let readyz = format!("{}/readyz", app.admin);
    let http = http_client();
    let ready = async |wanted: u16| {
        eventually(&format!("/readyz answers {wanted}"), async || {
            let answer = http.get(&readyz).send().await.ok()?;
            let status = answer.status().as_u16();
            let text = answer.text().await.ok()?;
            (status == wanted).then_some(text)
        })
        .await
    };
    ready(200).await;
    // The server refuses what the probe writes, as it does when its storage is used up.
    limit(&app, 1024).await;
    let text = ready(503).await;
    assert!(text.contains("bus: cannot be written: "), "{text}");
    assert!(text.contains("exceeds maximum"), "the reason: {text}");
    limit(&app, -1).await;
    ready(200).await;
}
