//! Sending through a session, no faster than people write.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use whatsapp_rust::{
    Jid, SendOptions,
    prelude::{Client, MessageField, wa},
};

use crate::model::{Outgoing, SendOutcome};

/// Messages that may follow each other at once.
const BURST: u32 = 5;
/// How long a message may wait for its turn; longer waits are refused.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// When a session may send: so many a minute after a small burst (the generic cell rate algorithm).
pub(super) struct Pace {
    gap: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self { gap: Duration::from_secs(60) / per_minute.max(1), next: now }
    }

    /// When the message may go, or how long until there is room for it.
    pub(super) fn take(&mut self, now: Instant) -> Result<Instant, Duration> {
        let begin = self.next.max(now);
        // Up to a burst ahead of its time.
        let at = begin.checked_sub(self.gap * (BURST - 1)).map_or(now, |early| early.max(now));
        if at > now + WAIT_MAX {
            return Err(at - now);
        }
        self.next = begin + self.gap;
        Ok(at)
    }
}

/// Hands a message to WhatsApp.
pub(super) async fn send(client: &Arc<Client>, outgoing: &Outgoing) -> SendOutcome {
    if !client.is_logged_in() {
        return SendOutcome::NotConnected;
    }
    let Ok(to) = address(&outgoing.to).parse::<Jid>() else { return SendOutcome::Refused };
    let options = SendOptions::default().with_message_id(outgoing.message_id.as_str());
    match client.send_message_with_options(to, message(outgoing), options).await {
        Ok(_) => SendOutcome::Sent,
        Err(_) => {
            // The error's text may hold numbers.
            tracing::warn!("WhatsApp's client refused to send a message");
            SendOutcome::Refused
        }
    }
}

fn address(to: &str) -> String {
    if to.contains('@') { to.to_owned() } else { format!("{to}@s.whatsapp.net") }
}

fn message(outgoing: &Outgoing) -> wa::Message {
    let Some(quoted) = &outgoing.reply_to else {
        return wa::Message { conversation: Some(outgoing.text.clone()), ..Default::default() };
    };
    let context = wa::ContextInfo {
        stanza_id: Some(quoted.message_id.clone()),
        participant: Some(address(&quoted.from)),
        // A quotation without a quoted message is not shown as one.
        quoted_message: MessageField::some(wa::Message { conversation: Some(String::new()), ..Default::default() }),
        ..Default::default()
    };
    let text = wa::message::ExtendedTextMessage {
        text: Some(outgoing.text.clone()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    wa::Message { extended_text_message: MessageField::some(text), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_one_after_the_other() {
        let now = Instant::now();
        let mut pace = Pace::new(60, now);
        let second = Duration::from_secs(1);
        let first: Vec<_> = (0..5).map(|_| pace.take(now)).collect();
        assert_eq!(first, [Ok(now); 5]);
        assert_eq!([pace.take(now), pace.take(now), pace.take(now)], [1, 2, 3].map(|n| Ok(now + second * n)));
        assert_eq!(pace.take(now), Err(second * 4), "refused, and it costs nothing");
        assert_eq!(pace.take(now + second), Ok(now + second * 4));
        assert_eq!(pace.take(now + second * 60), Ok(now + second * 60), "it fills up again");
    }
}
