//! A linked device, seen from the server.

use std::time::Duration;

use wacore_binary::{Node, builder::NodeBuilder};

use crate::{
    Server,
    keys::own_attr,
    state::{Bundle, DeviceKey, DeviceRecord, Mute, Out},
};

/// A linked device.
#[derive(Clone)]
pub struct Device {
    pub(crate) server: Server,
    pub(crate) key: DeviceKey,
}

impl Device {
    pub(crate) fn new(server: Server, key: DeviceKey) -> Self {
        Self { server, key }
    }

    /// The number of the account it is linked to.
    pub fn number(&self) -> &str {
        &self.key.0
    }

    /// Its own number within the account.
    pub fn id(&self) -> u16 {
        self.key.1
    }

    fn look<T: Default>(&self, look: impl FnOnce(&mut DeviceRecord) -> T) -> T {
        self.server
            .state()
            .devices
            .get_mut(&self.key)
            .map(look)
            .unwrap_or_default()
    }

    /// Whether it is linked still.
    pub fn is_linked(&self) -> bool {
        self.look(|_| true)
    }

    /// Whether it is connected and has its queue behind it.
    pub fn is_online(&self) -> bool {
        self.look(|device| device.online.is_some() && device.is_active)
    }

    /// How often it has logged in.
    pub fn logins(&self) -> u32 {
        self.look(|device| device.logins)
    }

    /// Ids of messages that it has not acknowledged yet, in the order in which they were sent.
    pub fn pending(&self) -> Vec<String> {
        self.look(|device| {
            device
                .queue
                .iter()
                .map(|stanza| own_attr(stanza, "id"))
                .collect()
        })
    }

    /// The messages that it has asked for again, since it could not decrypt them.
    pub fn retries(&self) -> Vec<String> {
        self.look(|device| device.retries.clone())
    }

    /// Ids of messages in the order in which it acknowledged them.
    pub fn acked(&self) -> Vec<String> {
        self.look(|device| device.acked.clone())
    }

    /// How many messages it has handed to the server.
    pub fn messages_sent(&self) -> usize {
        self.look(|device| device.sent.len())
    }

    /// Waits until it has acknowledged a message.
    ///
    /// # Errors
    /// When it did not in time.
    pub async fn wait_acked(&self, id: &str, patience: Duration) -> anyhow::Result<()> {
        let acked =
            |device: &DeviceRecord| device.acked.iter().any(|acked| acked == id).then_some(());
        self.wait(patience, &format!("the acknowledgement of {id}"), acked)
            .await
    }

    /// Waits until nothing is left to acknowledge.
    ///
    /// # Errors
    /// When something is left after that time.
    pub async fn wait_idle(&self, patience: Duration) -> anyhow::Result<()> {
        self.wait(patience, "an empty queue", |device| {
            device.queue.is_empty().then_some(())
        })
        .await
    }

    /// Waits until it is online, after at least so many logins.
    ///
    /// # Errors
    /// When it was not in time.
    pub async fn wait_online(&self, logins_min: u32, patience: Duration) -> anyhow::Result<()> {
        let online =
            |device: &DeviceRecord| (device.is_active && device.logins >= logins_min).then_some(());
        self.wait(patience, "the device to be online", online).await
    }

    /// Waits until it has no connection.
    ///
    /// # Errors
    /// When it had one all that time.
    pub async fn wait_offline(&self, patience: Duration) -> anyhow::Result<()> {
        self.wait(patience, "the device to be offline", |device| {
            device.online.is_none().then_some(())
        })
        .await
    }

    /// Waits until it has said that it could not decrypt a message.
    ///
    /// # Errors
    /// When it did not in time.
    pub async fn wait_retry(&self, id: &str, patience: Duration) -> anyhow::Result<()> {
        let asked =
            |device: &DeviceRecord| device.retries.iter().any(|retry| retry == id).then_some(());
        self.wait(patience, &format!("a retry receipt for {id}"), asked)
            .await
    }

