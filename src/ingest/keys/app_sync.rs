//! The state that an account's devices share. A lost version comes again from WhatsApp, and what
//! belongs to a version is stored in the order of the calls.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::{
    store::{
        error::Result,
        traits::{AppStateSyncKey, AppSyncStore},
    },
    wacore::appstate::{hash::HashState, processor::AppStateMutationMAC},
};

use super::{
    store::KeyStore,
    table::{Table, encode, name, names},
};
use crate::model::KeyChange;

const LATEST_SYNC_KEY: &[u8] = b"latest sync key";

#[async_trait]
impl AppSyncStore for KeyStore {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get_decoded(Table::SyncKeys, key_id)
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let id = Bytes::copy_from_slice(key_id);
        let latest = Table::Single.put(LATEST_SYNC_KEY, id.clone());
        self.now(vec![Table::SyncKeys.put(id, encode(&key)), latest])
            .await
    }

    async fn get_version(&self, collection: &str) -> Result<HashState> {
        let found = self.get_decoded(Table::Versions, collection.as_bytes())?;
        Ok(found.unwrap_or_default())
    }

    async fn set_version(&self, collection: &str, state: HashState) -> Result<()> {
        self.later(vec![Table::Versions.put(name(collection), encode(&state))])
    }

    async fn put_mutation_macs(
        &self,
        collection: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let put = |mac: &AppStateMutationMAC| {
            let key = names(&[collection.as_bytes(), &mac.index_mac]);
            Table::MutationMacs.put(key, mac.value_mac.clone())
        };
        self.later(mutations.iter().map(put).collect())
    }

    async fn get_mutation_mac(
        &self,
        collection: &str,
        index_mac: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let key = names(&[collection.as_bytes(), index_mac]);
        Ok(self.get(Table::MutationMacs, &key).map(Into::into))
    }

    async fn get_mutation_macs(
        &self,
        collection: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let mut found = HashMap::with_capacity(index_macs.len());
        for index_mac in index_macs {
            if let Some(mac) = self.get_mutation_mac(collection, index_mac).await? {
                found.insert(*index_mac, mac);
            }
        }
        Ok(found)
    }

    async fn delete_mutation_macs(&self, collection: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let delete = |mac: &Vec<u8>| {
            let key = names(&[collection.as_bytes(), mac]);
            Table::MutationMacs.delete(key)
        };
        self.later(index_macs.iter().map(delete).collect())
    }

    async fn clear_mutation_macs(&self, collection: &str) -> Result<()> {
        self.update(|memory| {
            let prefix = names(&[collection.as_bytes()]);
            let rows = memory.tables.rows(Table::MutationMacs as u8, &prefix);
            let all: Vec<KeyChange> = rows
                .map(|(key, _)| Table::MutationMacs.delete(key.clone()))
                .collect();
            memory.later(all);
        })
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Table::Single, LATEST_SYNC_KEY).map(Into::into))
    }
}
