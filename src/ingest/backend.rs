//! The storage of a session's keys, fenced, and with a gap of the client's closed.
//!
//! **Fence.** A file beside the session's database has the epoch of the lease under which it was
//! last opened. Every write checks that file first, so a node that has lost its lease without
//! noticing can no longer write.
//!
//! **Gap.** The client decrypts a message, writes a row to replay it from, and calls our hook.
//! Decrypting advances the sender's ratchet. The ratchets of all chats are flushed together, 25 ms
//! later. If that flush is stored before the row of another chat's message, a crash between the two
//! loses that message: WhatsApp hands it out again, and the client takes it for a duplicate and
//! acknowledges it. So a flush first waits long enough that a message just decrypted has begun to
//! write its row, and then until no row is being written.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use whatsapp_rust::{
    store::{
        error::Result,
        traits::{
            AppStateSyncKey, AppSyncStore, Backend, DeviceListRecord, DeviceStore,
            LidPnMappingEntry, MsgSecretEntry, MsgSecretStore, PendingInboundKey,
            PendingInboundRow, ProtocolStore, SignalStore, TcTokenEntry,
        },
    },
    wacore::{
        appstate::{hash::HashState, processor::AppStateMutationMAC},
        reporting_token::MESSAGE_SECRET_SIZE,
        stats::StorageResourceReport,
        store::Device,
    },
};

/// Longer than the client takes from decrypting a message to writing its row, and than its flush
/// waits (25 ms).
const HEAD_START: Duration = Duration::from_millis(30);
/// A flush that waits longer than this fails, and the client tries it again.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// The right to write to a session's files.
pub(super) struct Fence {
    file: PathBuf,
    epoch: u64,
}

impl Fence {
    /// Claims the files for an epoch.
    ///
    /// # Errors
    /// When a later epoch was there already, or the folder cannot be written to.
    pub(super) fn claim(file: PathBuf, epoch: u64) -> std::io::Result<Self> {
        if read_epoch(&file)? > epoch {
            return Err(lost());
        }
        let fresh = file.with_extension("epoch.new");
        std::fs::write(&fresh, epoch.to_string())?;
        std::fs::rename(&fresh, &file)?;
        Ok(Self { file, epoch })
    }

    fn check(&self) -> Result<()> {
        // A small read from the page cache: some microseconds.
        let current = read_epoch(&self.file)?;
        if current == self.epoch {
            Ok(())
        } else {
            Err(lost().into())
        }
    }
}

fn lost() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::PermissionDenied,
        "another node has taken this session over",
    )
}

fn read_epoch(file: &Path) -> std::io::Result<u64> {
    match std::fs::read_to_string(file) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| std::io::Error::other("the epoch file is damaged")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Any backend behind the fence and with the gap closed.
pub(super) struct Fenced {
    inner: Arc<dyn Backend>,
    /// `None`: the backend is fenced itself.
    fence: Option<Fence>,
    rows: AtomicUsize,
    row_written: Notify,
}

/// Counts a row while it is being written.
struct Row<'a>(&'a Fenced);

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.0.rows.fetch_sub(1, Ordering::SeqCst);
        self.0.row_written.notify_waiters();
    }
}

impl Fenced {
    pub(super) fn new(inner: Arc<dyn Backend>, fence: Option<Fence>) -> Self {
        Self {
            inner,
            fence,
            rows: AtomicUsize::new(0),
            row_written: Notify::new(),
        }
    }

    fn row(&self) -> Row<'_> {
        self.rows.fetch_add(1, Ordering::SeqCst);
        Row(self)
    }

    /// Waits for the rows that are being written.
    async fn rows_written(&self) -> Result<()> {
        sleep(HEAD_START).await;
        let settled = async {
            loop {
                let mut written = std::pin::pin!(self.row_written.notified());
                // Before the look at the count: no row may end unseen between the two.
                written.as_mut().enable();
                if self.rows.load(Ordering::SeqCst) == 0 {
                    return;
                }
                written.await;
            }
        };
        let waited = timeout(FLUSH_TIMEOUT, settled).await;
        waited.map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::TimedOut, "rows are still being written").into()
        })
    }
}

/// What a call passes before it reaches the backend.
#[async_trait]
trait Gate {
    /// Held while the call lasts.
    type Pass<'a>: Send
    where
        Self: 'a;

