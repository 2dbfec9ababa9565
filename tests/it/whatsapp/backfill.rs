//! Messages of the past: asked of the phone, and published where they were missed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use whatsapp_sim::{Contact, Remembered, content};

use super::{Linked, PHONE, STEP_MAX, restart, sending_kinds::GROUP};
use crate::support::{
    app::{eventually, stays},
    receiver::Receiver,
};

const ANN: &str = "4915200000001";
const BOB: &str = "4915200000002";
/// As long as nothing more may come.
const QUIET: Duration = Duration::from_secs(2);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn pn(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

fn remembered(id: &str, at: u64, text: &str) -> Remembered {
    Remembered {
        id: id.to_owned(),
        participant: None,
        is_from_me: false,
        at,
        text: text.to_owned(),
    }
}

/// Writes a message that the session receives and the phone remembers.
async fn write(linked: &Linked, who: &Contact, text: &str) -> Remembered {
    let sent = who.send(&linked.device, content::text(text)).await;
    let id = sent.expect("sent");
    let acked = linked.device.wait_acked(&id, STEP_MAX).await;
    acked.expect("received");
    remembered(&id, now(), text)
}

async fn backfill(linked: &Linked, body: Value) -> (u16, Value) {
    let path = format!("/api/sessions/{}/backfill", linked.session);
    linked.client.call("POST", &path, Some(body)).await
}

fn texts(receiver: &Receiver) -> Vec<(String, bool)> {
    let all = receiver.received();
    let all = all.iter().map(|one| one.json());
    all.map(|one| {
        let late = one["metadata"]["late"] == true;
        (one["content"].as_str().unwrap_or_default().to_owned(), late)
    })
    .collect()
}

async fn a_gap_is_closed(linked: Linked) {
    let (_, receiver) = linked.webhook().await;
    let ann = linked.server.contact(ANN, "Ann");
    let first = write(&linked, &ann, "first").await;
    // 120 messages that never came, and 3 from before the linking: more than two pages.
    let sent_at = first.at;
    let lost = (0..120).map(|at| remembered(&format!("LOST{at}"), sent_at, &format!("lost {at}")));
    let old = (0..3).map(|at| remembered(&format!("OLD{at}"), 1_700_000_000 + at, "old"));
    let last = write(&linked, &ann, "last").await;
    let all = old.chain([first]).chain(lost).chain([last]).collect();
    linked.server.remember(&pn(ANN), all);
    // What was published is known after a restart.
    restart(&linked).await;
    let since = "2026-01-01T00:00:00Z";
    let (status, answer) = backfill(&linked, json!({"since": since, "chats": [ANN, BOB]})).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["status"], "started");
    assert_eq!(answer["chats"], json!([ANN]));
    assert_eq!(answer["unknown_chats"], json!([BOB]));
    let received = receiver.wait_for(122).await;
    let late = received.iter().map(|one| one.json());
    let late: Vec<Value> = late.filter(|one| one["metadata"]["late"] == true).collect();
    assert_eq!(late.len(), 120);
    for one in &late {
        assert_eq!((&one["from"], &one["type"]), (&json!(ANN), &json!("text")));
    }
    // Once more: nothing comes twice.
    let asked = linked.server.asked_for_history().len();
    eventually("the next request is taken", async || {
        let (status, _) = backfill(&linked, json!({"since": since})).await;
        (status == 202).then_some(())
    })
    .await;
    eventually("the phone is asked", async || {
        (linked.server.asked_for_history().len() > asked + 2).then_some(())
    })
    .await;
    write(&linked, &ann, "end").await;
    receiver.wait_for(123).await;
    assert_eq!(texts(&receiver).len(), 123, "{:?}", texts(&receiver));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_closed_and_nothing_comes_twice_with_keys_in_files() {
    a_gap_is_closed(Linked::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_closed_and_nothing_comes_twice_with_keys_in_jetstream() {
    a_gap_is_closed(Linked::with(&[("WHATSAPP__KEYS", "jetstream")]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_what_was_asked_for_in_groups_too_and_one_request_at_a_time() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let ann = linked.server.contact(ANN, "Ann");
    linked.server.group(GROUP, PHONE, &[&ann]);
    let sent = ann
        .send_group(&linked.device, GROUP, content::text("here"))
        .await;
    let id = sent.expect("sent");
    receiver.wait_for(1).await;
    let of_ann = |id: &str, at: u64, text: &str| Remembered {
        participant: Some(pn(ANN)),
        ..remembered(id, at, text)
    };
    let day = |day: u64| 1_767_225_600 + day * 86_400;
    let mut all: Vec<_> = (0..5)
        .map(|at| of_ann(&format!("D{at}"), day(at), &format!("day {at}")))
        .collect();
    all.push(of_ann(&id, now(), "here"));
    linked.server.remember(GROUP, all);
    let body = json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-04T12:00:00Z"});
    let (status, answer) = backfill(&linked, body.clone()).await;
    assert_eq!(
        (status, &answer["chats"]),
        (202, &json!([GROUP])),
        "{answer}"
    );
    // The first is still under way, or has just ended.
    let (status, answer) = backfill(&linked, body).await;
    assert!(status == 429 || status == 202, "{answer}");
    receiver.wait_for(4).await;
    let late: Vec<_> = texts(&receiver).split_off(1);
    let expected = ["day 1", "day 2", "day 3"].map(|text| (text.to_owned(), true));
    assert_eq!(late, expected);
    assert_eq!(receiver.received()[1].json()["from"], ANN);
    stays(QUIET, "nothing else comes", async || {
        receiver.received().len() == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_refused() {
    let linked = Linked::start().await;
    let wrong = [
        (json!({"since": "yesterday"}), "/since"),
        (
            json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            "/until",
        ),
        (
            json!({"since": "2026-01-02T00:00:00Z", "chats": ["x"]}),
            "/chats/0",
        ),
        (
            json!({"since": "2026-01-02T00:00:00Z", "chats": vec![ANN; 21]}),
            "/chats",
        ),
    ];
    for (body, pointer) in wrong {
        let (status, answer) = backfill(&linked, body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_found_after_a_new_connection() {
    let linked = Linked::with(&[("WHATSAPP__GAP_CHECK_CHATS", "5")]).await;
    let (_, receiver) = linked.webhook().await;
    let ann = linked.server.contact(ANN, "Ann");
    let first = write(&linked, &ann, "first").await;
    let logins = linked.device.logins();
    linked.device.cut();
    let online = linked.device.wait_online(logins + 1, STEP_MAX).await;
    online.expect("online again");
    assert_eq!(linked.server.asked_for_history(), Vec::<String>::new());
    let lost = remembered("LOST", now(), "lost");
    let last = write(&linked, &ann, "last").await;
    linked.server.remember(&pn(ANN), vec![first, lost, last]);
    receiver.wait_for(3).await;
    let mut all = texts(&receiver);
    assert_eq!(all.pop(), Some(("lost".to_owned(), true)));
    assert_eq!(linked.server.asked_for_history(), [pn(ANN)]);
}
