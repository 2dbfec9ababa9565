//! Ratchets, identities and prekeys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::store::{error::Result, traits::SignalStore};

use super::{
    store::KeyStore,
    table::{Table, name, number},
};

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn id_of(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_be_bytes)
}

#[async_trait]
impl SignalStore for KeyStore {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        let change = Table::Identities.put(name(address), copied(&key));
        self.now(vec![change]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let put = |(address, key): &(Arc<str>, [u8; 32])| {
            Table::Identities.put(name(address), copied(key))
        };
        self.now(identities.iter().map(put).collect()).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let found = self.get(Table::Identities, address.as_bytes());
        Ok(found.and_then(|key| key[..].try_into().ok()))
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.now(vec![Table::Identities.delete(name(address))])
            .await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(Table::Sessions, address.as_bytes()))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        let change = Table::Sessions.put(name(address), copied(session));
        self.now(vec![change]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        let put = |(address, session): &(Arc<str>, Bytes)| {
            Table::Sessions.put(name(address), session.clone())
        };
        self.now(sessions.iter().map(put).collect()).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.now(vec![Table::Sessions.delete(name(address))]).await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        Ok(self.get_session(address).await?.is_some())
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        let is_of_user = |key: &[u8]| matches!(key.get(user.len()), Some(b'@' | b':'));
        let has = |table| {
            self.read(|tables| {
                let mut rows = tables.rows(table as u8, user.as_bytes());
                rows.any(|(key, _)| is_of_user(key))
            })
        };
        Ok(has(Table::Sessions) || has(Table::Identities))
    }

    async fn store_prekey(&self, id: u32, record: &[u8], _uploaded: bool) -> Result<()> {
        let change = Table::Prekeys.put(number(id), copied(record));
        self.now(vec![change]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> Result<()> {
        let put = |(id, record): &(u32, Bytes)| Table::Prekeys.put(number(*id), record.clone());
        self.now(keys.iter().map(put).collect()).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        Ok(self.get(Table::Prekeys, &number(id)))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let load = |id: &u32| Some((*id, self.get(Table::Prekeys, &number(*id))?));
        Ok(ids.iter().filter_map(load).collect())
    }

    // Nothing reads which prekeys are uploaded: the device knows the first that is not.
    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<()> {
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.later(vec![Table::Prekeys.delete(number(id))])
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let last = self.read(|tables| {
            let ids = tables.rows(Table::Prekeys as u8, b"");
            ids.filter_map(|(key, _)| id_of(key)).max()
        });
        Ok(last.unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        let change = Table::SignedPrekeys.put(number(id), copied(record));
        self.now(vec![change]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        let found = self.get(Table::SignedPrekeys, &number(id));
        Ok(found.map(Into::into))
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        Ok(self.read(|tables| {
            let rows = tables.rows(Table::SignedPrekeys as u8, b"");
            rows.filter_map(|(key, record)| Some((id_of(key)?, record.to_vec())))
                .collect()
        }))
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.later(vec![Table::SignedPrekeys.delete(number(id))])
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        let change = Table::SenderKeys.put(name(address), copied(record));
        self.now(vec![change]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        let put = |(address, record): &(Arc<str>, Bytes)| {
            Table::SenderKeys.put(name(address), record.clone())
        };
        self.now(sender_keys.iter().map(put).collect()).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        let found = self.get(Table::SenderKeys, address.as_bytes());
        Ok(found.map(Into::into))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.now(vec![Table::SenderKeys.delete(name(address))])
            .await
    }
}
