//! Nothing is acknowledged to WhatsApp before the stream has it, whatever dies.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;
use whatsapp_sim::{Server, content};

use super::{Linked, PHONE, SOON, link, when};
use crate::support::{app::App, receiver::Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_nats_is_down() {
    let mut linked = Linked::with(&[("WHATSAPP__PUBLISH_PATIENCE", "5s"), ("BUS__PUBLISH_DEADLINE", "2s")]).await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact("4915200000001", "Alice");
    alice.send(&linked.device, content::text("before")).await.expect("sent");
    receiver.wait_for(1).await;
    linked.device.wait_idle(SOON).await.expect("acknowledged");
    linked.app.nats.stop().await;
    let (memory, mut sent) = (linked.app.rss_bytes(), Vec::new());
    let down_since = Instant::now();
    while down_since.elapsed() < Duration::from_secs(30) {
        let text = format!("down {}", sent.len());
        sent.push(alice.send(&linked.device, content::text(&text)).await.expect("sent"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    linked.device.wait_offline(SOON).await.expect("the session went offline");
    assert_eq!(linked.device.pending(), sent, "WhatsApp keeps them all");
    let grown = linked.app.rss_bytes().saturating_sub(memory);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
    linked.app.nats.start_again().await;
    linked.device.wait_idle(Duration::from_secs(60)).await.expect("back by itself");
    receiver.wait_for(sent.len() + 1).await;
    when(&linked.client, &linked.session, "connected").await;
    let ids: BTreeSet<_> = receiver.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!((ids.len(), receiver.received().len()), (sent.len() + 1, sent.len() + 1), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nothing_is_lost_and_nothing_doubled() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp_playing("api,deliver,record", &server, &[]).await;
    let client = app.client(1).await;
    let mut ingest = app.second("ingest");
    let (session, device) = link(&client, &server, json!({}), PHONE).await;
    let receiver = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    let contacts: Vec<_> = (0..4).map(|number| server.contact(&format!("491520000000{number}"), "C")).collect();
    let mut sent = BTreeSet::new();
    for round in 0..10_u64 {
        let logins = device.logins();
        for number in 0..10 {
            let contact = &contacts[number % contacts.len()];
            let text = content::text(&format!("round {round} number {number}"));
            sent.insert(contact.send(&device, text).await.expect("sent"));
        }
        // Each round dies at another point of the way: before the hook, in it, after it.
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        ingest.kill().await;
        ingest = app.second("ingest");
        device.wait_online(logins + 1, Duration::from_secs(60)).await.expect("taken up again");
    }
    device.wait_idle(Duration::from_secs(60)).await.expect("all acknowledged in the end");
    receiver.wait_for(sent.len()).await;
    when(&client, &session, "connected").await;
    let received: Vec<String> =
        receiver.received().iter().map(|one| one.json()["message_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(received.iter().cloned().collect::<BTreeSet<_>>(), sent, "nothing lost");
    assert_eq!(received.len(), sent.len(), "no webhook twice");
    ingest.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_takes_over_when_the_first_dies() {
    let mut linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact("4915200000001", "Alice");
    let logins = linked.device.logins();
    let mut second = linked.app.second("ingest,deliver");
    // Long enough for the second to take it, if the lease did not keep it away.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(linked.device.logins(), logins);
    linked.app.kill().await;
    let id = alice.send(&linked.device, content::text("while nobody is there")).await.expect("sent");
    linked.device.wait_acked(&id, Duration::from_secs(40)).await.expect("the second has it");
    receiver.wait_for(1).await;
    linked.app.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        linked.device.is_online() && linked.device.logins() == logins + 1,
        "the first comes back and does not fight"
    );
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledgement_follows_its_publish() {
    let server = Server::start().await.expect("the stand-in starts");
    // Nobody takes messages out of the stream.
    let app = App::on_whatsapp_playing("api,ingest", &server, &[]).await;
    let client = app.client(1).await;
    let (_, device) = link(&client, &server, json!({}), PHONE).await;
    // What the phone itself sends to its device is acknowledged and never published.
    device.wait_idle(SOON).await.expect("nothing left");
    let private = device.acked().len() as u64;
    let contacts: Vec<_> = (0..5).map(|number| server.contact(&format!("491520000000{number}"), "C")).collect();
    let look = async || {
        // In this order: what was acknowledged by then must be stored by now.
        let acked = device.acked().len() as u64 - private;
        let stored = app.nats.messages("WA_MSG").await;
        assert!(stored >= acked, "{acked} acknowledged, {stored} stored");
        acked
    };
    let all = 200;
    for number in 0..all {
        let contact = &contacts[number % contacts.len()];
        contact.send(&device, content::text(&number.to_string())).await.expect("sent");
        look().await;
    }
    device.wait_idle(SOON).await.expect("all acknowledged");
    assert_eq!((look().await, app.nats.messages("WA_MSG").await), (all as u64, all as u64));
}
