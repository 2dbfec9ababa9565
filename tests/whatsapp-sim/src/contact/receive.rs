//! Reading what a device sends to a contact.

use std::time::Duration;

use anyhow::Context;
use wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::Contact;
use crate::{
    Device,
    keys::{own_attr, own_bytes},
    state::State,
};

/// A stanza for this contact, or for a group that it is in.
struct Found {
    /// Its place among those that the device sent.
    at: usize,
    /// What is encrypted for this contact alone.
    sealed: Option<Node>,
    stanza: Node,
}

impl Contact {
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
        let find = |state: &mut State| self.find(state, device, known);
        let found = self
            .server
            .wait(patience, "a message from the device", find);
        let Found { at, sealed, stanza } = found.await?;
        signal.read.insert(device.key.clone(), at + 1);
        let id = own_attr(&stanza, "id");
        let to = own_attr(&stanza, "to");
        let opened = match sealed {
            Some(sealed) => {
                let kind = own_attr(&sealed, "type");
                Some(signal.open(device, &kind, own_bytes(&sealed)).await?)
            }
            None => None,
        };
        if !to.ends_with("@g.us") {
            return Ok((id, opened.context("it is for this contact")?));
        }
        // What is for this contact alone is the key to what is for the group.
        let key = opened.and_then(|message| message.sender_key_distribution_message.into_option());
        let sealed = stanza
            .get_optional_child("enc")
            .context("nothing for the group")?;
        let message = signal.open_for_group(device, &to, key, own_bytes(sealed));
        Ok((id, message.await?))
    }

    /// The first of a device's stanzas, after those already read, that is for this contact.
    fn find(&self, state: &mut State, device: &Device, known: usize) -> Option<Found> {
        let groups = &state.groups;
        let sent = &state.devices.get(&device.key)?.sent;
        sent.iter()
            .enumerate()
            .skip(known)
            .find_map(|(at, stanza)| {
                let members = groups.get(&own_attr(stanza, "to"));
                let is_member = members.is_some_and(|members| members.contains(&self.person.jid));
                let sealed = self.sealed_for_me(stanza);
                (sealed.is_some() || is_member).then(|| Found {
                    at,
                    sealed: sealed.cloned(),
                    stanza: stanza.clone(),
                })
            })
    }

    fn is_me(&self, jid: &str) -> bool {
        let lid = self.person.lid.as_ref();
        jid.parse::<Jid>().is_ok_and(|jid| {
            jid.user == self.person.jid.user || lid.is_some_and(|lid| lid.user == jid.user)
        })
    }

    fn sealed_for_me<'a>(&self, stanza: &'a Node) -> Option<&'a Node> {
        if let Some(sealed) = stanza.get_optional_child("enc")
            && self.is_me(&own_attr(stanza, "to"))
        {
            return Some(sealed);
        }
        let participants = stanza.get_optional_child("participants")?.children()?;
        participants
            .iter()
            .find(|to| self.is_me(&own_attr(to, "jid")))?
            .get_optional_child("enc")
    }
}
