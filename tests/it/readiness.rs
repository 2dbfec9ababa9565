//! What `/readyz` says when NATS has no room.

use serde_json::{Value, json};

use crate::support::app::{App, eventually, http_client};

/// Changes how many bytes the bucket of settings may take.
async fn limit(app: &App, max_bytes: i64) {
    let jetstream = app.nats.jetstream().await;
    let info: Value = jetstream
        .request("STREAM.INFO.KV_wa_settings", &())
        .await
        .expect("is declared");
    let mut config = info["config"].clone();
    config["max_bytes"] = json!(max_bytes);
    let answer: Value = jetstream
        .request("STREAM.UPDATE.KV_wa_settings", &config)
        .await
        .expect("an answer");
    assert!(answer["error"].is_null(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_without_room_turns_readiness_red_until_there_is_some() {
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
    // As when the whole server is full: no write finds room.
    limit(&app, 1).await;
    // A value may replace one of its size even then.
    let jetstream = app.nats.jetstream().await;
    let settings = jetstream.get_key_value("wa_settings").await;
    let purged = settings.expect("the bucket").purge("write_probe").await;
    purged.expect("a smaller value fits");
    let text = ready(503).await;
    assert!(text.contains("bus: cannot be written: "), "{text}");
    assert!(
        text.contains("maximum bytes exceeded"),
        "the reason: {text}"
    );
    limit(&app, 4 * 1024 * 1024).await;
    ready(200).await;
}
