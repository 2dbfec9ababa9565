//! The headers of one attempt, per signature scheme.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use uuid::Uuid;
use wahook::{
    model::{ClientId, EventId, SignatureScheme, SigningSecret, Timestamp, Webhook, WebhookId},
    wire::{new_signing_key, request_headers},
};

/// About the size of the body of a text message.
const BODY_BYTES: usize = 400;

fn signing(criterion: &mut Criterion) {
    let mut webhook = Webhook::new(
        WebhookId(Uuid::from_u128(2)),
        ClientId::try_from(7).expect("in range"),
        "4911100000".parse().expect("valid"),
        "https://example.com/hook".to_owned(),
        Timestamp::EPOCH,
    );
    webhook.secrets = vec![SigningSecret::from_key(&[1; 32])];
    webhook.sending.keys = vec![new_signing_key()];
    let event = EventId(Uuid::from_u128(9));
    let body = vec![b'x'; BODY_BYTES];
    let mut group = criterion.benchmark_group("sign");
    let schemes = [
        SignatureScheme::Hmac,
        SignatureScheme::Ed25519,
        SignatureScheme::Both,
    ];
    for scheme in schemes {
        webhook.sending.signature = scheme;
        group.bench_function(scheme.as_str(), |bencher| {
            bencher
                .iter(|| request_headers(&webhook, event, 1, Timestamp::EPOCH, black_box(&body)));
        });
    }
    group.finish();
}

criterion_group!(benches, signing);
criterion_main!(benches);
