//! Nothing is acknowledged to WhatsApp before the stream has it, whatever dies.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use whatsapp_sim::{Server, content};

use super::{Linked, PHONE, STEP_MAX, link, order::Order, when};
use crate::support::app::{App, stays};

/// Messages that are sent while NATS is down.
const SENT_WHILE_DOWN: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_nats_is_down() {
    let mut linked = Linked::with(&[
        ("WHATSAPP__PUBLISH_PATIENCE", "5s"),
        ("BUS__PUBLISH_DEADLINE", "2s"),
        // An acknowledgement that is lost with the server comes again after this.
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ])
    .await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact("4915200000001", "Alice");
    alice
        .send(&linked.device, content::text("before"))
        .await
        .expect("sent");
    receiver.wait_for(1).await;
    linked
        .device
        .wait_idle(STEP_MAX)
        .await
        .expect("acknowledged");
    linked.app.nats.stop().await;
    let memory = linked.app.rss_bytes();
    let mut sent = Vec::new();
    // Half of them come while the session still waits for the stream, half once it is offline.
    for _ in 0..SENT_WHILE_DOWN / 2 {
        let message = content::text(&format!("down {}", sent.len()));
        sent.push(alice.send(&linked.device, message).await.expect("sent"));
    }
    linked
        .device
        .wait_offline(STEP_MAX)
        .await
        .expect("the session went offline");
    while sent.len() < SENT_WHILE_DOWN {
        let message = content::text(&format!("down {}", sent.len()));
        sent.push(alice.send(&linked.device, message).await.expect("sent"));
    }
    assert_eq!(linked.device.pending(), sent, "WhatsApp keeps them all");
    let grown = linked.app.rss_bytes().saturating_sub(memory);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more");
    linked.app.nats.start_again().await;
    linked
        .device
        .wait_idle(Duration::from_secs(60))
        .await
        .expect("back by itself");
    receiver.wait_for(sent.len() + 1).await;
    when(&linked.client, &linked.session, "connected").await;
    let ids: BTreeSet<_> = receiver
        .received()
        .iter()
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    assert_eq!(
        (ids.len(), receiver.received().len()),
        (sent.len() + 1, sent.len() + 1),
        "each once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_takes_over_when_the_first_dies() {
    let mut linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact("4915200000001", "Alice");
    let logins = linked.device.logins();
    let mut second = linked.app.second("ingest,deliver");
    // Long enough for the second to take it, if the lease did not keep it away.
    let span = Duration::from_secs(5);
    stays(span, "the first keeps the session", async || {
        linked.device.logins() == logins
    })
    .await;
    linked.app.kill().await;
    let id = alice
        .send(&linked.device, content::text("while nobody is there"))
        .await
        .expect("sent");
    linked
        .device
        .wait_acked(&id, Duration::from_secs(40))
        .await
        .expect("the second has it");
    receiver.wait_for(1).await;
    linked.app.restart().await;
    stays(
        span,
        "the first comes back and does not fight",
        async || linked.device.is_online() && linked.device.logins() == logins + 1,
    )
    .await;
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledgement_follows_its_publish() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp_playing("api,ingest", &server, &[]).await;
    app.leaves_work("nobody takes messages out of the stream");
    let client = app.client(1).await;
    let (_, device) = link(&client, &server, json!({}), PHONE).await;
    let order = Order::watch(&server, &app.nats, "SEEN").await;
    let contacts: Vec<_> = (0..5)
        .map(|number| server.contact(&format!("491520000000{number}"), "C"))
        .collect();
    let mut sent = Vec::new();
    let mut send = async |count: usize| {
        for number in 0..count {
            let contact = &contacts[number % contacts.len()];
            let id = format!("SEEN{:04}", sent.len());
            let message = content::text(&id);
            match number % 3 {
                0 => contact
                    .send_group_as(&device, "120363000000000001@g.us", &id, message)
                    .await
                    .expect("sent"),
                _ => contact.send_as(&device, &id, message).await.expect("sent"),
            }
            sent.push(id);
        }
    };
    send(150).await;
    device.wait_idle(STEP_MAX).await.expect("all acknowledged");
    device.cut();
    device.wait_offline(STEP_MAX).await.expect("offline");
    send(150).await;
    device.wait_online(2, STEP_MAX).await.expect("back");
    device.wait_idle(STEP_MAX).await.expect("all acknowledged");
    // At each receipt the stand-in looked into the stream before it went on.
    assert_eq!(order.acknowledged(), (sent, Vec::new()));
}