    async fn wait<T>(
        &self,
        patience: Duration,
        what: &str,
        look: impl Fn(&DeviceRecord) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.server
            .wait(patience, what, |state| {
                state.devices.get(&self.key).and_then(&look)
            })
            .await
    }

    fn tell(&self, out: Vec<Out>) {
        if let Some(online) = self.look(|device| device.online.clone()) {
            for out in out {
                let _ = online.try_send(out);
            }
        }
    }

    /// Waits until it has shown this in a chat, like `4915200000001@s.whatsapp.net composing`, or
    /// `… read ID`.
    ///
    /// # Errors
    /// When it did not in time.
    pub async fn wait_shown(&self, what: &str, patience: Duration) -> anyhow::Result<()> {
        let is_shown = |device: &DeviceRecord| {
            let mut shown = device.shown.iter();
            shown.any(|shown| shown == what).then_some(())
        };
        self.wait(patience, what, is_shown).await
    }

    /// Its connection stands from now on and is mute; the next one is not.
    pub fn fall_mute(&self, how: Mute) {
        self.look(|device| {
            match how {
                Mute::Queue => device.next_mute = Some(how),
                _ => device.mute = Some(how),
            }
            // What comes for it waits for its next connection.
            device.is_active = false;
        });
    }

    /// Messages that it sends are answered with this error from now on.
    pub fn fail_sends(&self, code: u16) {
        self.look(|device| device.send_error = Some(code));
    }

    /// Lets the connection go without a word.
    pub fn cut(&self) {
        self.tell(vec![Out::Abort]);
    }

    /// Ends the stream as WhatsApp does now and then.
    pub fn end_stream(&self) {
        self.tell(vec![
            Out::Stanza(NodeBuilder::new("xmlstreamend").build()),
            Out::Close,
        ]);
    }

    /// Tells it that another connection uses its keys.
    pub fn replace(&self) {
        let conflict = NodeBuilder::new("conflict")
            .attr("type", "replaced")
            .build();
        let error = NodeBuilder::new("stream:error")
            .children([conflict])
            .build();
        self.tell(vec![Out::Stanza(error), Out::Close]);
    }

    /// Refuses its next login: the account is banned for that long.
    pub fn ban(&self, code: u16, duration: Duration) {
        let failure = NodeBuilder::new("failure")
            .attr("reason", "402")
            .attr("code", code.to_string())
            .attr("expire", duration.as_secs().to_string());
        self.answer_next_login(failure.build());
    }

    /// Refuses its next login for this reason; `None` sends a `<failure>` without one.
    pub fn refuse(&self, reason: Option<u16>) {
        let mut failure = NodeBuilder::new("failure");
        if let Some(reason) = reason {
            failure = failure.attr("reason", reason.to_string());
        }
        self.answer_next_login(failure.build());
    }

    fn answer_next_login(&self, failure: Node) {
        self.look(|device| device.refusal = Some(failure));
        self.cut();
    }

    /// Sends it a stanza as it is, now, without queueing it.
    pub(crate) fn send_now(&self, stanza: Node) {
        self.tell(vec![Out::Stanza(stanza)]);
    }

    /// Queues a message, and sends it now if the device is online.
    pub(crate) fn deliver(&self, stanza: Node) {
        let mut state = self.server.state();
        if let Some(device) = state.devices.get_mut(&self.key) {
            if device.is_active
                && let Some(online) = &device.online
            {
                let _ = online.try_send(Out::Stanza(stanza.clone()));
            }
            device.queue.push_back(stanza);
        }
    }

    /// Its keys, with one that nobody else gets.
    pub(crate) fn take_bundle(&self) -> Option<Bundle> {
        self.look(|device| {
            let first = device.bundle.one_time.pop_front()?;
            Some(Bundle {
                one_time: [first].into(),
                ..device.bundle.clone()
            })
        })
    }
}
