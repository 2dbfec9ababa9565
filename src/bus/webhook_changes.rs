//! Changes of webhooks: each is a compare-and-set of one key.

use std::sync::Arc;

use super::{
    Error, Webhooks,
    bucket::{Entry, Write},
    webhooks::text,
};
use crate::model::{ClientId, Phone, Webhook, WebhookId};

impl Webhooks {
    /// Registers or changes the webhook of a number; `true` when there was none before.
    ///
    /// `make` gets the present one and gives the new one. It is called again when another node was
    /// faster.
    pub async fn register(
        &self,
        client: ClientId,
        phone: &Phone,
        mut make: impl FnMut(Option<&Webhook>) -> Webhook,
    ) -> Result<(Arc<Webhook>, bool), Error> {
        self.try_register(client, phone, |present| Ok(make(present)))
            .await
    }

    /// Like [`register`](Self::register); nothing is written when `make` fails.
    pub async fn try_register<E: From<Error>>(
        &self,
        client: ClientId,
        phone: &Phone,
        mut make: impl FnMut(Option<&Webhook>) -> Result<Webhook, E>,
    ) -> Result<(Arc<Webhook>, bool), E> {
        let modified = self
            .bucket
            .modify(&text(client, phone), |present| {
                let webhook = make(present)?;
                Ok::<_, E>((Write::Put(webhook), ()))
            })
            .await?;
        let (revision, webhook) = modified.written.expect("every answer was to write");
        let webhook = self.learn(client, phone, revision, webhook);
        Ok((webhook, modified.before.is_none()))
    }

    /// Changes a webhook; `None` when this client has none of this id. An unchanged one is not
    /// written.
    pub async fn update(
        &self,
        client: ClientId,
        id: WebhookId,
        mut change: impl FnMut(&mut Webhook),
    ) -> Result<Option<Arc<Webhook>>, Error> {
        self.try_update(client, id, |webhook| {
            change(webhook);
            Ok::<_, Error>(())
        })
        .await
    }

    /// Like [`update`](Self::update); nothing is written when `change` fails.
    pub async fn try_update<E: From<Error>>(
        &self,
        client: ClientId,
        id: WebhookId,
        mut change: impl FnMut(&mut Webhook) -> Result<(), E>,
    ) -> Result<Option<Arc<Webhook>>, E> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let modified = self
            .bucket
            .modify(&text(client, &known.phone), |present| {
                let Some(present) = present.filter(|webhook| webhook.id == id) else {
                    return Ok((Write::Keep, false));
                };
                let mut webhook = present.clone();
                change(&mut webhook)?;
                let write = if webhook == *present {
                    Write::Keep
                } else {
                    Write::Put(webhook)
                };
                Ok::<_, E>((write, true))
            })
            .await?;
        if !modified.outcome {
            return Ok(None);
        }
        let before = modified.before.map(|entry| (entry.revision, entry.value));
        let now = modified.written.or(before);
        Ok(now.map(|(revision, webhook)| self.learn(client, &known.phone, revision, webhook)))
    }

    /// Deletes a webhook and gives it back; `None` when this client has none of this id.
    pub async fn delete(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let modified = self
            .bucket
            .modify(&text(client, &known.phone), |present| {
                let is_it = present.is_some_and(|webhook| webhook.id == id);
                let write = if is_it { Write::Delete } else { Write::Keep };
                Ok::<_, Error>((write, is_it))
            })
            .await?;
        let deleted = modified.before.filter(|_| modified.outcome);
        Ok(deleted.map(
            |Entry {
                 revision, value, ..
             }| {
                let key = (client, known.phone.clone());
                self.write_cache().remove(&key, revision + 1);
                Arc::new(value)
            },
        ))
    }
}
