//! What the client remembers of others, and the messages that it may have to send or replay.
//! All of it may be lost but the rows: see the room's story.

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::{
    store::{
        error::Result,
        traits::{
            DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow,
            ProtocolStore, TcTokenEntry,
        },
    },
    wacore::time::now_secs,
};

use super::{
    memory::Memory,
    store::KeyStore,
    table::{Table, decode, encode, name, names, of_time, parts, timed},
};
use crate::model::KeyChange;

fn pair(first: &str, second: &str) -> Bytes {
    names(&[first.as_bytes(), second.as_bytes()])
}

fn row_key(chat: &str, sender: &str, id: &str) -> Bytes {
    names(&[chat.as_bytes(), sender.as_bytes(), id.as_bytes()])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Memory {
    fn map_lid(&mut self, entry: &LidPnMappingEntry) -> Result<()> {
        let known = self
            .tables
            .get(Table::LidMappings as u8, entry.lid.as_bytes());
        let known: Option<LidPnMappingEntry> = known
            .map(|bytes| decode(Table::LidMappings, bytes))
            .transpose()?;
        let mut changes = Vec::new();
        if let Some(known) = known.filter(|known| known.phone_number != entry.phone_number) {
            changes.push(Table::PhoneMappings.delete(name(&known.phone_number)));
        }
        changes.push(Table::PhoneMappings.put(name(&entry.phone_number), name(&entry.lid)));
        changes.push(Table::LidMappings.put(name(&entry.lid), encode(entry)));
        self.later(changes);
        Ok(())
    }

    /// The group and the device of each row of sender key devices that this picks.
    fn drop_sender_key_devices(&mut self, is_picked: impl Fn(&[u8], &[u8]) -> bool) {
        let rows = self.tables.rows(Table::SenderKeyDevices as u8, b"");
        let picked = rows.filter(|(key, _)| match parts(key).as_deref() {
            Some([group, device]) => is_picked(group, device),
            _ => false,
        });
        let all: Vec<KeyChange> = picked
            .map(|(key, _)| Table::SenderKeyDevices.delete(key.clone()))
            .collect();
        self.later(all);
    }

    fn tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let found = self.tables.get(Table::TcTokens as u8, jid.as_bytes());
        found
            .map(|bytes| decode(Table::TcTokens, bytes))
            .transpose()
    }

    fn put_tc_token(&mut self, jid: &str, entry: &TcTokenEntry) {
        self.later(vec![Table::TcTokens.put(name(jid), encode(entry))]);
    }
}

impl KeyStore {
    fn all<T: serde::de::DeserializeOwned>(&self, table: Table) -> Result<Vec<T>> {
        self.read(|tables| {
            let rows = tables.rows(table as u8, b"");
            rows.map(|(_, value)| decode(table, value)).collect()
        })
    }
}

