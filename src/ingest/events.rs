//! What the client tells, as what it means for the session. Pure.

use std::sync::Arc;

use tokio::sync::mpsc;
use whatsapp_rust::{
    Jid,
    types::events::{Event, EventHandler, EventInterest, EventKind, MessageBatch},
    types::presence::ReceiptType,
    wacore::types::events::ConnectFailureReason,
};

use crate::{
    model::{PairingMethod, Phone, SessionState},
    telemetry,
};

/// Events of one session that wait to be looked at; there are a few per connect.
pub(super) const QUEUE: usize = 256;

/// Hands the client's events over, in their order.
pub(super) struct Forward(pub(super) mpsc::Sender<Arc<Event>>);

impl EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        if self.0.try_send(event).is_err() {
            telemetry::error("ingest", "event_dropped");
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::LoggedOut,
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingCodeError,
            EventKind::PairingQrCodesExhausted,
            EventKind::ClientOutdated,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ConnectFailure,
            EventKind::Messages,
            EventKind::Receipt,
            EventKind::ServerAck,
        ])
    }
}

/// What an event means.
pub(super) enum Meaning {
    /// Show this to the phone's owner.
    Pairing {
        method: PairingMethod,
        code: String,
        valid_for: std::time::Duration,
    },
    /// Linked to this number.
    Paired(Option<Phone>),
    /// In this state now, for this reason.
    State(SessionState, Option<String>),
    /// What became of messages that the account sent.
    Receipt(Receipt),
    /// Messages that went past the hook: published now, at most once.
    Unhooked(MessageBatch),
    Nothing,
}

/// What became of messages that the account sent.
pub(super) struct Receipt {
    pub(super) message_ids: Vec<String>,
    /// `server`, `delivered`, `read`, `played` or `failed`.
    pub(super) status: &'static str,
    /// Who tells; the server itself has none.
    pub(super) from: Option<Jid>,
    pub(super) chat: Option<Jid>,
    pub(super) at_millis: i64,
}

pub(super) fn meaning(event: &Event) -> Meaning {
    use SessionState::{Banned, Connected, LoggedOut, Outdated, Pairing, Reconnecting, Replaced};
    let state = |state, reason: &str| Meaning::State(state, Some(reason.to_owned()));
    match event {
        Event::PairingQrCode(qr) => Meaning::Pairing {
            method: PairingMethod::Qr,
            code: qr.code.clone(),
            valid_for: qr.timeout,
        },
        Event::PairingCode(code) => Meaning::Pairing {
            method: PairingMethod::Code,
            code: code.code.clone(),
            valid_for: code.timeout,
        },
        Event::PairingCodeError(_) => state(
            Pairing,
            "WhatsApp gave no pairing code: wait some minutes, then ask for one again",
        ),
        Event::PairingQrCodesExhausted(_) => {
            state(Pairing, "no code was used in time: restart the session")
        }
        Event::PairSuccess(pair) => Meaning::Paired(pair.id.user.parse().ok()),
        Event::PairError(_) => state(Pairing, "pairing failed: restart the session"),
        Event::Connected(_) => Meaning::State(Connected, None),
        Event::Disconnected(_) => state(Reconnecting, "the connection to WhatsApp was lost"),
        Event::StreamReplaced(_) => {
            state(Replaced, "another process uses the keys of this session")
        }
        Event::LoggedOut(out) if out.reason == ConnectFailureReason::AccountLocked => {
            state(LoggedOut, "WhatsApp has locked the account")
        }
        Event::LoggedOut(_) => state(
            LoggedOut,
            "the phone's owner or WhatsApp has unlinked this device",
        ),
        Event::TemporaryBan(ban) => state(
            Banned,
            &format!(
                "WhatsApp has banned the account for {} s: {}",
                ban.expire.num_seconds(),
                ban.code
            ),
        ),
        Event::ClientOutdated(_) => state(
            Outdated,
            "WhatsApp does not accept this version of WhatsApp Web any more",
        ),
        Event::ConnectFailure(failure) if failure.reason.should_reconnect() => {
            state(Reconnecting, "WhatsApp is not available")
        }
        Event::ConnectFailure(failure) => state(
            LoggedOut,
            &format!("WhatsApp refused the session: {:?}", failure.reason),
        ),
        Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => {
            Meaning::Receipt(Receipt {
                message_ids: vec![ack.id.clone()],
                status: if ack.error.is_some() {
                    "failed"
                } else {
                    "server"
                },
                from: None,
                chat: ack.from.clone(),
                at_millis: ack.timestamp.map_or(0, |at| at.timestamp_millis()),
            })
        }
        Event::Receipt(receipt) if !receipt.source.is_from_me => {
            let status = match receipt.r#type {
                ReceiptType::Delivered => "delivered",
                ReceiptType::Read => "read",
                ReceiptType::Played => "played",
                _ => return Meaning::Nothing,
            };
            Meaning::Receipt(Receipt {
                message_ids: receipt
                    .message_ids
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                status,
                from: Some(receipt.source.sender.clone()),
                chat: Some(receipt.source.chat.clone()),
                at_millis: receipt.timestamp.timestamp_millis(),
            })
        }
        Event::Messages(batch) if !batch.hook_committed => Meaning::Unhooked(batch.clone()),
        _ => Meaning::Nothing,
    }
}
