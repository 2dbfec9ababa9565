//! Somebody who writes to devices and reads what they write, with real Signal sessions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use async_trait::async_trait;
use buffa::Message as _;
use tokio::sync::Mutex;
use wacore_binary::{Jid, Node, NodeContent, builder::NodeBuilder};
use whatsapp_rust::{
    wacore::{
        libsignal::protocol::{
            CiphertextMessage, Direction, GenericSignedPreKey, IdentityChange, IdentityKey,
            IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord,
            PreKeySignalMessage, PreKeyStore, ProtocolAddress, PublicKey,
            SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore,
            SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId,
            SignedPreKeyRecord, SignedPreKeyStore, Timestamp, UsePQRatchet,
            create_sender_key_distribution_message, error::Result as SignalResult, group_decrypt,
            group_encrypt, message_decrypt, message_encrypt, process_prekey_bundle,
            process_sender_key_distribution_message,
        },
        messages::{MessageUtils, decode_plaintext},
    },
    waproto::whatsapp as wa,
};

use crate::{
    Device, Server,
    connection::SERVER,
    content,
    keys::{now, own_attr, own_bytes, public, rng},
    state::{Bundle, DeviceKey},
};

const REGISTRATION: u32 = 77;
const KEY_ID: u32 = 1;

struct Identities {
    own: IdentityKeyPair,
    known: HashMap<ProtocolAddress, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> SignalResult<IdentityKeyPair> {
        Ok(self.own.clone())
    }
    async fn get_local_registration_id(&self) -> SignalResult<u32> {
        Ok(REGISTRATION)
    }
    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        key: &IdentityKey,
    ) -> SignalResult<IdentityChange> {
        self.known.insert(address.clone(), *key);
        Ok(IdentityChange::NewOrUnchanged)
    }
    async fn is_trusted_identity(
        &self,
        _: &ProtocolAddress,
        _: &IdentityKey,
        _: Direction,
    ) -> SignalResult<bool> {
        Ok(true)
    }
    async fn get_identity(&self, address: &ProtocolAddress) -> SignalResult<Option<IdentityKey>> {
        Ok(self.known.get(address).copied())
    }
}

#[derive(Default)]
struct Sessions(HashMap<ProtocolAddress, SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> SignalResult<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }
    async fn has_session(&self, address: &ProtocolAddress) -> SignalResult<bool> {
        Ok(self.0.contains_key(address))
    }
    async fn store_session(
        &mut self,
        address: &ProtocolAddress,
        record: SessionRecord,
    ) -> SignalResult<()> {
        self.0.insert(address.clone(), record);
        Ok(())
    }
}

struct OneTimeKey(PreKeyRecord);

#[async_trait]
impl PreKeyStore for OneTimeKey {
    async fn get_pre_key(&self, id: PreKeyId) -> SignalResult<PreKeyRecord> {
        if id == KEY_ID.into() {
            Ok(self.0.clone())
        } else {
            Err(SignalProtocolError::InvalidPreKeyId)
        }
    }
    async fn save_pre_key(&mut self, _: PreKeyId, record: &PreKeyRecord) -> SignalResult<()> {
        self.0 = record.clone();
        Ok(())
    }
    // Kept: every device of a test may use the same one.
    async fn remove_pre_key(&mut self, _: PreKeyId) -> SignalResult<()> {
        Ok(())
    }
}

struct SignedKey(SignedPreKeyRecord);

#[async_trait]
impl SignedPreKeyStore for SignedKey {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> SignalResult<SignedPreKeyRecord> {
        if id == KEY_ID.into() {
            Ok(self.0.clone())
        } else {
            Err(SignalProtocolError::InvalidSignedPreKeyId)
        }
    }
    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        record: &SignedPreKeyRecord,
    ) -> SignalResult<()> {
        self.0 = record.clone();
        Ok(())
    }
}

#[derive(Default)]
struct SenderKeys(HashMap<String, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(
        &mut self,
        name: &SenderKeyName,
        record: SenderKeyRecord,
    ) -> SignalResult<()> {
        self.0.insert(name.cache_key().into(), record);
        Ok(())
    }
    async fn load_sender_key(&self, name: &SenderKeyName) -> SignalResult<Option<SenderKeyRecord>> {
        Ok(self.0.get(name.cache_key()).cloned())
    }
}