    fn inner(&self) -> &Arc<dyn Backend>;

    /// Waits until a write may go on, or refuses it.
    async fn enter(&self, call: Call) -> Result<Self::Pass<'_>>;
}

/// The kinds of calls that pass the gate. Reads do not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Write,
    /// Advances ratchets for good.
    Flush,
    /// Stores what a message can be replayed from.
    Row,
}

#[async_trait]
impl Gate for Fenced {
    type Pass<'a> = Option<Row<'a>>;

    fn inner(&self) -> &Arc<dyn Backend> {
        &self.inner
    }

    async fn enter(&self, call: Call) -> Result<Option<Row<'_>>> {
        let row = match call {
            Call::Write => None,
            Call::Flush => {
                self.rows_written().await?;
                None
            }
            Call::Row => Some(self.row()),
        };
        if let Some(fence) = &self.fence {
            fence.check()?;
        }
        Ok(row)
    }
}

/// Forwards each call of a trait to the inner backend: `read` directly, all others through the
/// gate.
macro_rules! forward {
    (
        $type:ident,
        $trait:ident { $($kind:ident $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)* }
        $($own:item)*
    ) => {
        #[async_trait]
        impl $trait for $type {
            $(async fn $name(&self, $($arg: $ty),*) -> Result<$ret> {
                let _pass = forward!(@$kind self);
                self.inner().$name($($arg),*).await
            })*
            $($own)*
        }
    };
    (@read $self:ident) => { () };
    (@write $self:ident) => { $self.enter(Call::Write).await? };
    (@flush $self:ident) => { $self.enter(Call::Flush).await? };
    (@row $self:ident) => { $self.enter(Call::Row).await? };
}

