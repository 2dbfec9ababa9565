//! Building the body of one delivery, per format.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use uuid::Uuid;
use wahook::{
    model::{ClientId, EventId, Format, Kind, Message, Timestamp, Webhook, WebhookId},
    wire::{BODY_BYTES_MAX, delivery_body},
};

fn message() -> Message {
    let metadata = json!({
        "push_name": "Ann",
        "quoted": {"message_id": "3EB0BB", "from": "4911100000"},
        "mentions": ["4933300000", "4944400000"],
    });
    Message {
        client_id: ClientId::try_from(7).expect("in range"),
        phone: "4911100000".parse().expect("valid"),
        message_id: "3EB0AA".parse().expect("valid"),
        chat: "4922200000".to_owned(),
        from: "4922200000".to_owned(),
        to: "4911100000".to_owned(),
        timestamp: Timestamp::from_millis(1_750_000_000_000),
        kind: Kind::Text,
        content: "a text of the usual length, with \"quotes\" and a line\nbreak".to_owned(),
        metadata: metadata.as_object().cloned().expect("an object"),
        metadata_json: None,
    }
}

fn bodies(criterion: &mut Criterion) {
    let message = message();
    let mut webhook = Webhook::new(
        WebhookId(Uuid::from_u128(2)),
        message.client_id,
        message.phone.clone(),
        "https://example.com/hook".to_owned(),
        Timestamp::EPOCH,
    );
    let event = EventId(Uuid::from_u128(9));
    let mut group = criterion.benchmark_group("body");
    for format in Format::ALL {
        webhook.sending.format = format;
        group.bench_function(format.as_str(), |bencher| {
            bencher.iter(|| {
                let message = black_box(&message);
                delivery_body(&webhook, message, event, Timestamp::EPOCH, BODY_BYTES_MAX)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bodies);
criterion_main!(benches);
