//! Messages at a fixed rate, whatever becomes of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ledger::Accepted;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Map;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wahook::{
    bus::Bus,
    model::{Kind, Message, Timestamp},
};

use crate::{
    farm::{Clock, ID_PREFIX},
    run::Endpoint,
};

/// Publishes under way at once: two hundred a second while nats-server is away for ten seconds.
const UNDER_WAY: usize = 2_000;

/// A word of every message's text, which no log may have.
pub(crate) const SPOKEN: &str = "grüße";

/// What was offered and accepted so far, and the way to offer more.
#[derive(Clone)]
pub(crate) struct Publisher {
    bus: Bus,
    clock: Clock,
    endpoints: Arc<Vec<Endpoint>>,
    next: Arc<AtomicU64>,
    books: Arc<Mutex<Books>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) offered: HashMap<u64, u32>,
    pub(crate) accepted: HashMap<u64, Accepted>,
}

/// Publishing that goes on until [`Load::stop`].
pub(crate) struct Load {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Chats that go on until [`Talk::stop`].
pub(crate) struct Talk {
    cancel: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<Vec<u64>>>,
}

impl Publisher {
    pub(crate) fn new(bus: Bus, clock: Clock, endpoints: Arc<Vec<Endpoint>>) -> Self {
        let permits = Arc::new(Semaphore::new(UNDER_WAY));
        let next = Arc::default();
        let books = Arc::default();
        let tasks = TaskTracker::new();
        Self {
            bus,
            clock,
            endpoints,
            next,
            books,
            permits,
            tasks,
        }
    }

    /// Offers one message, without waiting for what becomes of it.
    pub(crate) async fn offer(&self, endpoint: u32) {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("never closed");
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let message = message(id, &self.endpoints[endpoint as usize]);
        self.books().offered.insert(id, endpoint);
        let this = self.clone();
        self.tasks.spawn(async move {
            // Without an acknowledgement it may come or not: neither would be wrong.
            if this.bus.publish_message(&message).await.is_ok() {
                let at = this.clock.now();
                this.books().accepted.insert(id, Accepted { at, endpoint });
            }
            drop(permit);
        });
    }

    /// Offers so many a second to each of these endpoints, in an order that the seed decides.
    pub(crate) fn start(&self, seed: u64, endpoints: Vec<u32>, per_second_each: f64) -> Load {
        let this = self.clone();
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            let mut chance = StdRng::seed_from_u64(seed);
            let gap = Duration::from_secs_f64(1.0 / (per_second_each * endpoints.len() as f64));
            let mut due = Instant::now();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(due) => {}
                }
                due += gap;
                this.offer(endpoints[chance.random_range(0..endpoints.len())])
                    .await;
            }
        });
        Load { cancel, task }
    }

    /// Offers messages in so many chats of each of these endpoints, so many a second in each chat,
    /// and in each chat the next one only when the one before was accepted: so their order is
    /// known.
    pub(crate) fn talk(&self, endpoints: Vec<u32>, chats: u64, per_second: f64) -> Talk {
        let cancel = CancellationToken::new();
        let gap = Duration::from_secs_f64(1.0 / per_second);
        let all = endpoints
            .into_iter()
            .flat_map(|endpoint| (0..chats).map(move |chat| (endpoint, chat)));
        let tasks = all.map(|(endpoint, chat)| {
            let this = self.clone();
            let stop = cancel.clone();
            tokio::spawn(async move {
                let mut due = Instant::now();
                let mut said = Vec::new();
                while !stop.is_cancelled() {
                    let id = this.next.fetch_add(1, Ordering::Relaxed);
                    let message = Message {
                        chat: format!("49151{chat:08}"),
                        ..message(id, &this.endpoints[endpoint as usize])
                    };
                    this.books().offered.insert(id, endpoint);
                    // One that may be in the stream or not would leave the order open.
                    while this.bus.publish_message(&message).await.is_err() {}
                    let at = this.clock.now();
                    this.books().accepted.insert(id, Accepted { at, endpoint });
                    said.push(id);
                    due += gap;
                    sleep_until(due).await;
                }
                said
            })
        });
        Talk {
            tasks: tasks.collect(),
            cancel,
        }
    }

    /// Waits until every publish has ended, one way or the other; what they came to.
    pub(crate) async fn done(&self) -> std::sync::MutexGuard<'_, Books> {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
        self.books()
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("no panic while held")
    }
}

impl Talk {
    /// What was said in each chat, in order.
    pub(crate) async fn stop(self) -> BTreeMap<u64, Vec<u64>> {
        self.cancel.cancel();
        let mut chats = BTreeMap::new();
        for (number, task) in (0..).zip(self.tasks) {
            chats.insert(number, task.await.expect("the talk did not panic"));
        }
        chats
    }
}

impl Load {
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("the load did not panic");
    }
}

fn message(id: u64, endpoint: &Endpoint) -> Message {
    Message {
        client_id: endpoint.client,
        phone: endpoint.phone.clone(),
        message_id: format!("{ID_PREFIX}{id}")
            .parse()
            .expect("letters and digits"),
        chat: "4915199999999".to_owned(),
        from: "4915199999999".to_owned(),
        to: endpoint.phone.as_str().to_owned(),
        timestamp: Timestamp::from_system(SystemTime::now()),
        kind: Kind::Text,
        content: format!("message {id} – {SPOKEN} 👋"),
        metadata: Map::new(),
        metadata_json: None,
    }
}
