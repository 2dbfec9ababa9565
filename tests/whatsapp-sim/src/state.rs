//! What the server knows.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::mpsc;
use wacore_binary::{Jid, Node};
use whatsapp_rust::{
    wacore::libsignal::protocol::KeyPair,
    waproto::whatsapp::client_payload::DevicePairingRegistrationData,
};

use crate::{
    contact::{Person, Resend},
    history::Remembered,
    reupload::Kept,
};

/// Stanzas to a connection that wait to be written. Reached only when the client reads nothing.
pub(crate) const OUTBOX: usize = 16_384;

/// An account's number and a device's number.
pub(crate) type DeviceKey = (String, u16);

/// To the writer of a connection.
pub(crate) enum Out {
    Stanza(Node),
    /// Ends the connection as it should be ended.
    Close,
    /// Lets the socket go without a word.
    Abort,
}

pub(crate) type Outbox = mpsc::Sender<Out>;

/// Keys that others need to write to a device or contact.
#[derive(Default, Clone)]
pub(crate) struct Bundle {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed_id: u32,
    pub(crate) signed_key: [u8; 32],
    pub(crate) signature: Vec<u8>,
    pub(crate) one_time: VecDeque<(u32, [u8; 32])>,
}

/// An account.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) lid: String,
    pub(crate) key: KeyPair,
    pub(crate) devices_made: u16,
}

/// A linked device.
#[derive(Default)]
pub(crate) struct DeviceRecord {
    pub(crate) noise: [u8; 32],
    pub(crate) bundle: Bundle,
    /// Not yet acknowledged, in the order in which they came.
    pub(crate) queue: VecDeque<Node>,
    pub(crate) acked: Vec<String>,
    pub(crate) online: Option<Outbox>,
    /// Whether it has asked for its queue, so that live messages may follow.
    pub(crate) is_active: bool,
    pub(crate) logins: u32,
    /// What the next login is answered with.
    pub(crate) refusal: Option<Node>,
    pub(crate) sent: Vec<Node>,
    /// What it showed beside messages: that it read some, or that somebody writes.
    pub(crate) shown: Vec<String>,
    /// How its connection is mute.
    pub(crate) mute: Option<Mute>,
    /// How the one after its next login is.
    pub(crate) next_mute: Option<Mute>,
    /// The error with which its messages are answered.
    pub(crate) send_error: Option<u16>,
    /// Retry receipts: ids of what it could not decrypt.
    pub(crate) retries: Vec<String>,
    /// Of those: what it has still to acknowledge as undecryptable.
    pub(crate) retried: HashSet<String>,
}

/// A pairing that waits for the device's signature.
pub(crate) struct Pairing {
    pub(crate) key: DeviceKey,
    pub(crate) noise: [u8; 32],
    pub(crate) identity: [u8; 32],
}

/// A pairing by code that waits for the code to be typed in.
#[derive(Clone)]
pub(crate) struct CodePairing {
    pub(crate) wrapped_ephemeral: Vec<u8>,
    pub(crate) reference: Vec<u8>,
    pub(crate) noise: [u8; 32],
    pub(crate) out: Outbox,
    /// The companion's answer: its wrapped key bundle and its identity.
    pub(crate) finish: Option<(Vec<u8>, [u8; 32])>,
}

/// How a connection stands and says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mute {
    /// What the device sends is not answered, pings included, and nothing is sent to it.
    Connection,
    /// Its messages are not acknowledged, and it gets none. Pings are answered.
    Sends,
    /// It is told that messages wait, and gets none of them. From its next login on.
    Queue,
}

/// What becomes of a look-up of a number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LookupMode {
    /// It is answered: whether the number has an account, and which.
    #[default]
    Answered,
    /// It is answered with an error.
    Refused,
    /// Nobody answers it.
    Ignored,
    /// It is answered without a word about the number.
    LeftOut,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) accounts: HashMap<String, Account>,
    pub(crate) devices: HashMap<DeviceKey, DeviceRecord>,
    /// Connections that show a QR code, by its reference.
    pub(crate) references: HashMap<String, Outbox>,
    /// By the id of the request that tells the device.
    pub(crate) pairings: HashMap<String, Pairing>,
    /// By phone number.
    pub(crate) codes: HashMap<String, CodePairing>,
    /// By connection.
    pub(crate) registrations: HashMap<usize, DevicePairingRegistrationData>,
    /// What was written, by message id, until it is acknowledged.
    pub(crate) resends: HashMap<String, Resend>,
    /// Members of groups, by the group's id.
    pub(crate) groups: HashMap<String, Vec<Jid>>,
    /// Contacts' keys, by JID.
    pub(crate) contacts: HashMap<String, Bundle>,
    /// LIDs of contacts that have one, by number.
    pub(crate) lids: HashMap<String, String>,
    /// Numbers of accounts, by the form in which people dial them.
    pub(crate) dialled: HashMap<String, String>,
    /// Numbers that were looked up, in the order in which that was asked.
    pub(crate) lookups: Vec<String>,
    pub(crate) lookup_mode: LookupMode,
    /// Files that handsets have, by the message that they came in.
    pub(crate) phone_files: HashMap<String, Kept>,
    pub(crate) asked_for_files: Vec<String>,
    /// Handsets as those who write to their devices, by number.
    pub(crate) handsets: HashMap<String, Arc<Person>>,
    /// What handsets remember, by chat.
    pub(crate) histories: HashMap<String, Vec<Remembered>>,
    pub(crate) asked_for_history: Vec<String>,
}