/// Signal state of one contact.
struct Signal {
    identities: Identities,
    sessions: Sessions,
    one_time: OneTimeKey,
    signed: SignedKey,
    sender_keys: SenderKeys,
    /// Groups whose key a device has.
    told: Vec<(DeviceKey, String)>,
    /// Stanzas of each device that were looked at.
    read: HashMap<DeviceKey, usize>,
}

/// Somebody. Clones are the same person.
#[derive(Clone)]
pub struct Contact {
    server: Server,
    person: Arc<Person>,
}

struct Person {
    jid: Jid,
    lid: Option<Jid>,
    tells_number: bool,
    name: String,
    signal: Mutex<Signal>,
}

/// A message that its device may not be able to decrypt, and who wrote it. The server keeps it
/// until it is acknowledged.
#[derive(Clone)]
pub(crate) struct Resend {
    person: Arc<Person>,
    group: Option<String>,
    message: wa::Message,
}

impl Resend {
    /// Does what a sender's phone does when a device says that it could not decrypt: sends it under
    /// keys that are new.
    pub(crate) async fn again(self, device: &Device, id: &str) -> anyhow::Result<()> {
        let contact = Contact {
            server: device.server.clone(),
            person: self.person,
        };
        {
            let mut signal = contact.person.signal.lock().await;
            signal.sessions.0.remove(&address(device));
            signal.told.retain(|(told, _)| *told != device.key);
        }
        contact
            .write(device, self.group.as_deref(), id, self.message)
            .await
    }
}

fn address(device: &Device) -> ProtocolAddress {
    ProtocolAddress::new(&format!("{}:{}", device.key.0, device.key.1), 0.into())
}

fn new_id() -> String {
    format!("3EB0{:016X}", rand::random::<u64>())
}

impl Contact {
    pub(crate) fn new(server: Server, number: &str, name: &str, lid: Option<(&str, bool)>) -> Self {
        Self::with_key(
            server,
            number,
            name,
            lid,
            IdentityKeyPair::generate(&mut rng()),
        )
    }

    pub(crate) fn with_key(
        server: Server,
        number: &str,
        name: &str,
        lid: Option<(&str, bool)>,
        own: IdentityKeyPair,
    ) -> Self {
        let signed = KeyPair::generate(&mut rng());
        let one_time = KeyPair::generate(&mut rng());
        let signature = own
            .private_key()
            .calculate_signature(&signed.public_key.serialize(), &mut rng())
            .expect("a fresh key can sign");
        let bundle = Bundle {
            registration: REGISTRATION,
            identity: own
                .public_key()
                .public_key_bytes()
                .try_into()
                .expect("keys of this curve have 32 bytes"),
            signed_id: KEY_ID,
            signed_key: public(&signed.public_key),
            signature: signature.to_vec(),
            one_time: [(KEY_ID, public(&one_time.public_key))].into(),
        };
        let jid: Jid = format!("{number}@{SERVER}")
            .parse()
            .expect("a number makes a JID");
        let tells_number = lid.is_none_or(|(_, tells)| tells);
        let lid =
            lid.map(|(lid, _)| -> Jid { format!("{lid}@lid").parse().expect("a LID makes a JID") });
        let mut state = server.state();
        for name in [Some(&jid), lid.as_ref()].into_iter().flatten() {
            state.contacts.insert(name.to_string(), bundle.clone());
        }
        drop(state);
        let at = Timestamp::from_epoch_millis(0);
        let signal = Signal {
            identities: Identities {
                own,
                known: HashMap::new(),
            },
            sessions: Sessions::default(),
            one_time: OneTimeKey(PreKeyRecord::new(KEY_ID.into(), &one_time)),
            signed: SignedKey(SignedPreKeyRecord::new(
                KEY_ID.into(),
                at,
                &signed,
                &signature,
            )),
            sender_keys: SenderKeys::default(),
            told: Vec::new(),
            read: HashMap::new(),
        };
        let person = Person {
            jid,
            lid,
            tells_number,
            name: name.to_owned(),
            signal: Mutex::new(signal),
        };
        Self {
            server,
            person: Arc::new(person),
        }
    }

