//! What a run reads when it is over, as an operator would.

use std::collections::HashMap;

use ledger::{Dead, Fate, Ledgers, Recorded};
use rusqlite::{Connection, OpenFlags};
use wahook::wire;

use crate::{farm::ID_PREFIX, run::Run};

impl Run {
    /// What was offered, accepted, seen, recorded and given up.
    pub(super) async fn books(&self) -> Ledgers {
        let (offered, accepted) = {
            let books = self.publisher.done().await;
            (books.offered.clone(), books.accepted.clone())
        };
        let recorded = self.recorded();
        let dead = self.dead().await;
        Ledgers {
            offered,
            accepted,
            sightings: self.farm.sightings(),
            recorded,
            dead,
            faults: self.faults.clone(),
        }
    }

    /// What the SQLite file says, read as an operator would.
    fn recorded(&self) -> HashMap<u64, Recorded> {
        const ENDS: &str = "SELECT a.message_id, e.status, e.number,
            (SELECT COUNT(*) FROM attempts x WHERE x.webhook_id = e.webhook_id AND x.event_id = \
            e.event_id
                AND x.http_status IS NOT NULL)
            FROM events e JOIN attempts a USING (webhook_id, event_id, number)";
        let path = self.fleet.app.data.path().join("hooks.db");
        let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the store's file");
        let mut ends = file.prepare(ENDS).expect("the tables of this version");
        let rows = ends.query_map([], |row| {
            let fate = match row.get::<_, String>(1)?.as_str() {
                "delivered" => Fate::Delivered,
                "failed" => Fate::Failed,
                _ => Fate::Open,
            };
            Ok((
                row.get::<_, String>(0)?,
                Recorded {
                    fate,
                    attempts: row.get(2)?,
                    answered: row.get(3)?,
                },
            ))
        });
        let rows = rows.expect("rows").map(|row| row.expect("a row"));
        rows.filter_map(|(id, recorded)| Some((number(&id)?, recorded)))
            .collect()
    }

    /// What is among the dead letters.
    async fn dead(&self) -> HashMap<u64, Dead> {
        let stream = self
            .fleet
            .app
            .nats
            .jetstream()
            .await
            .get_stream("WA_DLQ")
            .await
            .expect("the stream is there");
        let state = stream.cached_info().state.clone();
        let mut all = HashMap::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream
                .get_raw_message(sequence)
                .await
                .expect("nobody deletes them");
            let letter = wire::decode_dead_letter(&message.payload).expect("a dead letter");
            if let Some(id) = number(letter.delivery.message_id.as_str()) {
                all.insert(
                    id,
                    Dead {
                        reason: letter.reason,
                    },
                );
            }
        }
        all
    }
}

fn number(message_id: &str) -> Option<u64> {
    message_id.strip_prefix(ID_PREFIX)?.parse().ok()
}
