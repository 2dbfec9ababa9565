//! What each of the client's events means for the session. Pure but for the forwarder.

use std::sync::Arc;

use tokio::sync::mpsc;
use whatsapp_rust::{
    types::events::{
        DecryptFailMode, Event, EventHandler, EventInterest, EventKind, LazyHistorySync,
        MessageBatch, UndecryptableMessage,
    },
    types::presence::ReceiptType,
    wacore::types::events::ConnectFailureReason,
};

use crate::{
    ingest::{hook::Publisher, receipt::Receipt, unread::Unread},
    model::{PairingMethod, Phone, SessionState},
    telemetry,
};

/// Events of one session that wait to be handled; a connect makes a few.
pub(super) const EVENTS_MAX: usize = 256;
/// Characters of a stream error's code that the status shows; real ones have three.
const STREAM_CODE_CHARS_MAX: usize = 16;

/// Hands the client's events on, in their order.
pub(super) struct EventForwarder {
    events: mpsc::Sender<Arc<Event>>,
    unread: Arc<Unread>,
}

impl EventForwarder {
    pub(super) fn new(events: mpsc::Sender<Arc<Event>>, publisher: &Publisher) -> Self {
        let unread = Arc::clone(&publisher.unread);
        Self { events, unread }
    }
}

impl EventHandler for EventForwarder {
    fn handle_event(&self, event: Arc<Event>) {
        if let Event::UndecryptableMessage(unreadable) = &*event {
            self.unread.report(&unreadable.info);
        }
        if self.events.try_send(event).is_err() {
            telemetry::error("ingest", "event_dropped");
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::PairPasskeyRequest,
            EventKind::LoggedOut,
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingCodeError,
            EventKind::PairingQrCodesExhausted,
            EventKind::ClientOutdated,
            EventKind::StreamReplaced,
            EventKind::StreamError,
            EventKind::TemporaryBan,
            EventKind::ConnectFailure,
            EventKind::Messages,
            EventKind::UndecryptableMessage,
            EventKind::Receipt,
            EventKind::ServerAck,
            EventKind::OfflineSyncPreview,
            EventKind::OfflineSyncCompleted,
            EventKind::HistorySync,
        ])
    }
}

/// What an event means for the session.
pub(super) enum SessionEvent {
    /// Show this to the phone's owner.
    Pairing {
        method: PairingMethod,
        code: String,
        valid_for: std::time::Duration,
    },
    /// Linked to this number.
    Paired(Option<Phone>),
    /// In this state now, for this reason, which also says what the owner can do. Only the
    /// client's own log-out event may mean `LoggedOut`: that state erases the session's keys.
    State(SessionState, Option<String>),
    /// Worth telling the owner, but the session goes on as it is.
    Remark(String),
    /// What became of messages that the account sent.
    Receipt(Receipt),
    /// Messages that bypassed the hook: published now, at most once.
    BypassedHook(MessageBatch),
    /// A message without its content: published now, at most once.
    Unreadable(UndecryptableMessage),
    /// Messages of the past.
    History(Box<LazyHistorySync>),
    Nothing,
}

pub(super) fn meaning(event: &Event) -> SessionEvent {
    pairing(event)
        .or_else(|| connection(event))
        .or_else(|| receipt(event))
        .unwrap_or_else(|| match event {
            Event::Messages(batch) if !batch.hook_committed => {
                SessionEvent::BypassedHook(batch.clone())
            }
            // Others are for clients alone: nobody misses them.
            Event::UndecryptableMessage(message)
                if message.decrypt_fail_mode == DecryptFailMode::Show =>
            {
                SessionEvent::Unreadable(message.clone())
            }
            Event::HistorySync(page) => SessionEvent::History(page.clone()),
            _ => SessionEvent::Nothing,
        })
}

/// Events of a session that is being linked.
fn pairing(event: &Event) -> Option<SessionEvent> {
    use SessionState::Pairing;
    Some(match event {
        Event::PairingQrCode(qr) => SessionEvent::Pairing {
            method: PairingMethod::Qr,
            code: qr.code.clone(),
            valid_for: qr.timeout,
        },
        Event::PairingCode(code) => SessionEvent::Pairing {
            method: PairingMethod::Code,
            code: code.code.clone(),
            valid_for: code.timeout,
        },
        Event::PairingCodeError(_) => state(
            Pairing,
            "WhatsApp gave no pairing code",
            "wait some minutes, then ask for one again",
        ),
        Event::PairingQrCodesExhausted(_) => {
            state(Pairing, "no code was used in time", "restart the session")
        }
        Event::PairPasskeyRequest(_) => state(
            Pairing,
            "WhatsApp asks for a passkey, which wahook does not have",
            "restart the session and link it by the other method",
        ),
        Event::PairSuccess(pair) => SessionEvent::Paired(pair.id.user.parse().ok()),
        Event::PairError(_) => state(Pairing, "pairing failed", "restart the session"),
        _ => return None,
    })
}

