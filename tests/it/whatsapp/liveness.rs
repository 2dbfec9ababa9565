//! Sessions whose connection stands and is mute.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use whatsapp_sim::{Mute, content};

use super::{Linked, STEP_MAX, link, sending::send_through, when};

/// Within so long a mute session is noticed.
const NOTICE_MAX: Duration = Duration::from_secs(60);
const BOB: &str = "4915200000009";

/// A number for each way to be mute: each session has an account of its own.
const WAYS: [(Mute, &str, &str); 3] = [
    (Mute::Connection, "4915112345671", "connection"),
    (Mute::Sends, "4915112345672", "sends"),
    (Mute::Queue, "4915112345673", "queue"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_session_is_noticed_within_a_minute_and_healed() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let bob = linked.server.contact(BOB, "Bob");
    let mut sessions = Vec::new();
    for (way, phone, cause) in WAYS {
        linked.client.register(phone, &receiver.url("/")).await;
        let (id, device) = link(&linked.client, &linked.server, json!({}), phone).await;
        sessions.push((way, cause, id, device));
    }
    let began = Instant::now();
    let mut waiting = Vec::new();
    for (way, _, id, device) in &sessions {
        device.fall_mute(*way);
        let message = bob.send(device, content::text(&format!("{way:?}"))).await;
        waiting.push(message.expect("it waits at WhatsApp"));
        match way {
            Mute::Sends => {
                let body = json!({"session_id": id, "to": BOB, "text": "hi"});
                let (status, _, answer) =
                    send_through(&linked.app, &linked.client, None, body).await;
                assert_eq!(status, 202, "{answer}");
            }
            Mute::Queue => device.cut(),
            Mute::Connection => {}
        }
    }
    // Each has a new connection, and what waited is delivered.
    for ((way, _, id, device), message) in sessions.iter().zip(&waiting) {
        let logins_min = if *way == Mute::Queue { 3 } else { 2 };
        let left = NOTICE_MAX.saturating_sub(began.elapsed()) + STEP_MAX;
        device
            .wait_online(logins_min, left)
            .await
            .expect("a new connection");
        device
            .wait_acked(message, STEP_MAX)
            .await
            .expect("the message is taken");
        when(&linked.client, id, "connected").await;
    }
    receiver.wait_for(WAYS.len()).await;
    for (way, _, cause) in WAYS {
        let name = format!("wahook_session_silences_total{{cause=\"{cause}\"}}");
        let counted = linked.app.metric(&name).await;
        // The client may notice itself that nothing at all comes, and be faster.
        let is_counted = way == Mute::Connection || counted == Some(1.0);
        assert!(is_counted, "{name} {counted:?}");
    }
}
