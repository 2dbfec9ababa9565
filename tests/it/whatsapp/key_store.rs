//! The client's storage on a log, side by side with its own in a SQLite file.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use wahook::{
    bus::Bus,
    ingest::{self, KeyStore},
    model::SessionId,
    tasks::Tasks,
};
use whatsapp_rust::{
    store::{
        error::StoreError,
        traits::{
            AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry,
            MsgSecretEntry, PendingInboundKey, PendingInboundRow,
        },
    },
    wacore::{
        appstate::{hash::HashState, processor::AppStateMutationMAC},
        store::Device,
    },
};

use crate::support::nats::NatsServer;

const ALICE: &str = "4915200000001@s.whatsapp.net:0";
const BOB: &str = "4915200000002@s.whatsapp.net:3";
const GROUP: &str = "120363000000000001@g.us";
const FAR: i64 = 4_000_000_000;
/// The steps after which a message waits for its hook.
const WITH_ROWS: std::ops::Range<usize> = 24..40;

async fn open(bus: &Bus, session: SessionId, epoch: u64) -> KeyStore {
    let taken = bus.take_over_keys(session, epoch, 0).await;
    let (log, tables) = taken.expect("nobody later");
    KeyStore::start(log, tables, &Tasks::default())
}

fn lid(lid: &str, phone: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".to_owned(),
    }
}

fn devices(user: &str, count: u32) -> DeviceListRecord {
    DeviceListRecord {
        user: user.to_owned(),
        devices: (0..count).map(|id| DeviceInfo::new(id, Some(id))).collect(),
        timestamp: 5,
        phash: Some("2:abc".to_owned()),
        raw_id: Some(7),
    }
}

fn secret(id: &str, value: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: Arc::from(GROUP),
        sender: Arc::from(ALICE),
        msg_id: Arc::from(id),
        secret: [value; 32],
        expires_at,
        message_ts,
    }
}

/// Keys, and the state of the account.
async fn write_keys(store: &dyn Backend, step: usize) -> Result<(), StoreError> {
    let bytes = |letter: u8| Bytes::from(vec![letter; 40]);
    match step {
        0 => store.save(&Device::new()).await,
        1 => {
            let identities = [(Arc::from(ALICE), [1; 32]), (Arc::from(BOB), [2; 32])];
            store.put_identities_batch(&identities).await
        }
        2 => {
            let sessions = [(Arc::from(ALICE), bytes(1)), (Arc::from(BOB), bytes(2))];
            store.put_sessions_batch(&sessions).await
        }
        3 => {
            let keys: Vec<(u32, Bytes)> = (1..300).map(|id| (id, bytes(3))).collect();
            store.store_prekeys_batch(&keys, false).await
        }
        4 => store.mark_prekeys_uploaded(&[1, 2, 3]).await,
        5 => store.remove_prekey(299).await,
        6 => store.store_signed_prekey(4, &bytes(4)).await,
        7 => {
            let keys = [(Arc::from("a"), bytes(5)), (Arc::from("b"), bytes(6))];
            store.put_sender_keys_batch(&keys).await
        }
        8 => store.delete_sender_key("a").await,
        9 => {
            let key = AppStateSyncKey {
                key_data: vec![9; 32],
                fingerprint: vec![1],
                timestamp: 3,
            };
            store.set_sync_key(b"\0key", key).await
        }
        10 => {
            let macs = [1, 2].map(|at| AppStateMutationMAC {
                index_mac: vec![at; 32],
                value_mac: vec![at + 10; 32],
            });
            store.put_mutation_macs("regular", 1, &macs).await
        }
        11 => {
            let state = HashState {
                version: 12,
                ..HashState::default()
            };
            store.set_version("regular", state).await
        }
        _ => write_lists(store, step).await,
    }
}

/// What is known of groups and contacts.
async fn write_lists(store: &dyn Backend, step: usize) -> Result<(), StoreError> {
    match step {
        12 => store.delete_mutation_macs("regular", &[vec![1; 32]]).await,
        13 => {
            store
                .set_sender_key_status(GROUP, &[(ALICE, true), (BOB, false)])
                .await
        }
        14 => store.delete_sender_key_device_rows(&[BOB]).await,
        15 => {
            store
                .put_lid_mappings(&[lid("1", "49151"), lid("2", "49152")])
                .await
        }
        16 => store.put_lid_mapping(&lid("1", "49153")).await,
        17 => store.save_base_key(ALICE, "M1", b"base").await,
        18 => {
            store
                .update_device_lists(vec![devices("u", 2), devices("v", 1)])
                .await
        }
        19 => store.put_group_metadata(GROUP, b"metadata").await,
        20 => store.touch_tc_token_sender_timestamp("u", 50).await,
        21 => store.store_received_tc_token("u", b"token", 60).await,
        22 => store.store_received_tc_token("u", b"older", 55).await,
        23 => store.store_sent_message(GROUP, "M2", b"sent").await,
        _ => write_rows(store, step).await,
    }
}