/// Makes a gate a backend.
macro_rules! backend {
    ($type:ident) => {
        forward!($type, SignalStore {
            write put_identity(address: &str, key: [u8; 32]) -> ();
            flush put_identities_batch(identities: &[(Arc<str>, [u8; 32])]) -> ();
            read load_identity(address: &str) -> Option<[u8; 32]>;
            write delete_identity(address: &str) -> ();
            read get_session(address: &str) -> Option<Bytes>;
            flush put_session(address: &str, session: &[u8]) -> ();
            flush put_sessions_batch(sessions: &[(Arc<str>, Bytes)]) -> ();
            write delete_session(address: &str) -> ();
            read has_session(address: &str) -> bool;
            read has_signal_state_for_user(user: &str) -> bool;
            write store_prekey(id: u32, record: &[u8], uploaded: bool) -> ();
            write store_prekeys_batch(keys: &[(u32, Bytes)], uploaded: bool) -> ();
            read load_prekey(id: u32) -> Option<Bytes>;
            read load_prekeys_batch(ids: &[u32]) -> Vec<(u32, Bytes)>;
            write mark_prekeys_uploaded(ids: &[u32]) -> ();
            write remove_prekey(id: u32) -> ();
            read get_max_prekey_id() -> u32;
            write store_signed_prekey(id: u32, record: &[u8]) -> ();
            read load_signed_prekey(id: u32) -> Option<Vec<u8>>;
            read load_all_signed_prekeys() -> Vec<(u32, Vec<u8>)>;
            write remove_signed_prekey(id: u32) -> ();
            flush put_sender_key(address: &str, record: &[u8]) -> ();
            flush put_sender_keys_batch(sender_keys: &[(Arc<str>, Bytes)]) -> ();
            read get_sender_key(address: &str) -> Option<Vec<u8>>;
            write delete_sender_key(address: &str) -> ();
        });

        forward!($type, AppSyncStore {
            read get_sync_key(key_id: &[u8]) -> Option<AppStateSyncKey>;
            write set_sync_key(key_id: &[u8], key: AppStateSyncKey) -> ();
            read get_version(name: &str) -> HashState;
            write set_version(name: &str, state: HashState) -> ();
            write put_mutation_macs(
                name: &str, version: u64, mutations: &[AppStateMutationMAC]
            ) -> ();
            read get_mutation_mac(name: &str, index_mac: &[u8]) -> Option<Vec<u8>>;
            read get_mutation_macs(
                name: &str, index_macs: &[[u8; 32]]
            ) -> std::collections::HashMap<[u8; 32], Vec<u8>>;
            write delete_mutation_macs(name: &str, index_macs: &[Vec<u8>]) -> ();
            write clear_mutation_macs(name: &str) -> ();
            read get_latest_sync_key_id() -> Option<Vec<u8>>;
        });

        forward!($type, ProtocolStore {
            read get_sender_key_devices(group_jid: &str) -> Vec<(String, bool)>;
            write set_sender_key_status(group_jid: &str, entries: &[(&str, bool)]) -> ();
            write clear_sender_key_devices(group_jid: &str) -> ();
            write delete_sender_key_device_rows(device_jids: &[&str]) -> ();
            write clear_all_sender_key_devices() -> ();
            read get_lid_mapping(lid: &str) -> Option<LidPnMappingEntry>;
            read get_pn_mapping(phone: &str) -> Option<LidPnMappingEntry>;
            write put_lid_mapping(entry: &LidPnMappingEntry) -> ();
            write put_lid_mappings(entries: &[LidPnMappingEntry]) -> ();
            read get_all_lid_mappings() -> Vec<LidPnMappingEntry>;
            write save_base_key(address: &str, message_id: &str, base_key: &[u8]) -> ();
            read has_same_base_key(
                address: &str, message_id: &str, current_base_key: &[u8]
            ) -> bool;
            write delete_base_key(address: &str, message_id: &str) -> ();
            write update_device_list(record: DeviceListRecord) -> ();
            write update_device_lists(records: Vec<DeviceListRecord>) -> ();
            read get_devices(user: &str) -> Option<DeviceListRecord>;
            write delete_devices(user: &str) -> ();
            read get_group_metadata(group_jid: &str) -> Option<Vec<u8>>;
            write put_group_metadata(group_jid: &str, blob: &[u8]) -> ();
            write delete_group_metadata(group_jid: &str) -> ();
            read get_tc_token(jid: &str) -> Option<TcTokenEntry>;
            write put_tc_token(jid: &str, entry: &TcTokenEntry) -> ();
            write delete_tc_token(jid: &str) -> ();
            read get_all_tc_token_jids() -> Vec<String>;
            write delete_expired_tc_tokens(token_cutoff: i64, sender_cutoff: i64) -> u32;
            write touch_tc_token_sender_timestamp(jid: &str, sender_timestamp: i64) -> ();
            write store_received_tc_token(jid: &str, token: &[u8], token_timestamp: i64) -> ();
            write store_sent_message(chat_jid: &str, message_id: &str, payload: &[u8]) -> ();
            write take_sent_message(chat_jid: &str, message_id: &str) -> Option<Vec<u8>>;
            write delete_expired_sent_messages(cutoff_timestamp: i64) -> u32;
            row store_pending_inbound(chat: &str, sender: &str, id: &str, message: &[u8]) -> ();
            read get_pending_inbound(chat: &str, sender: &str, id: &str) -> Option<Vec<u8>>;
            write delete_pending_inbound(chat: &str, sender: &str, id: &str) -> ();
            write delete_expired_pending_inbound(cutoff_timestamp: i64) -> u32;
            row store_pending_inbound_batch(rows: &[PendingInboundRow<'_>]) -> ();
            write delete_pending_inbound_batch(keys: &[PendingInboundKey<'_>]) -> ();
        });

        forward!($type, DeviceStore {
            write save(device: &Device) -> ();
            read load() -> Option<Device>;
            read exists() -> bool;
            write create() -> i32;
            write snapshot_db(name: &str, extra_content: Option<&[u8]>) -> ();
        }
            async fn resource_report(&self) -> StorageResourceReport {
                self.inner.resource_report().await
            }
        );

        forward!($type, MsgSecretStore {
            write put_msg_secret(
                chat: &str, sender: &str, msg_id: &str, secret: &[u8; MESSAGE_SECRET_SIZE]
            ) -> ();
            write put_msg_secrets(entries: Vec<MsgSecretEntry>) -> usize;
            read get_msg_secret(chat: &str, sender: &str, msg_id: &str) -> Option<Vec<u8>>;
            read get_msg_secret_with_ts(
                chat: &str, sender: &str, msg_id: &str
            ) -> Option<(Vec<u8>, i64)>;
            write delete_expired_msg_secrets(cutoff_timestamp: i64) -> u32;
        });
    };
}

backend!(Fenced);

#[cfg(test)]
mod tests;