    /// Writes to a device; the id of the message.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn send(&self, device: &Device, message: wa::Message) -> anyhow::Result<String> {
        let id = new_id();
        self.send_as(device, &id, message).await?;
        Ok(id)
    }

    /// Writes under an id of the caller's choice.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn send_as(
        &self,
        device: &Device,
        id: &str,
        message: wa::Message,
    ) -> anyhow::Result<()> {
        self.write(device, None, id, message).await
    }

    /// Writes to a group that the device is in.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn send_group(
        &self,
        device: &Device,
        group: &str,
        message: wa::Message,
    ) -> anyhow::Result<String> {
        let id = new_id();
        self.send_group_as(device, group, &id, message).await?;
        Ok(id)
    }

    /// The same under an id of the caller's choice.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn send_group_as(
        &self,
        device: &Device,
        group: &str,
        id: &str,
        message: wa::Message,
    ) -> anyhow::Result<()> {
        self.write(device, Some(group), id, message).await
    }

    async fn write(
        &self,
        device: &Device,
        group: Option<&str>,
        id: &str,
        message: wa::Message,
    ) -> anyhow::Result<()> {
        let stanza = match group {
            None => self.direct(id).children([self
                .person
                .signal
                .lock()
                .await
                .seal(device, &message)
                .await?]),
            Some(group) => {
                let mut signal = self.person.signal.lock().await;
                let children = signal
                    .seal_for_group(device, group, &self.person.jid, &message)
                    .await?;
                self.in_group(id, group.parse()?).children(children)
            }
        };
        self.keep(id, group, message);
        device.deliver(stanza.build());
        Ok(())
    }

    fn keep(&self, id: &str, group: Option<&str>, message: wa::Message) {
        let resend = Resend {
            person: Arc::clone(&self.person),
            group: group.map(str::to_owned),
            message,
        };
        self.server.state().resends.insert(id.to_owned(), resend);
    }

    fn in_group(&self, id: &str, group: Jid) -> NodeBuilder {
        let stanza = self
            .envelope(id, group)
            .attr("participant", self.sender().clone());
        match &self.person.lid {
            Some(_) if self.person.tells_number => stanza
                .attr("participant_pn", self.person.jid.clone())
                .attr("addressing_mode", "lid"),
            Some(_) => stanza.attr("addressing_mode", "lid"),
            None => stanza.attr("addressing_mode", "pn"),
        }
    }

    /// Writes something that cannot be decrypted, and the real message under the same id once the
    /// device has said so.
    ///
    /// # Errors
    /// When the device does not say so in time.
    pub async fn send_corrupt(
        &self,
        device: &Device,
        message: wa::Message,
    ) -> anyhow::Result<String> {
        let id = new_id();
        let mut sealed = self
            .person
            .signal
            .lock()
            .await
            .seal(device, &message)
            .await?;
        if let Some(NodeContent::Bytes(bytes)) = &mut sealed.content {
            let at = bytes
                .len()
                .checked_sub(12)
                .context("too short to be corrupted")?;
            bytes[at] ^= 1;
        }
        self.keep(&id, None, message);
        device.deliver(self.direct(&id).children([sealed]).build());
        device.wait_retry(&id, crate::PATIENCE).await?;
        Ok(id)
    }

    /// Traffic from the account's handset to its own device.
    pub(crate) async fn send_peer(
        &self,
        device: &Device,
        message: wa::Message,
    ) -> anyhow::Result<String> {
        let id = new_id();
        let sealed = self
            .person
            .signal
            .lock()
            .await
            .seal(device, &message)
            .await?;
        let stanza = self
            .envelope(&id, self.person.jid.clone())
            .attr("category", "peer");
        device.deliver(stanza.children([sealed]).build());
        Ok(id)
    }

    /// The account's handset tells its own device of a message that it sent to a chat.
    pub(crate) async fn send_copy(
        &self,
        device: &Device,
        chat: &str,
        message: wa::Message,
    ) -> anyhow::Result<String> {
        let id = new_id();
        let message = content::sent_to(chat, message);
        let sealed = self
            .person
            .signal
            .lock()
            .await
            .seal(device, &message)
            .await?;
        let stanza = self
            .envelope(&id, self.person.jid.clone())
            .attr("recipient", chat.parse::<Jid>()?);
        device.deliver(stanza.children([sealed]).build());
        Ok(id)
    }

    /// Tells a device what became of a message it sent: `delivery` (an empty type on the wire),
    /// `read`, `played`.
    pub fn receipt(&self, device: &Device, message_id: &str, kind: &str) {
        let mut receipt = NodeBuilder::new("receipt").attr("from", self.sender().clone());
        receipt = receipt
            .attr("id", message_id.to_owned())
            .attr("t", now().to_string());
        if kind != "delivery" {
            receipt = receipt.attr("type", kind.to_owned());
        }
        device.send_now(receipt.build());
    }

    /// The next message that a device sent to this contact, and its id.
    ///
    /// # Errors
    /// When there is none in time, or it cannot be decrypted.
    pub async fn receive(
        &self,
        device: &Device,
        patience: Duration,
    ) -> anyhow::Result<(String, wa::Message)> {
        let mut signal = self.person.signal.lock().await;
        let known = *signal.read.get(&device.key).unwrap_or(&0);
        let find = |state: &mut crate::state::State| {
            let is_member = |to: &str| {
                state
                    .groups
                    .get(to)
                    .is_some_and(|all| all.contains(&self.person.jid))
            };
            let sent = state
                .devices
                .get(&device.key)?
                .sent
                .iter()
                .enumerate()
                .skip(known);
            sent.into_iter().find_map(|(at, stanza)| {
                let to = own_attr(stanza, "to");
                let sealed = self.sealed_for_me(stanza);
                let is_mine = sealed.is_some() || is_member(&to);
                is_mine.then(|| {
                    (
                        at,
                        to,
                        own_attr(stanza, "id"),
                        sealed.cloned(),
                        stanza.clone(),
                    )
                })
            })
        };
        let (at, to, id, sealed, stanza) = self
            .server
            .wait(patience, "a message from the device", find)
            .await?;
        signal.read.insert(device.key.clone(), at + 1);
        let opened = match sealed {
            Some(sealed) => Some(
                signal
                    .open(device, &own_attr(&sealed, "type"), own_bytes(&sealed))
                    .await?,
            ),
            None => None,
        };
        if !to.ends_with("@g.us") {
            return Ok((id, opened.context("it is for this contact")?));
        }
        // What is for this contact alone is the key to what is for all.
        let key = opened.and_then(|message| message.sender_key_distribution_message.into_option());
        let sealed = stanza
            .get_optional_child("enc")
            .context("nothing for the group")?;
        Ok((
            id,
            signal
                .open_for_group(device, &to, key, own_bytes(sealed))
                .await?,
        ))
    }

    fn sealed_for_me<'a>(&self, stanza: &'a Node) -> Option<&'a Node> {
        let mine = |jid: &str| {
            jid.parse::<Jid>().is_ok_and(|jid| {
                jid.user == self.person.jid.user
                    || self
                        .person
                        .lid
                        .as_ref()
                        .is_some_and(|lid| lid.user == jid.user)
            })
        };
        if let Some(sealed) = stanza
            .get_optional_child("enc")
            .filter(|_| mine(&own_attr(stanza, "to")))
        {
            return Some(sealed);
        }
        let participants = stanza.get_optional_child("participants")?.children()?;
        participants
            .iter()
            .find(|to| mine(&own_attr(to, "jid")))?
            .get_optional_child("enc")
    }

    pub(crate) fn jid(&self) -> &Jid {
        &self.person.jid
    }

    fn sender(&self) -> &Jid {
        self.person.lid.as_ref().unwrap_or(&self.person.jid)
    }

    fn envelope(&self, id: &str, from: Jid) -> NodeBuilder {
        let stanza = NodeBuilder::new("message")
            .attr("id", id.to_owned())
            .attr("from", from);
        stanza
            .attr("t", now().to_string())
            .attr("type", "text")
            .attr("notify", self.person.name.clone())
    }

    fn direct(&self, id: &str) -> NodeBuilder {
        let stanza = self.envelope(id, self.sender().clone());
        match &self.person.lid {
            Some(_) if self.person.tells_number => stanza
                .attr("sender_pn", self.person.jid.clone())
                .attr("addressing_mode", "lid"),
            Some(_) => stanza.attr("addressing_mode", "lid"),
            None => stanza,
        }
    }
}

