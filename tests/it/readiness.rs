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

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_says_what_the_probe_says() {
    let mut app = App::playing("api,deliver,record", &[]).await;
    let (code, said, error) = app.attempt(&["healthcheck"], &[]).await;
    assert_eq!(code, Some(0), "{said}{error}");
    assert!(said.contains("ready"), "{said}");
    let everywhere = app.admin.replace("http://127.0.0.1", "0.0.0.0");
    let more = [("ADMIN__LISTEN", everywhere)];
    let (code, _, error) = app
        .attempt(&["healthcheck", "--probe", "live"], &more)
        .await;
    assert_eq!(code, Some(0), "{error}");
    app.nats.stop().await;
    let refused = eventually("the check fails", async || {
        let (code, said, _) = app.attempt(&["healthcheck"], &[]).await;
        (code == Some(1)).then_some(said)
    })
    .await;
    assert!(refused.contains("bus"), "{refused}");
    let (code, _, _) = app.attempt(&["healthcheck", "--probe", "live"], &[]).await;
    assert_eq!(code, Some(0), "it answers all the same");
    let nobody = [("ADMIN__LISTEN", crate::support::process::free_address())];
    let (code, _, error) = app.attempt(&["healthcheck"], &nobody).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("asking admin.listen"), "{error}");
    app.nats.start_again().await;
}