/// Events of the connection: made, lost, or refused.
fn connection(event: &Event) -> Option<SessionEvent> {
    use SessionState::{Banned, Connected, Outdated, Reconnecting, Replaced};
    Some(match event {
        Event::Connected(_) => SessionEvent::State(Connected, None),
        Event::Disconnected(_) => state(
            Reconnecting,
            "the connection to WhatsApp was lost",
            "nothing to do, it comes back by itself",
        ),
        Event::StreamError(error) => SessionEvent::Remark(explained(
            &format!(
                "WhatsApp reported the stream error {:?}",
                shown(&error.code)
            ),
            "nothing to do, a lost connection comes back by itself",
        )),
        Event::StreamReplaced(_) => state(
            Replaced,
            "another process uses the keys of this session",
            "find out which, then restart the session",
        ),
        Event::LoggedOut(out) => logged_out(&out.reason),
        Event::TemporaryBan(ban) => state(
            Banned,
            &format!(
                "WhatsApp has banned the account for {} s ({})",
                ban.expire.num_seconds(),
                ban.code
            ),
            "wait that long, then restart the session",
        ),
        Event::ClientOutdated(_) => state(
            Outdated,
            "WhatsApp does not accept this version of WhatsApp Web any more",
            "unset whatsapp.version if it is set, then restart the session",
        ),
        Event::ConnectFailure(failure) => refused(&failure.reason),
        _ => return None,
    })
}

/// The new status of messages that the account sent.
fn receipt(event: &Event) -> Option<SessionEvent> {
    let receipt = match event {
        Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => Receipt {
            message_ids: vec![ack.id.clone()],
            status: if ack.error.is_some() {
                "failed"
            } else {
                "server"
            },
            from: None,
            chat: ack.from.clone(),
            at_millis: ack.timestamp.map_or(0, |at| at.timestamp_millis()),
            error: ack.error.clone(),
        },
        Event::Receipt(receipt) if !receipt.source.is_from_me => Receipt {
            message_ids: receipt
                .message_ids
                .iter()
                .map(ToString::to_string)
                .collect(),
            status: receipt_status(&receipt.r#type)?,
            from: Some(receipt.source.sender.clone()),
            chat: Some(receipt.source.chat.clone()),
            at_millis: receipt.timestamp.timestamp_millis(),
            error: None,
        },
        _ => return None,
    };
    Some(SessionEvent::Receipt(receipt))
}

fn receipt_status(kind: &ReceiptType) -> Option<&'static str> {
    match kind {
        ReceiptType::Delivered => Some("delivered"),
        ReceiptType::Read => Some("read"),
        ReceiptType::Played => Some("played"),
        _ => None,
    }
}

/// The client's own log-out event, the only one that leads to `LoggedOut`.
fn logged_out(reason: &ConnectFailureReason) -> SessionEvent {
    use SessionState::LoggedOut;
    match reason {
        ConnectFailureReason::AccountLocked => state(
            LoggedOut,
            "WhatsApp has locked the account",
            "unlock it on the phone, then restart the session and link it again",
        ),
        _ => state(
            LoggedOut,
            "the phone's owner or WhatsApp has unlinked this device",
            "restart the session and link it again",
        ),
    }
}

/// A login that WhatsApp refused. None of these is a log-out, so none may cost the keys: the client
/// reports log-outs as `LoggedOut`.
fn refused(reason: &ConnectFailureReason) -> SessionEvent {
    use ConnectFailureReason as Reason;
    use SessionState::{Banned, Reconnecting, Refused};
    let code = reason.code();
    let by_itself = "nothing to do, wahook tries again by itself";
    let (what, remedy) = match reason {
        reason if reason.should_reconnect() => {
            return state(
                Reconnecting,
                &format!("WhatsApp is not available ({code})"),
                "nothing to do, it comes back by itself",
            );
        }
        Reason::TempBanned => {
            return state(
                Banned,
                "WhatsApp has banned the account and does not say for how long",
                "wait some hours, then restart the session",
            );
        }
        Reason::BadUserAgent => (
            "it does not accept this kind of client",
            "unset whatsapp.version if it is set, or update wahook",
        ),
        Reason::CatExpired | Reason::CatInvalid | Reason::NotFound | Reason::ClientUnknown => (
            "it does not accept the device's credentials",
            "if this lasts for a day, delete the session and link a new one",
        ),
        Reason::Unknown(429) => ("too many logins", by_itself),
        Reason::Unknown(0) => ("it gave no reason", by_itself),
        _ => ("the reason is not documented", by_itself),
    };
    state(
        Refused,
        &format!("WhatsApp refused the login ({code}), {what}; the keys are kept"),
        remedy,
    )
}

fn state(state: SessionState, what: &str, remedy: &str) -> SessionEvent {
    SessionEvent::State(state, Some(explained(what, remedy)))
}

/// What happened, and what the owner can do about it.
fn explained(what: &str, remedy: &str) -> String {
    format!("{what}: {remedy}")
}

/// A code of WhatsApp's, short enough to show.
fn shown(code: &str) -> String {
    let plain = code.chars().filter(char::is_ascii_alphanumeric);
    plain.take(STREAM_CODE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
