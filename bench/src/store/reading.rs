//! Reading pages of events while the store holds many.

use std::time::Instant;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use uuid::Uuid;
use wahook::{
    model::{EventFilter, EventId, EventStatus, WebhookId},
    store::Store,
};

use super::{Bench, HOT, client};

/// What is read. The first is of any webhook, the others are of the busiest.
const READINGS: [&str; 5] = [
    "newest page",
    "newest page, busiest webhook",
    "later page, busiest webhook",
    "pending, busiest",
    "one event",
];
/// How often each is read.
const READS: usize = 500;
const PAGE: usize = 51;

impl Bench {
    /// Reads as the API does, and prints how long it took.
    pub(super) async fn read(&self) -> anyhow::Result<()> {
        let store = &self.store;
        let none = EventFilter::default();
        // One that gets its share: places divisible by HOT may get nothing.
        let quiet = |number: usize| {
            WebhookId(Uuid::from_u128(
                number as u128 % u128::from(self.webhooks / HOT) * 10 + 1,
            ))
        };
        let hot = WebhookId(Uuid::from_u128(0));
        let first = store.events(client(), hot, none, None, 200).await?;
        let last = first
            .last()
            .context("the hot webhook has events")?
            .last()
            .delivery
            .event_id;
        let mut lines = Vec::new();
        for name in READINGS {
            let mut micros = Histogram::<u64>::new(3)?;
            for number in 0..READS {
                let webhook = if name == READINGS[0] {
                    quiet(number)
                } else {
                    hot
                };
                let began = Instant::now();
                let count = self.found(name, webhook, last).await?;
                micros.record(u64::try_from(began.elapsed().as_micros())?)?;
                ensure!(count > 0, "{name}: nothing was found");
            }
            let ms = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
            lines.push(format!(
                "  {name:30} {:>10.2} ms p50 {:>8.2} ms p99",
                ms(0.5),
                ms(0.99)
            ));
        }
        println!("{}", lines.join("\n"));
        Ok(())
    }

    /// How much one of the [`READINGS`] finds. A webhook without pending events counts as one.
    async fn found(&self, name: &str, webhook: WebhookId, last: EventId) -> anyhow::Result<usize> {
        let page = async |filter, after| {
            let events = self.store.events(client(), webhook, filter, after, PAGE);
            events.await.map(|events| events.len())
        };
        let all = EventFilter::default();
        let pending = EventFilter {
            status: Some(EventStatus::Pending),
            ..all
        };
        Ok(match name {
            "later page, busiest webhook" => page(all, Some(last)).await?,
            "pending, busiest" => 1 + page(pending, None).await?,
            "one event" => {
                let event = self.store.event(client(), webhook, last).await?;
                usize::from(event.is_some())
            }
            _ => page(all, None).await?,
        })
    }
}
