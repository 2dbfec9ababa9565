//! A stand-in WhatsApp server that the real client talks to on loopback.
//!
//! It speaks what the client needs and no more: the Noise handshake over a WebSocket, pairing by QR
//! code and by pair code, login, the requests that a client sends at its start, an offline queue
//! per linked device, and media by HTTPS. A [`Phone`] is a person's handset with an account; a
//! [`Device`] is what got linked to it, seen from the server; a [`Contact`] is somebody else, with
//! real Signal sessions to each device.
//!
//! Every message stays queued until the device acknowledges it, and is handed out again at the next
//! connect. Tests look at [`Device::pending`] and [`Device::acked`] to see what the client has
//! promised.

mod connection;
mod contact;
pub mod content;
mod device;
mod history;
mod iq;
mod keys;
mod media;
mod noise;
mod phone;
mod reupload;
mod state;
mod watch;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::bail;
use buffa::Message as _;
pub use contact::Contact;
pub use device::Device;
pub use history::Remembered;
pub use phone::Phone;
pub use reupload::PhoneFile;
use state::State;
pub use state::{LookupMode, Mute};
use tokio::{net::TcpListener, task::AbortHandle, time::Instant};
use wacore_binary::{Jid, builder::NodeBuilder};
use wacore_noise::test_util::build_cert_chain_bytes;
use whatsapp_rust::{wacore::libsignal::protocol::KeyPair, waproto::whatsapp as wa};

pub use crate::watch::{Seen, Watching};
use crate::{keys::public, media::MediaServer};

/// How long a wait without a deadline of its own may take.
pub const STEP_MAX: Duration = Duration::from_secs(20);

/// The server. Clones are the same one; it ends with the last.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    address: SocketAddr,
    pub(crate) state: std::sync::Mutex<State>,
    pub(crate) changed: tokio::sync::Notify,
    pub(crate) identity: KeyPair,
    pub(crate) certificate: Vec<u8>,
    pub(crate) media: MediaServer,
    pub(crate) watcher: std::sync::Mutex<Option<watch::Watcher>>,
    accepting: std::sync::Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(accepting) = self.accepting.get_mut()
            && let Some(accepting) = accepting.take()
        {
            accepting.abort();
        }
    }
}

impl Server {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        Self::bind(([127, 0, 0, 1], 0).into()).await
    }

    /// Starts one on this address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let identity = KeyPair::generate(&mut keys::rng());
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            state: std::sync::Mutex::default(),
            changed: tokio::sync::Notify::new(),
            certificate: build_cert_chain_bytes(&public(&identity.public_key)),
            identity,
            media: MediaServer::start().await?,
            watcher: std::sync::Mutex::new(None),
            accepting: std::sync::Mutex::new(None),
        });
        // Weak: connections keep the server no longer than its handles do.
        let weak = Arc::downgrade(&shared);
        let accepting = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((socket, _)) = listener.accept().await {
                let Some(shared) = weak.upgrade() else { return };
                number += 1;
                // What ends a connection is the client's affair: a test sees it in the device.
                tokio::spawn(async move { connection::serve(Self(shared), socket, number).await });
            }
        });
        if let Ok(mut slot) = shared.accepting.lock() {
            *slot = Some(accepting.abort_handle());
        }
        Ok(Self(shared))
    }

    /// Where clients connect: `ws://…`.
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.0.address)
    }

    /// The authority that signed the certificate of the media server.
    pub fn ca_pem(&self) -> &str {
        &self.0.media.ca_pem
    }

    /// Host and port of the media server.
    pub fn media_host(&self) -> String {
        self.0.media.host()
    }

    /// A handset with an account of this number, made at its first use.
    pub fn phone(&self, number: &str) -> Phone {
        Phone::new(self.clone(), number)
    }

    /// Somebody with this number and name.
    pub fn contact(&self, number: &str, name: &str) -> Contact {
        Contact::new(self.clone(), number, name, None)
    }

    /// Somebody whose number WhatsApp hides behind a LID, and tells beside it only when
    /// `tells_number`.
    pub fn hidden_contact(
        &self,
        number: &str,
        lid: &str,
        name: &str,
        tells_number: bool,
    ) -> Contact {
        Contact::new(self.clone(), number, name, Some((lid, tells_number)))
    }

    /// People dial an account's number in this form, which is not its own.
    pub fn dial(&self, dialled: &str, number: &str) {
        let mut state = self.state();
        state.dialled.insert(dialled.to_owned(), number.to_owned());
    }

    /// What becomes of look-ups of numbers from now on.
    pub fn look_up(&self, mode: LookupMode) {
        self.state().lookup_mode = mode;
    }

    /// The numbers that were looked up.
    pub fn lookups(&self) -> Vec<String> {
        self.state().lookups.clone()
    }

    /// A group of these contacts and of an account; a device of the account can write to it.
    pub fn group(&self, id: &str, account: &str, members: &[&Contact]) {
        let account = format!("{account}@{}", connection::SERVER)
            .parse()
            .expect("a number makes a JID");
        let members = members
            .iter()
            .map(|member| member.jid().clone())
            .chain([account])
            .collect();
        self.state().groups.insert(id.to_owned(), members);
    }

    /// A channel publishes something: in clear, and handed out once.
    ///
    /// # Errors
    /// When the channel's id is none.
    pub fn publish(
        &self,
        device: &Device,
        channel: &str,
        message: &wa::Message,
    ) -> anyhow::Result<String> {
        let id = format!("{:016X}", rand::random::<u64>());
        let plain = NodeBuilder::new("plaintext")
            .bytes(message.encode_to_vec())
            .build();
        let stanza = NodeBuilder::new("message")
            .attr("id", id.clone())
            .attr("from", channel.parse::<Jid>()?);
        let stanza = stanza
            .attr("t", keys::now().to_string())
            .attr("type", "text")
            .attr("server_id", "100");
        device.send_now(stanza.children([plain]).build());
        Ok(id)
    }

    /// Devices that are linked now, with their account's number.
    pub fn devices(&self) -> Vec<Device> {
        let keys: Vec<_> = self.state().devices.keys().cloned().collect();
        keys.into_iter()
            .map(|key| Device::new(self.clone(), key))
            .collect()
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn touch(&self) {
        self.0.changed.notify_waiters();
    }

    /// Waits until the state gives something.
    pub(crate) async fn wait<T>(
        &self,
        patience: Duration,
        what: &str,
        look: impl Fn(&mut State) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.state()) {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                bail!("waited {patience:?} in vain for {what}");
            }
        }
    }
}
