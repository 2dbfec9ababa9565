//! Encrypting to devices, and decrypting what they send.

use std::collections::HashMap;

use anyhow::{Context, bail};
use buffa::Message as _;
use wacore_binary::{Jid, Node, builder::NodeBuilder};
use whatsapp_rust::{
    wacore::{
        libsignal::protocol::{
            CiphertextMessage, GenericSignedPreKey, IdentityKey, IdentityKeyPair, KeyPair,
            PreKeyBundle, PreKeyRecord, PreKeySignalMessage, ProtocolAddress, PublicKey,
            SenderKeyDistributionMessage, SenderKeyName, SignalMessage, SignedPreKeyRecord,
            Timestamp, UsePQRatchet, create_sender_key_distribution_message, group_decrypt,
            group_encrypt, message_decrypt, message_encrypt, process_prekey_bundle,
            process_sender_key_distribution_message,
        },
        messages::{MessageUtils, decode_plaintext},
    },
    waproto::whatsapp as wa,
};

use super::stores::{
    Identities, KEY_ID, OneTimeKey, REGISTRATION, SenderKeys, Sessions, SignedKey,
};
use crate::{
    Device,
    keys::{public, rng},
    state::{Bundle, DeviceKey},
};

/// The keys with which others begin a session with a contact.
pub(super) struct PreKeys {
    signed: KeyPair,
    one_time: KeyPair,
    signature: Vec<u8>,
}

impl PreKeys {
    pub(super) fn generate(own: &IdentityKeyPair) -> Self {
        let signed = KeyPair::generate(&mut rng());
        let signature = own
            .private_key()
            .calculate_signature(&signed.public_key.serialize(), &mut rng())
            .expect("a fresh key can sign");
        Self {
            signed,
            one_time: KeyPair::generate(&mut rng()),
            signature: signature.to_vec(),
        }
    }

    /// What the server gives out.
    pub(super) fn bundle(&self, own: &IdentityKeyPair) -> Bundle {
        Bundle {
            registration: REGISTRATION,
            identity: own
                .public_key()
                .public_key_bytes()
                .try_into()
                .expect("keys of this curve have 32 bytes"),
            signed_id: KEY_ID,
            signed_key: public(&self.signed.public_key),
            signature: self.signature.clone(),
            one_time: [(KEY_ID, public(&self.one_time.public_key))].into(),
        }
    }
}

/// Signal state of one contact.
pub(super) struct Signal {
    identities: Identities,
    sessions: Sessions,
    one_time: OneTimeKey,
    signed: SignedKey,
    sender_keys: SenderKeys,
    /// Groups whose key a device has.
    has_key: Vec<(DeviceKey, String)>,
    /// How many stanzas of each device have been read.
    pub(super) read: HashMap<DeviceKey, usize>,
}

fn address(device: &Device) -> ProtocolAddress {
    ProtocolAddress::new(&format!("{}:{}", device.key.0, device.key.1), 0.into())
}

impl Signal {
    pub(super) fn new(own: IdentityKeyPair, keys: &PreKeys) -> Self {
        let at = Timestamp::from_epoch_millis(0);
        let identities = Identities {
            own,
            known: HashMap::new(),
        };
        let one_time = PreKeyRecord::new(KEY_ID.into(), &keys.one_time);
        let signed = SignedPreKeyRecord::new(KEY_ID.into(), at, &keys.signed, &keys.signature);
        Self {
            identities,
            sessions: Sessions::default(),
            one_time: OneTimeKey(one_time),
            signed: SignedKey(signed),
            sender_keys: SenderKeys::default(),
            has_key: Vec::new(),
            read: HashMap::new(),
        }
    }

    /// Forgets what a device was given, so that the next message to it brings new keys.
    pub(super) fn forget(&mut self, device: &Device) {
        self.sessions.0.remove(&address(device));
        self.has_key.retain(|(known, _)| *known != device.key);
    }

    pub(super) async fn seal(
        &mut self,
        device: &Device,
        message: &wa::Message,
    ) -> anyhow::Result<Node> {
        let address = address(device);
        if !self.sessions.0.contains_key(&address) {
            self.begin_session(device, &address).await?;
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

    async fn begin_session(
        &mut self,
        device: &Device,
        address: &ProtocolAddress,
    ) -> anyhow::Result<()> {
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
            address,
            sessions,
            identities,
            &bundle,
            &mut rng(),
            UsePQRatchet::No,
        )
        .await?;
        Ok(())
    }

    pub(super) async fn seal_for_group(
        &mut self,
        device: &Device,
        group: &str,
        jid: &Jid,
        message: &wa::Message,
    ) -> anyhow::Result<Vec<Node>> {
        let name = SenderKeyName::from_parts(group, &jid.to_string());
        let mut children = Vec::new();
        let pair = (device.key.clone(), group.to_owned());
        if !self.has_key.contains(&pair) {
            let key =
                create_sender_key_distribution_message(&name, &mut self.sender_keys, &mut rng())
                    .await?;
            let key = wa::message::SenderKeyDistributionMessage {
                group_id: Some(group.to_owned()),
                axolotl_sender_key_distribution_message: Some(key.serialized().to_vec()),
            };
            let sender_key_distribution_message = buffa::MessageField::some(key);
            let with_key = wa::Message {
                sender_key_distribution_message,
                ..Default::default()
            };
            children.push(self.seal(device, &with_key).await?);
            self.has_key.push(pair);
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

    pub(super) async fn open(
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

    pub(super) async fn open_for_group(
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
