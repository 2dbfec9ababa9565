//! `kill -9` of ingest at every named point between WhatsApp's message and its receipt.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::{sync::oneshot, time::timeout};
use whatsapp_sim::{Contact, Device, Seen, Server, content};

use super::{
    PHONE, STEP_MAX, link,
    order::{Order, Stored},
};
use crate::support::{
    app::{App, eventually, stays},
    process::Node,
    proxy::{At, NatsProxy},
    receiver::Receiver,
};

const GROUP: &str = "120363000000000001@g.us";
const PREFIX: &str = "KILL";
/// Where the keys of the session are.
const FILES: &str = "files";
const JETSTREAM: &str = "jetstream";

/// Where ingest dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The message was written to the client's connection.
    StanzaSent,
    /// The client's publish did not reach the stream.
    PublishWithheld,
    /// The stream has the message, and the client does not know.
    AckWithheld,
    /// The client knows, and WhatsApp does not.
    AckForwarded,
    /// The client has told WhatsApp, which did not read it.
    ReceiptUnread,
    /// WhatsApp knows.
    ReceiptRead,
}

const POINTS: [Point; 6] = [
    Point::StanzaSent,
    Point::PublishWithheld,
    Point::AckWithheld,
    Point::AckForwarded,
    Point::ReceiptUnread,
    Point::ReceiptRead,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chat {
    Direct,
    Group,
}

/// A point of one message at which the stand-in tells us.
struct Mark {
    point: Point,
    id: String,
    reached: Option<oneshot::Sender<()>>,
}

type Marked = Arc<Mutex<Option<Mark>>>;

/// Whether the stand-in reads what it saw.
fn at_mark(marked: &Marked, seen: &Seen) -> bool {
    let mut marked = marked.lock().expect("no panic while held");
    let Some(mark) = marked.as_mut() else {
        return true;
    };
    let (reaches, reads) = match seen {
        Seen::Sent { id } => (mark.point == Point::StanzaSent && *id == mark.id, true),
        Seen::Receipt { ids } if !ids.contains(&mark.id) => (false, true),
        // Were the client faster than the kill, the point would be another: a receipt that comes
        // too soon is not read.
        Seen::Receipt { .. } => (
            matches!(mark.point, Point::ReceiptUnread | Point::ReceiptRead),
            matches!(mark.point, Point::ReceiptRead | Point::StanzaSent),
        ),
    };
    if reaches && let Some(reached) = mark.reached.take() {
        let _ = reached.send(());
    }
    reads
}

struct Scene {
    app: App,
    proxy: NatsProxy,
    device: Device,
    marked: Marked,
    order: Order,
    ingest: Node,
    alice: Contact,
    bob: Contact,
    sent: Vec<String>,
}

impl Scene {
    async fn set(keys: &'static str) -> Self {
        let server = Server::start().await.expect("the stand-in starts");
        // Nobody takes messages out of the stream until the end.
        let app = App::on_whatsapp_playing("api", &server, &[("WHATSAPP__KEYS", keys)]).await;
        let client = app.client(1).await;
        let proxy = NatsProxy::start(app.nats.port()).await;
        let ingest = app.second_with("ingest", &[("NATS__URL", &proxy.url())]);
        let (_, device) = link(&client, &server, json!({}), PHONE).await;
        let stored = Arc::new(tokio::sync::Mutex::new(Stored::new(&app.nats).await));
        let order = Order::default();
        let marked = Marked::default();
        let noting = order.clone();
        let marking = Arc::clone(&marked);
        server.watch(move |seen| {
            let reads = at_mark(&marking, &seen);
            let noted = noting.clone().note(seen, Arc::clone(&stored), PREFIX);
            Box::pin(async move { noted.await && reads })
        });
        let alice = server.contact("4915200000001", "Alice");
        let bob = server.contact("4915200000002", "Bob");
        let mut scene = Self {
            app,
            proxy,
            device,
            marked,
            order,
            ingest,
            alice,
            bob,
            sent: Vec::new(),
        };
        // Sessions of both chats exist, so that what follows is what follows most of the time.
        for chat in [Chat::Direct, Chat::Group] {
            let id = scene.next_id();
            scene.write(chat, &id).await;
        }
        scene
            .device
            .wait_idle(STEP_MAX)
            .await
            .expect("acknowledged");
        scene
    }

    fn next_id(&mut self) -> String {
        let id = format!("{PREFIX}{:04}", self.sent.len());
        self.sent.push(id.clone());
        id
    }

    async fn write(&self, chat: Chat, id: &str) {
        let message = content::text(id);
        let written = match chat {
            Chat::Direct => self.alice.send_as(&self.device, id, message).await,
            Chat::Group => {
                self.bob
                    .send_group_as(&self.device, GROUP, id, message)
                    .await
            }
        };
        written.expect("sent");
    }

    /// Writes a marked message with others around it, and kills ingest when it is at the point.
    async fn die_at(&mut self, point: Point, chat: Chat, is_offline: bool) {
        let ids: Vec<String> = (0..4).map(|_| self.next_id()).collect();
        let (reached, told) = oneshot::channel();
        let of_proxy = match point {
            Point::PublishWithheld => Some(At::Publish),
            Point::AckWithheld => Some(At::Ack),
            Point::AckForwarded => Some(At::Acked),
            Point::StanzaSent | Point::ReceiptUnread | Point::ReceiptRead => None,
        };
        let told = of_proxy.map_or(told, |at| self.proxy.trap(at, &ids[2]));
        let mark = Mark {
            point,
            id: ids[2].clone(),
            reached: Some(reached),
        };
        *self.marked.lock().expect("no panic while held") = Some(mark);
        let other = if chat == Chat::Direct {
            Chat::Group
        } else {
            Chat::Direct
        };
        for (chat, id) in [
            (chat, &ids[0]),
            (other, &ids[1]),
            (chat, &ids[2]),
            (other, &ids[3]),
        ] {
            self.write(chat, id).await;
        }
        if is_offline {
            self.ingest = self.start();
        }
        let told = timeout(STEP_MAX, told).await;
        told.unwrap_or_else(|_| {
            panic!("{point:?} was not reached, {chat:?}, offline: {is_offline}")
        })
        .expect("told once");
        self.ingest.kill().await;
        self.device
            .wait_offline(STEP_MAX)
            .await
            .expect("the connection died with it");
        *self.marked.lock().expect("no panic while held") = None;
    }

    fn start(&self) -> Node {
        self.app
            .second_with("ingest", &[("NATS__URL", &self.proxy.url())])
    }

    /// Starts ingest, which has to come to terms with what its predecessor left.
    async fn recover(&mut self) {
        self.ingest = self.start();
        let logins = self.device.logins();
        self.device
            .wait_online(logins + 1, STEP_MAX)
            .await
            .expect("taken up again");
        self.device
            .wait_idle(STEP_MAX)
            .await
            .expect("all acknowledged in the end");
    }
}

async fn dies_everywhere(chat: Chat, keys: &'static str) {
    let mut scene = Scene::set(keys).await;
    for point in POINTS {
        scene.die_at(point, chat, false).await;
        scene.die_at(point, chat, true).await;
        scene.recover().await;
    }
    scene.ingest.kill().await;
    let sent: BTreeSet<String> = scene.sent.iter().cloned().collect();
    let (acknowledged, early) = scene.order.acknowledged();
    assert_eq!(
        early,
        Vec::<String>::new(),
        "acknowledged before the stream had it"
    );
    assert_eq!(
        acknowledged.into_iter().collect::<BTreeSet<_>>(),
        sent,
        "all were acknowledged"
    );
    let mut stored = Stored::new(&scene.app.nats).await;
    let mut ids = stored.look().await.to_vec();
    ids.sort();
    assert_eq!(
        ids,
        sent.iter().cloned().collect::<Vec<_>>(),
        "each is stored, and once"
    );

    let receiver = Receiver::answering(&[200]).await;
    scene
        .app
        .client(1)
        .await
        .register(PHONE, &receiver.url("/"))
        .await;
    let mut deliver = scene.app.second("deliver,record");
    // What a lost key makes undecryptable is told, and comes once its sender's phone sends it
    // again.
    let contents = || -> Vec<String> {
        let all = receiver.received();
        let all = all.iter().map(|one| one.json());
        all.filter(|one| one["type"] != "unavailable")
            .map(|one| one["message_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    eventually("all have come", async || {
        (contents().len() >= sent.len()).then_some(())
    })
    .await;
    stays(
        Duration::from_millis(500),
        "no webhook comes twice",
        async || contents().len() <= sent.len(),
    )
    .await;
    let received = contents();
    assert_eq!(received.len(), sent.len(), "no webhook twice");
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), sent);
    deliver.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_of_a_direct_message_nothing_is_lost_or_doubled() {
    dies_everywhere(Chat::Direct, FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_of_a_group_message_nothing_is_lost_or_doubled() {
    dies_everywhere(Chat::Group, FILES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_of_a_direct_message_with_keys_in_jetstream() {
    dies_everywhere(Chat::Direct, JETSTREAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_of_a_group_message_with_keys_in_jetstream() {
    dies_everywhere(Chat::Group, JETSTREAM).await;
}
