//! Somebody who writes to devices and reads what they write, with real Signal sessions.

mod receive;
mod signal;
mod stores;

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Mutex;
use wacore_binary::{Jid, Node, NodeContent, builder::NodeBuilder};
use whatsapp_rust::{wacore::libsignal::protocol::IdentityKeyPair, waproto::whatsapp as wa};

use self::signal::{PreKeys, Signal};
use crate::{
    Device, Server,
    connection::SERVER,
    content,
    keys::{now, own_attr, own_bytes, rng},
};

/// Somebody. Clones are the same person.
#[derive(Clone)]
pub struct Contact {
    server: Server,
    person: Arc<Person>,
}

/// Who somebody is, and what he knows of devices.
pub(crate) struct Person {
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
            signal.forget(device);
        }
        contact
            .write(device, self.group.as_deref(), id, self.message)
            .await
    }
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
        let keys = PreKeys::generate(&own);
        let bundle = keys.bundle(&own);
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
        if let Some(lid) = &lid {
            state.lids.insert(number.to_owned(), lid.user.to_string());
        }
        drop(state);
        let person = Person {
            jid,
            lid,
            tells_number,
            name: name.to_owned(),
            signal: Mutex::new(Signal::new(own, &keys)),
        };
        Self {
            server,
            person: Arc::new(person),
        }
    }

    /// An account's handset, made when it is used first. It is one and the same from then on: what
    /// its devices write is for the keys that it has given out.
    pub(crate) fn own(server: Server, number: &str, key: IdentityKeyPair, lid: &str) -> Self {
        if let Some(handset) = Self::handset(&server, number) {
            return handset;
        }
        let handset = Self::with_key(server.clone(), number, "me", None, key);
        let mut state = server.state();
        let bundle = state.contacts.get(&handset.person.jid.to_string()).cloned();
        // Devices write to it under its LID.
        if let Some(bundle) = bundle {
            state.contacts.insert(format!("{lid}@lid"), bundle);
        }
        let person = Arc::clone(&handset.person);
        state.handsets.insert(number.to_owned(), person);
        drop(state);
        handset
    }

    /// The handset of an account, once it was used.
    pub(crate) fn handset(server: &Server, number: &str) -> Option<Self> {
        let person = server.state().handsets.get(number).cloned()?;
        Some(Self {
            server: server.clone(),
            person,
        })
    }

    /// Decrypts what a device sent to this contact alone.
    pub(crate) async fn open(&self, device: &Device, stanza: &Node) -> anyhow::Result<wa::Message> {
        let sealed = stanza.get_optional_child("enc").context("nothing sealed")?;
        let mut signal = self.person.signal.lock().await;
        let kind = own_attr(sealed, "type");
        signal.open(device, &kind, own_bytes(sealed)).await
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

    /// The message as it leaves, with one bit that is wrong.
    async fn spoiled(&self, device: &Device, message: &wa::Message) -> anyhow::Result<Node> {
        let mut signal = self.person.signal.lock().await;
        let mut sealed = signal.seal(device, message).await?;
        if let Some(NodeContent::Bytes(bytes)) = &mut sealed.content {
            let at = bytes
                .len()
                .checked_sub(12)
                .context("too short to be corrupted")?;
            bytes[at] ^= 1;
        }
        Ok(sealed)
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
        let sealed = self.spoiled(device, &message).await?;
        self.keep(&id, None, message);
        device.deliver(self.direct(&id).children([sealed]).build());
        device.wait_retry(&id, crate::STEP_MAX).await?;
        Ok(id)
    }

    /// Writes something that cannot be decrypted, and does not write it again.
    ///
    /// # Errors
    /// When the device has no keys left.
    pub async fn send_unreadable(
        &self,
        device: &Device,
        message: &wa::Message,
    ) -> anyhow::Result<String> {
        let id = new_id();
        let sealed = self.spoiled(device, message).await?;
        device.deliver(self.direct(&id).children([sealed]).build());
        Ok(id)
    }

    /// WhatsApp tells a device of a message without its content, as it does for view-once media
    /// (`type="view_once"`), and for what it has for the phone alone.
    pub fn send_unavailable(&self, device: &Device, attributes: &[(&'static str, &str)]) -> String {
        let id = new_id();
        let mut unavailable = NodeBuilder::new("unavailable");
        for (name, value) in attributes {
            unavailable = unavailable.attr(name, (*value).to_owned());
        }
        device.deliver(self.direct(&id).children([unavailable.build()]).build());
        id
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
