//! One client's connection: registration or login, then stanzas.

use anyhow::{Context, bail};
use tokio::{net::TcpStream, sync::mpsc};
use wacore_binary::{Jid, Node, NodeRef, builder::NodeBuilder};
use whatsapp_rust::waproto::whatsapp as wa;

use crate::{
    Device, Server, history, iq,
    keys::{attr, now, own_attr},
    noise::{Secured, accept},
    state::{DeviceKey, Mute, OUTBOX, Out, Outbox},
    watch::{Seen, acknowledged},
};

pub(crate) const SERVER: &str = "s.whatsapp.net";
/// Codes shown one after the other.
const REFERENCES: usize = 6;

pub(crate) struct Connection {
    pub(crate) server: Server,
    pub(crate) number: usize,
    pub(crate) device: Option<DeviceKey>,
    pub(crate) noise: [u8; 32],
    pub(crate) out: Outbox,
}

/// Serves a client until either side ends it.
pub(crate) async fn serve(server: Server, socket: TcpStream, number: usize) {
    let Ok(Secured {
        mut reader,
        writer,
        client,
        payload,
    }) = accept(&server, socket).await
    else {
        return;
    };
    let (out, stanzas) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(writer.run(stanzas, server.clone()));
    let mut connection = Connection {
        server,
        number,
        device: None,
        noise: client,
        out,
    };
    if connection.open(payload).is_ok() {
        loop {
            tokio::select! {
                stanza = reader.next() => {
                    let Ok(stanza) = stanza else { break };
                    if let Some(ids) = connection.acknowledges(stanza.get())
                        && !connection.server.seen(Seen::Receipt { ids }).await
                    {
                        continue;
                    }
                    if connection.handle(stanza.get()).is_err() {
                        break;
                    }
                }
                () = connection.out.closed() => break,
            }
        }
    }
    connection.gone();
    drop(connection);
    let _ = writer.await;
}

impl Connection {
    pub(crate) fn send(&self, stanza: Node) {
        // A client that reads nothing loses its connection, not our memory.
        let _ = self.out.try_send(Out::Stanza(stanza));
    }

    pub(crate) fn close(&self) {
        let _ = self.out.try_send(Out::Close);
    }

    pub(crate) fn key(&self) -> anyhow::Result<DeviceKey> {
        self.device.clone().context("not logged in")
    }

    fn open(&mut self, payload: wa::ClientPayload) -> anyhow::Result<()> {
        match payload.username {
            Some(user) => self.login((
                user.to_string(),
                u16::try_from(payload.device.unwrap_or(0))?,
            )),
            None => self.register(
                payload
                    .device_pairing_data
                    .into_option()
                    .context("neither login nor registration")?,
            ),
        }
    }

    fn login(&mut self, key: DeviceKey) -> anyhow::Result<()> {
        let mut state = self.server.state();
        let lid = state
            .accounts
            .get(&key.0)
            .map(|account| account.lid.clone())
            .unwrap_or_default();
        let noise = self.noise;
        let Some(device) = state
            .devices
            .get_mut(&key)
            .filter(|device| device.noise == noise)
        else {
            drop(state);
            self.send(
                NodeBuilder::new("failure")
                    .attr("reason", "401")
                    .attr("location", "rva")
                    .build(),
            );
            self.close();
            return Ok(());
        };
        if let Some(refusal) = device.refusal.take() {
            drop(state);
            self.send(refusal);
            self.close();
            return Ok(());
        }
        if let Some(earlier) = device.online.replace(self.out.clone()) {
            let conflict = NodeBuilder::new("conflict")
                .attr("type", "replaced")
                .build();
            let _ = earlier.try_send(Out::Stanza(
                NodeBuilder::new("stream:error")
                    .children([conflict])
                    .build(),
            ));
            let _ = earlier.try_send(Out::Close);
        }
        device.is_active = false;
        device.mute = device.next_mute.take();
        device.logins += 1;
        drop(state);
        let lid: Jid = format!("{lid}:{}@lid", key.1).parse()?;
        self.device = Some(key);
        let success = NodeBuilder::new("success")
            .attr("t", now().to_string())
            .attr("lid", lid);
        self.send(success.attr("props", "1").attr("location", "loc").build());
        self.server.touch();
        Ok(())
    }

