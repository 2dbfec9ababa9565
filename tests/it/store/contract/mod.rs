//! What every home of the audit must do. A new home passes these by adding its name to each
//! `homes!`.

macro_rules! homes {
    ($($home:ident: $($test:ident)*;)*) => {$(
        mod $home {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
                if let Some(home) = super::$home().await {
                    super::$test(home).await;
                }
            })*
        }
    )*};
    ($($home:ident)* => $tests:tt) => { homes!(@ $($home $tests)*); };
    (@ $($home:ident { $($test:ident)* })*) => { homes!($($home: $($test)*;)*); };
}

mod attempts;
mod listings;
mod states;

use std::time::SystemTime;

use uuid::Uuid;
use wahook::{
    model::{
        Attempt, ClientId, Delivery, EventFilter, EventId, EventStatus, Kind, Outcome, Priority,
        Timestamp, WebhookId,
    },
    store::Store,
};

use super::{Home, cql, sqlite};

fn client(id: u64) -> ClientId {
    ClientId::try_from(id).expect("in range")
}

fn webhook(id: u128) -> WebhookId {
    WebhookId(Uuid::from_u128(id))
}

/// Attempts of these tests lie in the last minutes: some homes forget what is old. Seconds count
/// from here.
fn origin() -> i64 {
    static ORIGIN: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    // Not across midnight or a full hour, unless a test wants to.
    *ORIGIN.get_or_init(|| Timestamp::from_system(SystemTime::now()).seconds() / 3600 * 3600 - 3600)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis((origin() + second) * 1000)
}

/// The attempt of event `event` (published in that second) with this number, ended in second `at`.
pub(super) fn attempt(event: i64, number: u16, status: EventStatus, second: i64) -> Attempt {
    let webhook_id = webhook(1);
    let created_at = at(event);
    let message_id: wahook::model::MessageId = format!("M{event}").parse().expect("valid");
    let ok = status == EventStatus::Delivered;
    Attempt {
        delivery: Delivery {
            event_id: EventId::derive(created_at, webhook_id, "c", "s", &message_id, &Kind::Text),
            webhook_id,
            client_id: client(1),
            phone: "4915112345678".parse().expect("valid"),
            message_id,
            kind: Kind::ListReply,
            created_at,
            body: b"{\"content\":\"hi\"}".to_vec().into(),
            attempt_count: number.saturating_sub(1),
            attempts_this_round: 0,
            priority: Priority::Normal,
            chat_key: None,
        },
        number,
        outcome: if ok { Outcome::Ok } else { Outcome::Http5xx },
        status,
        http_status: Some(if ok { 200 } else { 500 }),
        response: Some("answer".to_owned()),
        error: (!ok).then(|| format!("error of {number}")),
        started_at: at(second),
        latency_ms: 7,
        next_retry_at: None,
    }
}

async fn ids(
    store: &dyn Store,
    filter: EventFilter,
    after: Option<EventId>,
    limit: usize,
) -> Vec<EventId> {
    let events = store
        .events(client(1), webhook(1), filter, after, limit)
        .await
        .expect("answers");
    events
        .iter()
        .map(|event| event.last().delivery.event_id)
        .collect()
}
