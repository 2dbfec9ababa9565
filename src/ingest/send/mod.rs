//! Sending through a session, no faster than people write, and only to those who have an account.

mod acts;
mod file_type;
mod kinds;
mod limiter;
mod lookup;
mod message;

use std::{sync::Arc, time::Duration};

use whatsapp_rust::{Jid, SendOptions, prelude::Client};

use self::lookup::Lookups;
pub(super) use self::{
    acts::{act, is_lookup},
    limiter::SendLimiter,
};
use super::{
    content,
    context::Context,
    media::{ANSWER_TIMEOUT, Renewals},
    polls::Polls,
};
use crate::model::{
    ClientId, OutboundMessage, SendOutcome, SessionAct, SessionRequest, WhatsAppId,
};

/// Handing one message to WhatsApp: the look-up and keys of a new contact, and a file, included.
const SEND_TIMEOUT: Duration = Duration::from_secs(8);

/// What a session has learnt from what it was asked for.
#[derive(Default)]
pub(super) struct Known {
    lookups: Lookups,
    renewals: Renewals,
}

/// How long it may take to do what is asked.
pub(super) fn time_for(wanted: &SessionRequest) -> Duration {
    match wanted {
        SessionRequest::Act {
            act: SessionAct::RenewMedia { .. },
        } => ANSWER_TIMEOUT,
        _ => SEND_TIMEOUT,
    }
}

/// Hands a message to WhatsApp. `owner` is whose session it is.
pub(super) async fn send(
    owner: ClientId,
    client: &Arc<Client>,
    context: &Context,
    known: &Known,
    polls: &Polls,
    outgoing: &OutboundMessage,
) -> SendOutcome {
    if !client.is_logged_in() {
        return SendOutcome::NotConnected;
    }
    let to = match receiver(client, &known.lookups, &outgoing.to).await {
        Ok(to) => to,
        Err(outcome) => return outcome,
    };
    let message = match (&outgoing.kind, &outgoing.media) {
        (Some(kind), _) => {
            let now = context.bus.now();
            kinds::message(client, &to, outgoing, kind, now)
        }
        (None, None) => message::text(client, outgoing),
        (None, Some(media)) => {
            match message::with_file(owner, client, context, outgoing, media).await {
                Ok(message) => message,
                Err(outcome) => return outcome,
            }
        }
    };
    // A message that was just received may have made a key that this one is encrypted with. Were
    // it lost, the receiver's next message could not be read.
    if client.flush_pending_signal_state().await.is_err() {
        tracing::warn!("nothing is sent while the session's keys cannot be stored");
        return SendOutcome::Refused;
    }
    // Before anybody can vote.
    if let Some(asked) = content::asked(&message) {
        let id = outgoing.message_id.as_str();
        let now = context.bus.now();
        polls.sent(client, &to, id, asked, now).await;
    }
    let options = SendOptions::default().with_message_id(outgoing.message_id.as_str());
    match client.send_message_with_options(to, message, options).await {
        Ok(_) => SendOutcome::Sent,
        Err(_) => refused(),
    }
}

/// The client refused it. The error's text may hold numbers, so it is not logged.
fn refused() -> SendOutcome {
    tracing::warn!("WhatsApp's client refused to send something");
    SendOutcome::Refused
}

/// Where it goes: a number is looked up.
async fn receiver(client: &Client, lookups: &Lookups, to: &str) -> Result<Jid, SendOutcome> {
    let id: WhatsAppId = to.parse().map_err(|_| SendOutcome::Refused)?;
    if let WhatsAppId::Phone(phone) = &id {
        return match lookups.account(client, phone).await {
            Ok(Some(account)) => Ok(account),
            Ok(None) => Err(SendOutcome::NotOnWhatsApp),
            Err(_) => Err(SendOutcome::LookupFailed),
        };
    }
    id.address().parse().map_err(|_| SendOutcome::Refused)
}
