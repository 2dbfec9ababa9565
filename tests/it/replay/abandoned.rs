use serde_json::{Value, json};
use wahook::{
    bus::{Bus, Work},
    model::{ClientId, Kind, Phone},
};

use super::{PHONE, letter, now, times};
use crate::support::{
    app::{App, eventually},
    nats::wear_out,
    receiver::Receiver,
};

fn part(bus: &Bus) -> u16 {
    let phone: Phone = PHONE.parse().expect("valid");
    bus.partition_of(ClientId::try_from(1).expect("in range"), &phone)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_max_deliver_becomes_a_dead_letter_and_leaves_its_stream() {
    // No deliver yet: this test is the one that fails at it.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let bus = app.nats.bus().await;
    wear_out(&bus, Work::Message, part(&bus)).await;
    bus.publish_delivery(&letter(&webhook, now(), 5_000, &Kind::Text).delivery)
        .await
        .expect("publishes");
    wear_out(&bus, Work::Retry, part(&bus)).await;
    assert_eq!(
        (
            app.nats.messages("WA_MSG").await,
            app.nats.messages("WA_RETRY").await
        ),
        (1, 1)
    );

    let _deliver = app.second("deliver");
    for (message, number) in [("M1", 1), ("D5000", 2)] {
        let event = client.event_when(&webhook, message, "failed").await;
        let attempt = event["attempts"]
            .as_array()
            .and_then(|all| all.last())
            .expect("one");
        assert_eq!(
            (&attempt["outcome"], &attempt["number"]),
            (&json!("abandoned"), &json!(number)),
            "{event}"
        );
        let path = format!("/api/dead-letters/{}", event["id"].as_str().expect("an id"));
        let reason = client.get(&path).await["reason"].clone();
        assert!(
            reason
                .as_str()
                .is_some_and(|reason| reason.contains("handed out 10 times")),
            "{reason}"
        );
    }
    eventually("the streams are empty", async || {
        (app.nats.messages("WA_MSG").await + app.nats.messages("WA_RETRY").await == 0).then_some(())
    })
    .await;
    assert_eq!(app.nats.messages("WA_DLQ").await, 2);
    assert_eq!(receiver.received().len(), 0);

    // From there it can be sent again like any other.
    let (status, _) = client
        .call("POST", "/api/replays", Some(json!({"rate_per_second": 50})))
        .await;
    assert_eq!(status, 202);
    receiver.wait_for(2).await;
    client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(times(&receiver).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_nobody_can_read_are_kept_and_delay_nothing() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    let context = app.nats.jetstream().await;
    let bus = app.nats.connect().await;
    let put = async |subject: String, bytes: Vec<u8>| {
        context
            .publish(subject, bytes.into())
            .await
            .expect("is sent")
            .await
            .expect("is stored")
    };
    put(format!("wa.msg.1.{PHONE}"), vec![7; 100_000]).await;
    put(
        format!("wa.retry.{}.1.{PHONE}", part(&bus)),
        b"nonsense".to_vec(),
    )
    .await;
    put(format!("wa.result.{}", part(&bus)), b"nonsense".to_vec()).await;
    client.publish(PHONE, "M1").await;
    receiver.wait_for(1).await;
    eventually("the three are kept", async || {
        (app.nats.messages("WA_DLQ").await == 3).then_some(())
    })
    .await;
    let request = json!({"last_by_subj": "wa.undecodable.WA_MSG"});
    let kept: Value = context
        .request("STREAM.MSG.GET.WA_DLQ", &request)
        .await
        .expect("answers");
    let headers = kept["message"]["hdrs"].as_str().expect("headers");
    let headers =
        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, headers).expect("base64");
    let headers = String::from_utf8(headers).expect("text");
    assert!(headers.contains("wa-bytes: 100000"), "{headers}");
    assert!(
        headers.contains(&format!("wa-subject: wa.msg.{}.1.{PHONE}", part(&bus))),
        "{headers}"
    );
    let data = kept["message"]["data"].as_str().expect("data");
    let data = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data).expect("base64");
    assert_eq!(data, vec![7; 64 * 1024], "cut off");
    for stream in ["WA_MSG", "WA_RETRY"] {
        eventually("the stream is empty", async || {
            (app.nats.messages(stream).await == 0).then_some(())
        })
        .await;
    }
}
