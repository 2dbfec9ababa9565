//! The device itself, and the secrets of messages.

use std::sync::Arc;

use async_trait::async_trait;
use whatsapp_rust::{
    store::{
        error::Result,
        traits::{
            DeviceStore, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry,
            merge_msg_secret_message_ts,
        },
    },
    wacore::{reporting_token::MESSAGE_SECRET_SIZE, stats::StorageResourceReport, store::Device},
};

use super::{
    store::KeyStore,
    table::{Table, decode, encode, names},
};
use crate::model::KeyChange;

const DEVICE: &[u8] = b"device";
/// A log is of one device.
const DEVICE_ID: i32 = 1;

#[async_trait]
impl DeviceStore for KeyStore {
    async fn save(&self, device: &Device) -> Result<()> {
        self.now(vec![Table::Single.put(DEVICE, encode(device))])
            .await
    }

    async fn load(&self) -> Result<Option<Device>> {
        self.get_decoded(Table::Single, DEVICE)
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(Table::Single, DEVICE).is_some())
    }

    async fn create(&self) -> Result<i32> {
        if !self.exists().await? {
            self.save(&Device::new()).await?;
        }
        Ok(DEVICE_ID)
    }

    async fn snapshot_db(&self, _name: &str, _extra_content: Option<&[u8]>) -> Result<()> {
        Ok(())
    }

    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport::default()
    }
}

/// A secret, when it expires, and when its message was sent; seconds since 1970, 0 for never.
type Secret = ([u8; MESSAGE_SECRET_SIZE], i64, i64);

fn key(chat: &str, sender: &str, id: &str) -> bytes::Bytes {
    names(&[chat.as_bytes(), sender.as_bytes(), id.as_bytes()])
}

#[async_trait]
impl MsgSecretStore for KeyStore {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &[u8; MESSAGE_SECRET_SIZE],
    ) -> Result<()> {
        let entry = MsgSecretEntry {
            chat: Arc::from(chat),
            sender: Arc::from(sender),
            msg_id: Arc::from(msg_id),
            secret: *secret,
            expires_at: 0,
            message_ts: 0,
        };
        self.put_msg_secrets(vec![entry]).await.map(drop)
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let count = entries.len();
        self.update(|memory| {
            for entry in entries {
                let key = key(&entry.chat, &entry.sender, &entry.msg_id);
                let known = memory.tables.get(Table::MessageSecrets as u8, &key);
                let known: Option<Secret> = known
                    .map(|bytes| decode(Table::MessageSecrets, bytes))
                    .transpose()?;
                let (expires_at, sent_at) = match known {
                    Some((_, expires_at, sent_at)) => (
                        merge_msg_secret_expiry(expires_at, entry.expires_at),
                        merge_msg_secret_message_ts(sent_at, entry.message_ts),
                    ),
                    None => (entry.expires_at, entry.message_ts),
                };
                let secret: Secret = (entry.secret, expires_at, sent_at);
                memory.later(vec![Table::MessageSecrets.put(key, encode(&secret))]);
            }
            Ok(count)
        })?
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let key = key(chat, sender, msg_id);
        let found: Option<Secret> = self.get_decoded(Table::MessageSecrets, &key)?;
        Ok(found.map(|(secret, _, sent_at)| (secret.to_vec(), sent_at)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_where(Table::MessageSecrets, |value| {
            let (_, expires_at, _): Secret = decode(Table::MessageSecrets, value)?;
            Ok(expires_at != 0 && expires_at <= cutoff_timestamp)
        })
    }
}

impl KeyStore {
    /// Deletes the rows that this says are old, and counts them.
    pub(super) fn delete_where(
        &self,
        table: Table,
        is_old: impl Fn(&[u8]) -> Result<bool>,
    ) -> Result<u32> {
        self.update(|memory| {
            let mut old: Vec<KeyChange> = Vec::new();
            for (key, value) in memory.tables.rows(table as u8, b"") {
                if is_old(value)? {
                    old.push(table.delete(key.clone()));
                }
            }
            let count = old.len();
            memory.later(old);
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        })?
    }
}