impl Signal {
    async fn seal(&mut self, device: &Device, message: &wa::Message) -> anyhow::Result<Node> {
        let address = address(device);
        if !self.sessions.0.contains_key(&address) {
            let bundle = device
                .take_bundle()
                .context("the device has no keys left")?;
            let one_time = bundle
                .one_time
                .front()
                .context("the device has no keys left")?;
            let one_time = (
                one_time.0.into(),
                PublicKey::from_djb_public_key_bytes(&one_time.1)?,
            );
            let bundle = PreKeyBundle::new(
                bundle.registration,
                0.into(),
                Some(one_time),
                bundle.signed_id.into(),
                PublicKey::from_djb_public_key_bytes(&bundle.signed_key)?,
                bundle.signature,
                IdentityKey::new(PublicKey::from_djb_public_key_bytes(&bundle.identity)?),
            )?;
            let sessions = &mut self.sessions;
            let identities = &mut self.identities;
            process_prekey_bundle(
                &address,
                sessions,
                identities,
                &bundle,
                &mut rng(),
                UsePQRatchet::No,
            )
            .await?;
        }
        let plain = MessageUtils::pad_message_v2(message.encode_to_vec());
        let sealed =
            message_encrypt(&plain, &address, &mut self.sessions, &mut self.identities).await?;
        let (kind, bytes) = match &sealed {
            CiphertextMessage::PreKeySignalMessage(message) => {
                ("pkmsg", message.serialized().to_vec())
            }
            CiphertextMessage::SignalMessage(message) => ("msg", message.serialized().to_vec()),
            _ => bail!("an unexpected kind of ciphertext"),
        };
        Ok(NodeBuilder::new("enc")
            .attr("v", "2")
            .attr("type", kind)
            .bytes(bytes)
            .build())
    }