#[async_trait]
impl ProtocolStore for KeyStore {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        Ok(self.read(|tables| {
            let prefix = names(&[group_jid.as_bytes()]);
            let rows = tables.rows(Table::SenderKeyDevices as u8, &prefix);
            let device =
                |key: &[u8]| parts(key).and_then(|parts| parts.get(1).map(|one| text(one)));
            rows.filter_map(|(key, value)| Some((device(key)?, value[..] == [1])))
                .collect()
        }))
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let put = |(device, has_key): &(&str, bool)| {
            let value = vec![u8::from(*has_key)];
            Table::SenderKeyDevices.put(pair(group_jid, device), value)
        };
        self.later(entries.iter().map(put).collect())
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.update(|memory| {
            memory.drop_sender_key_devices(|group, _| group == group_jid.as_bytes());
        })
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let is_one = |device: &[u8]| device_jids.iter().any(|jid| jid.as_bytes() == device);
        self.update(|memory| memory.drop_sender_key_devices(|_, device| is_one(device)))
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.update(|memory| memory.drop_sender_key_devices(|_, _| true))
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get_decoded(Table::LidMappings, lid.as_bytes())
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        match self.get(Table::PhoneMappings, phone.as_bytes()) {
            Some(lid) => self.get_decoded(Table::LidMappings, &lid),
            None => Ok(None),
        }
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.update(|memory| memory.map_lid(entry))?
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        self.update(|memory| entries.iter().try_for_each(|entry| memory.map_lid(entry)))?
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        self.all(Table::LidMappings)
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let value = Bytes::copy_from_slice(base_key);
        self.later(vec![Table::BaseKeys.put(pair(address, message_id), value)])
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let found = self.get(Table::BaseKeys, &pair(address, message_id));
        Ok(found.is_some_and(|key| key == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.later(vec![Table::BaseKeys.delete(pair(address, message_id))])
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let put =
            |record: &DeviceListRecord| Table::DeviceLists.put(name(&record.user), encode(record));
        self.later(records.iter().map(put).collect())
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get_decoded(Table::DeviceLists, user.as_bytes())
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.later(vec![Table::DeviceLists.delete(name(user))])
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        let found = self.get(Table::GroupMetadata, group_jid.as_bytes());
        Ok(found.map(Into::into))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        let blob = Bytes::copy_from_slice(blob);
        self.later(vec![Table::GroupMetadata.put(name(group_jid), blob)])
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.later(vec![Table::GroupMetadata.delete(name(group_jid))])
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get_decoded(Table::TcTokens, jid.as_bytes())
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.update(|memory| memory.put_tc_token(jid, entry))
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.later(vec![Table::TcTokens.delete(name(jid))])
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        Ok(self.read(|tables| {
            let rows = tables.rows(Table::TcTokens as u8, b"");
            rows.map(|(key, _)| text(key)).collect()
        }))
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.delete_where(Table::TcTokens, |value| {
            let entry: TcTokenEntry = decode(Table::TcTokens, value)?;
            let token_is_live = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            let sender_at = entry.sender_timestamp;
            Ok(!token_is_live && sender_at.is_none_or(|at| at < sender_cutoff))
        })
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> Result<()> {
        self.update(|memory| {
            let mut entry = memory.tc_token(jid)?.unwrap_or(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            entry.sender_timestamp = entry.sender_timestamp.max(Some(sender_timestamp));
            memory.put_tc_token(jid, &entry);
            Ok(())
        })?
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> Result<()> {
        self.update(|memory| {
            let known = memory.tc_token(jid)?;
            // Tokens may come out of order.
            let is_newer = |known: &TcTokenEntry| {
                !known.token.is_empty() && token_timestamp < known.token_timestamp
            };
            if !known.as_ref().is_some_and(is_newer) {
                let entry = TcTokenEntry {
                    token: token.to_vec(),
                    token_timestamp,
                    sender_timestamp: known.and_then(|known| known.sender_timestamp),
                };
                memory.put_tc_token(jid, &entry);
            }
            Ok(())
        })?
    }

    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> Result<()> {
        let value = timed(now_secs(), payload);
        self.later(vec![
            Table::SentMessages.put(pair(chat_jid, message_id), value),
        ])
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        self.update(|memory| {
            let key = pair(chat_jid, message_id);
            let found = memory.tables.get(Table::SentMessages as u8, &key).cloned();
            memory.later(vec![Table::SentMessages.delete(key)]);
            found.map(|bytes| of_time(&bytes).1.to_vec())
        })
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_where(Table::SentMessages, |value| {
            Ok(of_time(value).0 < cutoff_timestamp)
        })
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> Result<()> {
        let row = PendingInboundRow {
            chat,
            sender,
            id,
            message,
        };
        self.store_pending_inbound_batch(&[row]).await
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let found = self.get(Table::Rows, &row_key(chat, sender, id));
        Ok(found.map(|bytes| of_time(&bytes).1.to_vec()))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.update(|memory| memory.delete_row(row_key(chat, sender, id)))
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.update(|memory| {
            let rows = memory.tables.rows(Table::Rows as u8, b"");
            let old = rows.filter(|(_, value)| of_time(value).0 < cutoff_timestamp);
            let old: Vec<Bytes> = old.map(|(key, _)| key.clone()).collect();
            let count = old.len();
            old.into_iter().for_each(|key| memory.delete_row(key));
            u32::try_from(count).unwrap_or(u32::MAX)
        })
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        self.update(|memory| {
            for row in rows {
                let key = row_key(row.chat, row.sender, row.id);
                memory.add_row(Table::Rows.put(key, timed(now_secs(), row.message)));
            }
        })
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        self.update(|memory| {
            for key in keys {
                memory.delete_row(row_key(key.chat, key.sender, key.id));
            }
        })
    }
}
