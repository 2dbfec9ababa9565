//! Listing a bucket while its keys change.

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;
use wahook::{
    bus::Bus,
    model::{ClientId, PairingMethod, Phone, Session, SessionId, Timestamp, Webhook, WebhookId},
    tasks::Tasks,
    wire::Keyring,
};

use crate::support::nats::NatsServer;

/// Keys in each bucket.
const KEYS: usize = 30;
/// Lists while they change.
const ROUNDS: usize = 150;

fn client() -> ClientId {
    ClientId::try_from(1).expect("in range")
}

fn session() -> Session {
    Session {
        id: SessionId(Uuid::now_v7()),
        client_id: client(),
        phone: None,
        method: PairingMethod::Qr,
        own_messages: false,
        generation: 1,
        is_deleted: false,
        created_at: Timestamp::EPOCH,
    }
}

async fn register(bus: &Bus) -> Vec<WebhookId> {
    let mut ids = Vec::new();
    for number in 0..KEYS {
        let id = WebhookId(Uuid::now_v7());
        let phone: Phone = format!("4915112345{number:03}").parse().expect("valid");
        let url = "https://example.com/".to_owned();
        let webhook = Webhook::new(id, client(), phone.clone(), url, Timestamp::EPOCH);
        bus.webhooks()
            .register(client(), &phone, |_| webhook.clone())
            .await
            .expect("registers");
        ids.push(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_every_key_although_all_of_them_change_meanwhile() {
    let server = NatsServer::start().await;
    let bus = server.connect().await;
    bus.apply().await.expect("applies");
    let keys = Keyring::parse(&Keyring::new_line("test").expect("an id")).expect("a key");
    bus.load_webhooks(keys.clone(), &Tasks::default())
        .await
        .expect("loads");
    let webhooks = register(&bus).await;
    let sessions: Vec<Session> = std::iter::repeat_with(session).take(KEYS).collect();
    for session in &sessions {
        bus.sessions().create(session).await.expect("creates");
    }
    let cancel = CancellationToken::new();
    let changes = change_all(bus.clone(), webhooks, sessions, cancel.clone());
    let changing = AbortOnDropHandle::new(tokio::spawn(changes));
    for round in 0..ROUNDS {
        let resealed = bus.reseal(&keys).await.expect("seals");
        assert_eq!(resealed.webhooks, KEYS as u64, "in round {round}");
        let listed = bus.sessions().list(client()).await.expect("answers");
        assert_eq!(listed.len(), KEYS, "in round {round}");
    }
    cancel.cancel();
    changing.await.expect("no panic");
}

/// Changes all of them, again and again.
async fn change_all(
    bus: Bus,
    webhooks: Vec<WebhookId>,
    sessions: Vec<Session>,
    cancel: CancellationToken,
) {
    while !cancel.is_cancelled() {
        for id in &webhooks {
            let change = |webhook: &mut Webhook| webhook.rate_per_second ^= 1;
            let changed = bus.webhooks().update(client(), *id, change).await;
            changed.expect("changes");
        }
        for session in &sessions {
            let change = |session: &mut Session| session.generation ^= 2;
            let changed = bus.sessions().change(client(), session.id, change).await;
            changed.expect("changes");
        }
    }
}