    async fn seal_for_group(
        &mut self,
        device: &Device,
        group: &str,
        jid: &Jid,
        message: &wa::Message,
    ) -> anyhow::Result<Vec<Node>> {
        let name = SenderKeyName::from_parts(group, &jid.to_string());
        let mut children = Vec::new();
        let told = (device.key.clone(), group.to_owned());
        if !self.told.contains(&told) {
            let key =
                create_sender_key_distribution_message(&name, &mut self.sender_keys, &mut rng())
                    .await?;
            let key = wa::message::SenderKeyDistributionMessage {
                group_id: Some(group.to_owned()),
                axolotl_sender_key_distribution_message: Some(key.serialized().to_vec()),
            };
            let sender_key_distribution_message = buffa::MessageField::some(key);
            let telling = wa::Message {
                sender_key_distribution_message,
                ..Default::default()
            };
            children.push(self.seal(device, &telling).await?);
            self.told.push(told);
        }
        let plain = MessageUtils::pad_message_v2(message.encode_to_vec());
        let sealed = group_encrypt(&mut self.sender_keys, &name, &plain, &mut rng()).await?;
        let sealed = NodeBuilder::new("enc")
            .attr("v", "2")
            .attr("type", "skmsg")
            .bytes(sealed.serialized().to_vec());
        children.push(sealed.build());
        Ok(children)
    }

    async fn open(
        &mut self,
        device: &Device,
        kind: &str,
        bytes: &[u8],
    ) -> anyhow::Result<wa::Message> {
        let sealed = if kind == "pkmsg" {
            CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?)
        } else {
            CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?)
        };
        let Self {
            identities,
            sessions,
            one_time,
            signed,
            ..
        } = self;
        let address = address(device);
        let opened = message_decrypt(
            &sealed,
            &address,
            sessions,
            identities,
            one_time,
            signed,
            &mut rng(),
            UsePQRatchet::No,
        )
        .await?;
        decode_plaintext(&opened.plaintext, 2)
    }

    async fn open_for_group(
        &mut self,
        device: &Device,
        group: &str,
        key: Option<wa::message::SenderKeyDistributionMessage>,
        bytes: &[u8],
    ) -> anyhow::Result<wa::Message> {
        let name = SenderKeyName::from_parts(group, &address(device).to_string());
        if let Some(key) = key.and_then(|key| key.axolotl_sender_key_distribution_message) {
            let key = SenderKeyDistributionMessage::try_from(&key[..])?;
            process_sender_key_distribution_message(&name, &key, &mut self.sender_keys).await?;
        }
        decode_plaintext(
            &group_decrypt(bytes, &mut self.sender_keys, &name).await?,
            2,
        )
    }
}
