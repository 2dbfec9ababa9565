//! A person's handset: it owns the account, and links devices to it.

use anyhow::Context;
use base64::prelude::{BASE64_STANDARD, Engine};
use buffa::Message as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wacore_binary::{Jid, builder::NodeBuilder};
use whatsapp_rust::{
    pair::PairUtils,
    wacore::{
        crypto::hkdf_sha256_into,
        libsignal::{
            crypto::aes_256_gcm_decrypt,
            protocol::{IdentityKeyPair, KeyPair, PublicKey},
        },
        pair_code::PairCodeUtils,
    },
    waproto::whatsapp as wa,
};

use crate::{
    Contact, Device, STEP_MAX, Server,
    connection::SERVER,
    content,
    keys::{now, public, rng},
    state::{Account, CodePairing, Out, Outbox, Pairing},
};

/// A handset with an account.
#[derive(Clone)]
pub struct Phone {
    server: Server,
    number: String,
}

/// What a device shows of itself to be linked.
struct Companion {
    adv_secret: [u8; 32],
    noise: [u8; 32],
    identity: [u8; 32],
    out: Outbox,
}

impl Phone {
    pub(crate) fn new(server: Server, number: &str) -> Self {
        server
            .state()
            .accounts
            .entry(number.to_owned())
            .or_insert_with(|| Account {
                lid: format!("9{number}"),
                key: KeyPair::generate(&mut rng()),
                devices_made: 0,
            });
        Self {
            server,
            number: number.to_owned(),
        }
    }

    fn account(&self) -> Account {
        self.server
            .state()
            .accounts
            .get(&self.number)
            .expect("made with the phone")
            .clone()
    }

    /// Scans a QR code; returns once the device can be written to.
    ///
    /// # Errors
    /// When it is not a code that is shown now, or the device does not go on with it.
    pub async fn scan(&self, code: &str) -> anyhow::Result<Device> {
        let adv_secret = code
            .split(',')
            .nth(3)
            .context("a QR code has five fields")?;
        let adv_secret = BASE64_STANDARD
            .decode(adv_secret)?
            .try_into()
            .ok()
            .context("a secret has 32 bytes")?;
        let (reference, noise, identity) = PairUtils::parse_qr_code(code)?;
        let out = self
            .server
            .state()
            .references
            .get(&reference)
            .cloned()
            .context("nobody shows this code")?;
        self.link(Companion {
            adv_secret,
            noise,
            identity,
            out,
        })
        .await
    }

    /// Types in a pair code; returns once the device can be written to.
    ///
    /// # Errors
    /// When the code is wrong, or the device does not go on with it.
    pub async fn enter_code(&self, code: &str) -> anyhow::Result<Device> {
        let number = self.number.clone();
        let asked = |state: &mut crate::state::State| state.codes.get(&number).cloned();
        let pairing = self
            .server
            .wait(STEP_MAX, "a device that asks for a code", asked)
            .await?;
        let theirs =
            PairCodeUtils::decrypt_primary_ephemeral_pub(&pairing.wrapped_ephemeral, code)?;
        let ephemeral = KeyPair::generate(&mut rng());
        let wrapped =
            PairCodeUtils::encrypt_ephemeral_pub(&public(&ephemeral.public_key), code).to_vec();
        let account = self.account();
        let _ = pairing
            .out
            .send(Out::Stanza(primary_hello(&pairing, wrapped, &account.key)))
            .await;
        let finished = |state: &mut crate::state::State| state.codes.get(&number)?.finish.clone();
        let (bundle, identity) = self
            .server
            .wait(STEP_MAX, "the device's answer to the code", finished)
            .await?;

        let shared =
            ephemeral.calculate_agreement(&PublicKey::from_djb_public_key_bytes(&theirs)?)?;
        let (salt, rest) = bundle
            .split_at_checked(32)
            .context("the key bundle is cut")?;
        let (nonce, sealed) = rest.split_at_checked(12).context("the key bundle is cut")?;
        let mut key = [0; 32];
        let mut plain = Vec::new();
        let info = b"link_code_pairing_key_bundle_encryption_key";
        hkdf_sha256_into(&shared, Some(salt), info, &mut key)
            .ok()
            .context("a key")?;
        aes_256_gcm_decrypt(&key, nonce.try_into()?, b"", sealed, &mut plain)
            .ok()
            .context("opening the key bundle")?;
        let agreed = account
            .key
            .calculate_agreement(&PublicKey::from_djb_public_key_bytes(&identity)?)?;
        let material = [
            &shared[..],
            &agreed[..],
            plain.get(64..96).context("the key bundle is short")?,
        ]
        .concat();
        let mut adv_secret = [0; 32];
        hkdf_sha256_into(&material, None, b"adv_secret", &mut adv_secret)
            .ok()
            .context("a secret")?;
        self.server.state().codes.remove(&self.number);
        self.link(Companion {
            adv_secret,
            noise: pairing.noise,
            identity,
            out: pairing.out,
        })
        .await
    }

