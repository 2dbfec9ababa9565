//! A node whose wall clock is wrong.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::{
    app::{App, eventually, http_client},
    clock,
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
/// What timestamps may be off by here: a test waits for busy machines.
const TOLERANCE_S: i64 = 60;

fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("fits")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_keeps_schedules_and_signs_with_the_servers_time() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    for offset_s in [-1200, 3600] {
        let receiver = Receiver::answering(&[503, 503, 200]).await;
        let body = json!({
            "phone_number": PHONE, "webhook_url": receiver.url("/"), "retry_schedule": [2, 2],
        });
        let webhook = client.register_with(body).await;
        let environment = clock::ahead_by(offset_s, app.data.path());
        let (mut node, admin) = app.second_in("deliver", environment);
        client.publish(PHONE, &format!("M{offset_s}")).await;
        let received = receiver.wait_for(3).await;
        for pair in received.windows(2) {
            let gap = pair[1].at - pair[0].at;
            assert!(
                gap > Duration::from_millis(1500),
                "{offset_s} s: {gap:?} between two tries that are two seconds apart"
            );
        }
        for one in &received {
            let signed: i64 = one.header("webhook-timestamp").parse().expect("seconds");
            assert!(
                (signed - now_seconds()).abs() < TOLERANCE_S,
                "{offset_s} s: signed with {signed}"
            );
        }
        let reason = eventually("readiness is red", async || {
            let answer = http_client().get(node.ready_url()).send().await.ok()?;
            let is_red = answer.status().as_u16() == 503;
            let text = answer.text().await.ok()?;
            (is_red && text.contains("clock: ")).then_some(text)
        })
        .await;
        assert!(reason.contains("NTP"), "{reason}");
        let metrics = http_client().get(format!("{admin}/metrics")).send().await;
        let metrics = metrics.expect("answers").text().await.expect("a text");
        let shown = metrics.lines().find_map(|line| {
            let value = line.strip_prefix("wahook_clock_offset_seconds ")?;
            value.parse::<f64>().ok()
        });
        let shown = shown.expect("the gauge is set");
        assert!((shown - offset_s as f64).abs() < 5.0, "{shown}");
        let id = webhook["id"].as_str().expect("an id");
        let path = format!("/api/webhooks/{id}/events?limit=1");
        eventually("the audit has the delivery", async || {
            let page = client.get(&path).await;
            let event = page["data"].as_array()?.first()?.clone();
            (event["status"] == "delivered").then_some(())
        })
        .await;
        assert_eq!(node.terminate().await, Some(0));
    }
    assert_eq!(app.readiness().await, Some(200), "its own clock is right");
}