    fn register(
        &mut self,
        data: wa::client_payload::DevicePairingRegistrationData,
    ) -> anyhow::Result<()> {
        let references: Vec<String> = (0..REFERENCES)
            .map(|i| format!("2@ref{}x{i}", self.number))
            .collect();
        {
            let mut state = self.server.state();
            state.registrations.insert(self.number, data);
            for reference in &references {
                state.references.insert(reference.clone(), self.out.clone());
            }
        }
        let shown = references
            .iter()
            .map(|reference| NodeBuilder::new("ref").bytes(reference.as_bytes()).build());
        let pair = NodeBuilder::new("pair-device").children(shown).build();
        let request = NodeBuilder::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("xmlns", "md");
        self.send(
            request
                .attr("id", format!("pd{}", self.number))
                .children([pair])
                .build(),
        );
        Ok(())
    }

    fn mute(&self) -> Option<Mute> {
        let state = self.server.state();
        let device = self.device.as_ref().and_then(|key| state.devices.get(key));
        device.and_then(|device| device.mute)
    }

    fn handle(&mut self, stanza: &NodeRef<'_>) -> anyhow::Result<()> {
        if self.mute() == Some(Mute::Connection) {
            return Ok(());
        }
        match stanza.tag.as_ref() {
            "iq" => iq::answer(self, stanza)?,
            "message" => self.message(stanza)?,
            "receipt" if attr(stanza, "type") == "server-error" => {
                if let Some(answer) = self.server.upload_again(stanza)? {
                    self.send(answer);
                }
            }
            "receipt" => self.receipt(stanza),
            "chatstate" => self.shows(stanza, typing(stanza)),
            "ack" => self
                .acknowledges(stanza)
                .into_iter()
                .flatten()
                .for_each(|id| self.acked(&id)),
            "ib" if stanza.get_optional_child("offline_batch").is_some() => self.send_queue(),
            "xmlstreamend" => bail!("the client ended the stream"),
            _ => {}
        }
        self.server.touch();
        Ok(())
    }

    fn message(&self, stanza: &NodeRef<'_>) -> anyhow::Result<()> {
        let key = self.key()?;
        if history::is_for_handset(stanza) {
            let device = Device::new(self.server.clone(), key.clone());
            let stanza = stanza.to_owned();
            // If this fails, the test that waits for the answer says so.
            tokio::spawn(async move { history::answer(&device, stanza).await });
        }
        let mut ack = NodeBuilder::new("ack")
            .attr("class", "message")
            .attr("id", attr(stanza, "id"));
        if let Some(device) = self.server.state().devices.get_mut(&key) {
            device.sent.push(stanza.to_owned());
            if let Some(code) = device.send_error {
                ack = ack.attr("error", code.to_string());
            }
            if device.mute == Some(Mute::Sends) {
                return Ok(());
            }
        }
        self.send(
            ack.attr("from", attr(stanza, "to"))
                .attr("t", now().to_string())
                .build(),
        );
        Ok(())
    }

    fn receipt(&self, stanza: &NodeRef<'_>) {
        let id = attr(stanza, "id");
        if attr(stanza, "type") == "retry" {
            self.send_again(&id);
        } else if attr(stanza, "type") == "read" {
            let ids = acknowledged(stanza).unwrap_or_default();
            self.shows(stanza, format!("read {}", ids.join(" ")));
        } else {
            acknowledged(stanza)
                .into_iter()
                .flatten()
                .for_each(|id| self.acked(&id));
        }
        let ack = NodeBuilder::new("ack")
            .attr("class", "receipt")
            .attr("id", id);
        self.send(ack.attr("from", attr(stanza, "to")).build());
    }