    async fn link(&self, companion: Companion) -> anyhow::Result<Device> {
        let number = {
            let mut state = self.server.state();
            let account = state
                .accounts
                .get_mut(&self.number)
                .expect("made with the phone");
            account.devices_made += 1;
            account.devices_made
        };
        let account = self.account();
        let key = (self.number.clone(), number);
        let id = format!("pair-{number}-{}", self.number);
        let signed = self.signed_identity(&account, number, &companion)?;
        let jid: Jid = format!("{}:{number}@{SERVER}", self.number).parse()?;
        let lid: Jid = format!("{}:{number}@lid", account.lid).parse()?;
        let success = NodeBuilder::new("pair-success").children([
            NodeBuilder::new("device-identity").bytes(signed).build(),
            NodeBuilder::new("device")
                .attr("jid", jid)
                .attr("lid", lid)
                .build(),
            // It becomes the push name; without one every connect takes a slower way.
            NodeBuilder::new("biz").attr("name", "Stand-in").build(),
            NodeBuilder::new("platform").attr("name", "android").build(),
        ]);
        let pairing = Pairing {
            key: key.clone(),
            noise: companion.noise,
            identity: companion.identity,
        };
        self.server.state().pairings.insert(id.clone(), pairing);
        let request = NodeBuilder::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("xmlns", "md");
        let request = request.attr("id", id).children([success.build()]).build();
        companion
            .out
            .send(Out::Stanza(request))
            .await
            .ok()
            .context("the device is gone")?;
        let can_be_written_to = |state: &mut crate::state::State| {
            state
                .devices
                .get(&key)
                .filter(|device| !device.bundle.one_time.is_empty())
                .map(drop)
        };
        self.server
            .wait(STEP_MAX, "the device's keys", can_be_written_to)
            .await?;
        let device = Device::new(self.server.clone(), key);
        self.own()
            .send_peer(&device, content::app_state_keys())
            .await?;
        Ok(device)
    }

    /// The account's word that this device belongs to it.
    fn signed_identity(
        &self,
        account: &Account,
        number: u16,
        companion: &Companion,
    ) -> anyhow::Result<Vec<u8>> {
        let kind = Some(wa::ADVEncryptionType::E2EE);
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(1),
            timestamp: Some(now()),
            key_index: Some(u32::from(number)),
            account_type: kind,
            device_type: kind,
        }
        .encode_to_vec();
        let text = [&[6, 0][..], &details, &companion.identity].concat();
        let signature = account
            .key
            .private_key
            .calculate_signature(&text, &mut rng())?;
        let signed = wa::ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(account.key.public_key.public_key_bytes().to_vec()),
            account_signature: Some(signature.to_vec()),
            device_signature: None,
        }
        .encode_to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(&companion.adv_secret)?;
        mac.update(&signed);
        let hmac = Some(mac.finalize().into_bytes().to_vec());
        Ok(wa::ADVSignedDeviceIdentityHMAC {
            details: Some(signed),
            hmac,
            account_type: kind,
        }
        .encode_to_vec())
    }

    /// The handset as one who writes to its own devices.
    fn own(&self) -> Contact {
        let key = self.account().key;
        let key = IdentityKeyPair::new(key.public_key.into(), key.private_key);
        let lid = self.account().lid;
        Contact::own(self.server.clone(), &self.number, key, &lid)
    }

    /// Writes to somebody, or to a group; the device hears of it.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn write(
        &self,
        device: &Device,
        to: &str,
        message: wa::Message,
    ) -> anyhow::Result<String> {
        let chat = if to.contains('@') {
            to.to_owned()
        } else {
            format!("{to}@{SERVER}")
        };
        self.own().send_copy(device, &chat, message).await
    }

    /// Shares what was written in a chat before the device was linked.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn share_history(
        &self,
        device: &Device,
        with: &str,
        texts: &[&str],
    ) -> anyhow::Result<String> {
        self.own()
            .send_peer(
                device,
                content::history(&format!("{with}@{SERVER}"), texts)?,
            )
            .await
    }

    /// Unlinks a device: it is told so, and every later login is refused.
    pub fn remove(&self, device: &Device) {
        let record = self.server.state().devices.remove(&device.key);
        if let Some(online) = record.and_then(|record| record.online) {
            let conflict = NodeBuilder::new("conflict")
                .attr("type", "device_removed")
                .build();
            let error = NodeBuilder::new("stream:error")
                .attr("code", "401")
                .children([conflict])
                .build();
            let _ = online.try_send(Out::Stanza(error));
            let _ = online.try_send(Out::Close);
        }
        self.server.touch();
    }
}

fn primary_hello(pairing: &CodePairing, wrapped: Vec<u8>, key: &KeyPair) -> wacore_binary::Node {
    let hello = NodeBuilder::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .children([
            NodeBuilder::new("link_code_pairing_wrapped_primary_ephemeral_pub")
                .bytes(wrapped)
                .build(),
            NodeBuilder::new("primary_identity_pub")
                .bytes(key.public_key.public_key_bytes().to_vec())
                .build(),
            NodeBuilder::new("link_code_pairing_ref")
                .bytes(pairing.reference.clone())
                .build(),
        ]);
    let notification = NodeBuilder::new("notification")
        .attr("id", "lc1")
        .attr("from", SERVER);
    let notification = notification
        .attr("type", "link_code_companion_reg")
        .attr("t", now().to_string());
    notification.children([hello.build()]).build()
}
