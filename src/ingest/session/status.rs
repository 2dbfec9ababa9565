//! What a session reports about itself: its status in the bucket, and notices of its states.

use std::time::Duration;

use serde_json::{Map, json};
use tokio::time::timeout;

use crate::{
    bus::Bus,
    model::{NoticeKind, Pairing, Phone, Session, SessionState, SessionStatus, Timestamp},
    telemetry,
};

/// How long a session waits until a notice is stored.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes the status of one session after it has changed.
pub(super) struct StatusWriter {
    bus: Bus,
    session: Session,
    status: SessionStatus,
    /// The state that the metric counts this session under.
    counted: Option<SessionState>,
    /// The state of the last notice.
    notified: Option<SessionState>,
    is_changed: bool,
    /// Refused logins since the last one that WhatsApp accepted.
    refusals: u32,
}

impl StatusWriter {
    /// Continues from what an earlier node wrote.
    pub(super) fn new(bus: Bus, session: Session, earlier: Option<SessionStatus>) -> Self {
        let notified = earlier.as_ref().map(|status| status.state);
        let status = earlier.unwrap_or_else(|| SessionStatus::new(session.generation, bus.now()));
        let mut writer = Self {
            bus,
            session,
            status,
            counted: None,
            notified,
            is_changed: true,
            refusals: 0,
        };
        writer.count(Some(writer.status.state));
        writer
    }

    /// The time, by the server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.bus.now()
    }

    pub(super) fn state(&self) -> SessionState {
        self.status.state
    }

    pub(super) fn phone(&self) -> Option<&Phone> {
        self.status.phone.as_ref()
    }

    /// Whether the status is about this generation of the session.
    pub(super) fn is_of(&self, generation: u32) -> bool {
        self.status.generation == generation
    }

    /// How many logins were refused since the last one that WhatsApp accepted.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// A client starts.
    pub(super) fn begin(&mut self, generation: u32) {
        if self.is_of(generation) && self.state() == SessionState::Refused {
            // The next try changes nothing before WhatsApp has answered it.
            return;
        }
        self.status.generation = generation;
        self.status.pairing = None;
        let state = if self.status.phone.is_some() {
            SessionState::Reconnecting
        } else {
            SessionState::Pairing
        };
        self.set(state, None);
    }

    pub(super) fn set(&mut self, state: SessionState, reason: Option<String>) {
        if self.status.state != state {
            tracing::info!(session.state = %state, "the state of a session changed");
        }
        match state {
            SessionState::Refused => self.refusals = self.refusals.saturating_add(1),
            SessionState::Connected => self.refusals = 0,
            _ => {}
        }
        self.count(Some(state));
        self.status.state = state;
        self.status.reason = reason;
        if state != SessionState::Pairing {
            self.status.pairing = None;
        }
        self.touch();
    }

    pub(super) fn announce_next_try(&mut self, wait: Duration) {
        let reason = self.status.reason.take().unwrap_or_default();
        let at = self.bus.now().after(wait);
        self.status.reason = Some(format!("{reason}; the next try is at {at}"));
        self.touch();
    }

    pub(super) fn set_phone(&mut self, phone: Option<Phone>) {
        if self.status.phone != phone {
            self.status.phone = phone;
            self.touch();
        }
    }

    pub(super) fn set_pairing(&mut self, pairing: Pairing) {
        self.status.pairing = Some(pairing);
        self.touch();
    }

    /// The number of the last record that the log of the session's keys is known to have.
    pub(super) fn keys_number(&self) -> Option<u64> {
        self.status.keys_number
    }

    /// Notes it. For its owner nothing has changed.
    pub(super) fn set_keys_number(&mut self, number: Option<u64>) {
        self.is_changed |= self.status.keys_number != number;
        self.status.keys_number = number;
    }

    /// What a session without a memory may have published came before this. One that is linked
    /// again had messages until it was unlinked.
    pub(super) fn unknown_before(&self) -> Timestamp {
        match (self.phone(), self.status.last_message_at) {
            (Some(_), _) => self.now(),
            (None, Some(last)) => last.after(Duration::from_millis(1)),
            (None, None) => Timestamp::EPOCH,
        }
    }

    pub(super) fn set_last_message(&mut self, at: Timestamp) {
        if self.status.last_message_at != Some(at) && at != Timestamp::EPOCH {
            self.status.last_message_at = Some(at);
            self.touch();
        }
    }

    fn touch(&mut self) {
        self.status.updated_at = self.bus.now();
        self.is_changed = true;
    }

    fn count(&mut self, state: Option<SessionState>) {
        telemetry::session_state(self.counted, state);
        self.counted = state;
    }

    /// Writes what has changed. What cannot be written now is written at the next call.
    pub(super) async fn write(&mut self) {
        if self.notified != Some(self.status.state) {
            self.notify().await;
        }
        if !self.is_changed {
            return;
        }
        let Session { client_id, id, .. } = self.session;
        match self
            .bus
            .sessions()
            .put_status(client_id, id, &self.status)
            .await
        {
            Ok(()) => self.is_changed = false,
            Err(error) => {
                tracing::warn!(%error, "the session's status is written later")
            }
        }
    }

    /// Goes before the status, so that a node that dies in between notifies twice rather than not
    /// at all.
    async fn notify(&mut self) {
        let Session { client_id, id, .. } = self.session;
        let SessionStatus {
            state,
            reason,
            phone,
            updated_at: at,
            ..
        } = &self.status;
        let data = [
            ("session_id", json!(id)),
            ("phone_number", json!(phone)),
            ("state", json!(state)),
            ("reason", json!(reason)),
        ];
        let data: Map<_, _> = data
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let dedupe_key = format!("{id} {at} {state}");
        let notice = self
            .bus
            .notify(client_id, NoticeKind::SessionState, *at, data, &dedupe_key);
        match timeout(NOTICE_TIMEOUT, notice).await {
            Ok(Ok(_)) => self.notified = Some(*state),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the notice of the session's state is sent later")
            }
            Err(_) => tracing::warn!("the notice of the session's state is sent later"),
        }
    }
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        self.count(None);
    }
}