    fn shows(&self, stanza: &NodeRef<'_>, what: String) {
        let device = self.device.as_ref();
        let mut state = self.server.state();
        if let Some(device) = device.and_then(|key| state.devices.get_mut(key)) {
            let parts = [attr(stanza, "to"), attr(stanza, "participant"), what];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            device.shown.push(parts.collect::<Vec<_>>().join(" "));
        }
    }

    /// The messages of which this stanza says that the device has them. One that it could not
    /// decrypt is acknowledged as well, but not because the device had it.
    fn acknowledges(&self, stanza: &NodeRef<'_>) -> Option<Vec<String>> {
        let mut ids = acknowledged(stanza)?;
        if stanza.tag.as_ref() == "ack" {
            let state = self.server.state();
            let device = self.device.as_ref().and_then(|key| state.devices.get(key));
            ids.retain(|id| device.is_none_or(|device| !device.retried.contains(id)));
        }
        Some(ids).filter(|ids| !ids.is_empty())
    }

    /// The device could not decrypt a message: its sender writes it again.
    fn send_again(&self, id: &str) {
        let Some(key) = &self.device else { return };
        let mut state = self.server.state();
        let Some(device) = state.devices.get_mut(key) else {
            return;
        };
        device.retries.push(id.to_owned());
        device.retried.insert(id.to_owned());
        device.queue.retain(|queued| own_attr(queued, "id") != id);
        if let Some(resend) = state.resends.get(id).cloned() {
            let device = Device::new(self.server.clone(), key.clone());
            let id = id.to_owned();
            // If this fails, the test that waits for the message says so.
            tokio::spawn(async move { resend.again(&device, &id).await });
        }
    }

    fn acked(&self, id: &str) {
        let Some(key) = &self.device else { return };
        let mut state = self.server.state();
        state.resends.remove(id);
        if let Some(device) = state.devices.get_mut(key) {
            let before = device.queue.len();
            device.queue.retain(|queued| own_attr(queued, "id") != id);
            device.retried.remove(id);
            if device.queue.len() < before {
                device.acked.push(id.to_owned());
            }
        }
    }

    /// All that is queued, then the mark without which the client does not count as connected.
    pub(crate) fn send_queue(&self) {
        let Some(key) = &self.device else { return };
        if self.mute() == Some(Mute::Queue) {
            return;
        }
        let queued: Vec<Node> = {
            let mut state = self.server.state();
            let Some(device) = state
                .devices
                .get_mut(key)
                .filter(|device| !device.is_active)
            else {
                return;
            };
            device.is_active = true;
            // Sent under the lock: a live message must not overtake the queue.
            let queued: Vec<Node> = device.queue.iter().cloned().collect();
            for mut stanza in queued.clone() {
                stanza.attrs.insert("offline", "0");
                self.send(stanza);
            }
            queued
        };
        let done = NodeBuilder::new("offline")
            .attr("count", queued.len().to_string())
            .build();
        self.send(
            NodeBuilder::new("ib")
                .attr("from", SERVER)
                .children([done])
                .build(),
        );
    }

    fn gone(&self) {
        if let Some(key) = &self.device
            && let Some(device) = self.server.state().devices.get_mut(key)
            && device
                .online
                .as_ref()
                .is_some_and(|online| online.same_channel(&self.out))
        {
            device.online = None;
            device.is_active = false;
        }
        self.server.touch();
    }
}

/// What a `<chatstate>` shows.
fn typing(stanza: &NodeRef<'_>) -> String {
    let is = |tag: &str| stanza.get_optional_child(tag).is_some();
    let child = stanza.get_optional_child("composing");
    if child.is_some_and(|child| attr(child, "media") == "audio") {
        return "recording".to_owned();
    }
    let states = ["composing", "paused"].into_iter().filter(|tag| is(tag));
    states.collect()
}