/// Messages under way, and what is deleted.
async fn write_rows(store: &dyn Backend, step: usize) -> Result<(), StoreError> {
    match step {
        24 => {
            let row = |id| PendingInboundRow {
                chat: GROUP,
                sender: ALICE,
                id,
                message: b"row",
            };
            store
                .store_pending_inbound_batch(&[row("1"), row("2")])
                .await
        }
        25 => {
            let key = PendingInboundKey {
                chat: GROUP,
                sender: ALICE,
                id: "1",
            };
            store.delete_pending_inbound_batch(&[key]).await
        }
        26 => {
            let all = vec![secret("1", 1, 100, 7), secret("2", 2, 0, 8)];
            store.put_msg_secrets(all).await.map(drop)
        }
        27 => store
            .put_msg_secrets(vec![secret("1", 3, 50, 3)])
            .await
            .map(drop),
        28 => store.delete_expired_msg_secrets(70).await.map(drop),
        29 => store.delete_expired_msg_secrets(100).await.map(drop),
        30 => store.delete_session(BOB).await,
        31 => store.delete_identity(BOB).await,
        32 => store.delete_expired_tc_tokens(61, 40).await.map(drop),
        33 => store.delete_expired_tc_tokens(61, 51).await.map(drop),
        34 => store.take_sent_message(GROUP, "M2").await.map(drop),
        35 => store.clear_mutation_macs("regular").await,
        36 => store.clear_sender_key_devices(GROUP).await,
        37 => store.delete_devices("v").await,
        38 => store.delete_group_metadata(GROUP).await,
        39 => store.delete_base_key(ALICE, "M1").await,
        40 => store.delete_expired_pending_inbound(FAR).await.map(drop),
        41 => store.remove_signed_prekey(4).await,
        _ => unreachable!("see STEPS"),
    }
}

/// Writes of every kind, in steps after each of which all is compared.
async fn write(store: &dyn Backend, step: usize) {
    let done = write_keys(store, step).await;
    done.unwrap_or_else(|error| panic!("step {step}: {error}"));
}

const STEPS: usize = 42;

/// All that a client can read of it.
async fn seen(store: &dyn Backend) -> Vec<String> {
    let mut all = Vec::new();
    macro_rules! see {
        ($call:ident($($argument:expr),*)) => {
            let read = store.$call($($argument),*).await.expect("it can be read");
            all.push(format!("{}: {read:?}", stringify!($call)));
        };
    }
    let device = store.load().await.expect("it can be read");
    all.push(format!("{:?}", device.map(|device| device.registration_id)));
    see!(exists());
    for address in [ALICE, BOB] {
        see!(load_identity(address));
        see!(get_session(address));
        see!(has_session(address));
    }
    see!(has_signal_state_for_user("4915200000002"));
    see!(has_signal_state_for_user("491520000000"));
    see!(load_prekey(299));
    see!(get_max_prekey_id());
    see!(load_all_signed_prekeys());
    see!(load_signed_prekey(4));
    see!(get_sender_key("a"));
    see!(get_sender_key("b"));
    see!(get_sync_key(b"\0key"));
    see!(get_latest_sync_key_id());
    see!(get_mutation_mac("regular", &[1; 32]));
    see!(get_mutation_macs("regular", &[[2; 32]]));
    let version = store.get_version("regular").await.expect("it can be read");
    all.push(format!("{}", version.version));
    see!(get_lid_mapping("1"));
    see!(get_pn_mapping("49152"));
    see!(get_pn_mapping("49153"));
    see!(has_same_base_key(ALICE, "M1", b"base"));
    see!(has_same_base_key(ALICE, "M1", b"other"));
    see!(get_devices("u"));
    see!(get_devices("v"));
    see!(get_group_metadata(GROUP));
    see!(get_tc_token("u"));
    see!(get_all_tc_token_jids());
    for id in ["1", "2"] {
        see!(get_pending_inbound(GROUP, ALICE, id));
        see!(get_msg_secret(GROUP, ALICE, id));
        see!(get_msg_secret_with_ts(GROUP, ALICE, id));
    }
    let mut sent_to = store.get_sender_key_devices(GROUP).await.expect("read");
    sent_to.sort();
    all.push(format!("{sent_to:?}"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_gives_what_sqlite_gives_after_every_call_and_every_takeover() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = ingest::sqlite(folder.path().join("s.db")).await;
    let sqlite = sqlite.expect("it opens");
    let session = SessionId(Uuid::now_v7());
    let mut epoch = 1;
    let mut store = open(&bus, session, epoch).await;
    let device = Device::new();
    sqlite.save(&device).await.expect("saved");
    store_device(&store, &device).await;
    for step in 1..STEPS {
        write(sqlite.as_ref(), step).await;
        write(&store, step).await;
        let expected = seen(sqlite.as_ref()).await;
        assert_eq!(seen(&store).await, expected, "after step {step}");
        // Rows that nothing has overtaken are in memory alone, and come again from WhatsApp.
        if !WITH_ROWS.contains(&step) {
            store.close().await;
            epoch += 1;
            store = open(&bus, session, epoch).await;
            assert_eq!(seen(&store).await, expected, "taken over after step {step}");
        }
    }
}

async fn store_device(store: &dyn Backend, device: &Device) {
    store.save(device).await.expect("saved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_stored_in_front_of_what_overtakes_it_and_costs_nothing_else() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = SessionId(Uuid::now_v7());
    let store = open(&bus, session, 1).await;
    let begin = store.number();
    let backend: &dyn Backend = &store;
    for id in ["1", "2"] {
        let stored = backend
            .store_pending_inbound(GROUP, ALICE, id, b"row")
            .await;
        stored.expect("in memory");
    }
    let deleted = backend.delete_pending_inbound(GROUP, ALICE, "1").await;
    deleted.expect("in memory");
    assert_eq!(store.number(), begin, "nothing is stored");
    let flushed = backend.put_session(BOB, b"ratchet").await;
    flushed.expect("stored");
    assert_eq!(store.number(), begin + 1, "one record for both");
    // As after a kill: nothing is closed.
    let next = open(&bus, session, 2).await;
    let next: &dyn Backend = &next;
    let row = next.get_pending_inbound(GROUP, ALICE, "2").await;
    assert_eq!(row.expect("read").as_deref(), Some(&b"row"[..]));
    let row = next.get_pending_inbound(GROUP, ALICE, "1").await;
    assert_eq!(row.expect("read"), None);
    assert!(backend.put_session(BOB, b"late").await.is_err(), "the past");
}
