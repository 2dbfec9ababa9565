//! What the stream held at the instant of each receipt.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_nats::jetstream::stream::Stream;
use wahook::{model::Kind, wire::decode_message};
use whatsapp_sim::{Seen, Server, Watching};

use crate::support::nats::NatsServer;

/// The ids of the messages in WA_MSG whose content came, read on from where the last look ended.
/// Nobody may take messages out meanwhile.
pub(super) struct Stored {
    stream: Stream,
    read: u64,
    pub(super) ids: Vec<String>,
}

impl Stored {
    pub(super) async fn new(nats: &NatsServer) -> Self {
        let stream = nats
            .jetstream()
            .await
            .get_stream("WA_MSG")
            .await
            .expect("the stream is there");
        Self {
            stream,
            read: 0,
            ids: Vec::new(),
        }
    }

    pub(super) async fn look(&mut self) -> &[String] {
        let last = self
            .stream
            .info()
            .await
            .expect("the server answers")
            .state
            .last_sequence;
        while self.read < last {
            self.read += 1;
            let raw = self
                .stream
                .get_raw_message(self.read)
                .await
                .expect("nobody took it out");
            let message = decode_message(&raw.payload).expect("ours");
            if message.kind != Kind::Unavailable {
                self.ids.push(message.message_id.as_str().to_owned());
            }
        }
        &self.ids
    }
}

/// Of each message of a test's own: whether the stream had it whenever a receipt for it came in.
#[derive(Clone, Default)]
pub(super) struct Order(Arc<Mutex<BTreeMap<String, bool>>>);

impl Order {
    pub(super) async fn watch(server: &Server, nats: &NatsServer, prefix: &'static str) -> Self {
        let order = Self::default();
        let stored = Arc::new(tokio::sync::Mutex::new(Stored::new(nats).await));
        let seen = order.clone();
        server.watch(move |what| seen.clone().note(what, Arc::clone(&stored), prefix));
        order
    }

    /// Always lets the server go on.
    pub(super) fn note(
        self,
        seen: Seen,
        stored: Arc<tokio::sync::Mutex<Stored>>,
        prefix: &'static str,
    ) -> Watching {
        Box::pin(async move {
            let Seen::Receipt { ids } = seen else {
                return true;
            };
            let ids: Vec<_> = ids
                .into_iter()
                .filter(|id| id.starts_with(prefix))
                .collect();
            if !ids.is_empty() {
                let mut stored = stored.lock().await;
                let held = stored.look().await;
                let mut order = self.0.lock().expect("no panic while held");
                for id in ids {
                    *order.entry(id.clone()).or_insert(true) &= held.contains(&id);
                }
            }
            true
        })
    }

    /// Ids that were acknowledged at least once, and those of them that were so before the stream
    /// had them.
    pub(super) fn acknowledged(&self) -> (Vec<String>, Vec<String>) {
        let order = self.0.lock().expect("no panic while held");
        let early = order
            .iter()
            .filter(|(_, held)| !**held)
            .map(|(id, _)| id.clone())
            .collect();
        (order.keys().cloned().collect(), early)
    }
}
