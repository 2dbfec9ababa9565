//! What a session tells of itself.

use std::time::{Duration, SystemTime};

use serde_json::{Map, json};
use tokio::time::timeout;

use crate::{
    bus::Bus,
    model::{NoticeKind, Pairing, Phone, Session, SessionState, SessionStatus, Timestamp},
    telemetry,
};

/// A session must not stand still for it.
const TELL_PATIENCE: Duration = Duration::from_secs(2);

/// The status of one session, written when it changed.
pub(super) struct Board {
    bus: Bus,
    session: Session,
    status: SessionStatus,
    counted: Option<SessionState>,
    /// What the client's operational webhook was last told.
    told: Option<SessionState>,
    dirty: bool,
    /// Refused logins since the last one that WhatsApp accepted.
    refusals: u32,
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Board {
    /// Goes on from what an earlier node wrote.
    pub(super) fn new(bus: Bus, session: Session, earlier: Option<SessionStatus>) -> Self {
        let told = earlier.as_ref().map(|status| status.state);
        let status = earlier.unwrap_or_else(|| SessionStatus::new(session.generation, now()));
        let mut board = Self {
            bus,
            session,
            status,
            counted: None,
            told,
            dirty: true,
            refusals: 0,
        };
        board.count(Some(board.status.state));
        board
    }

    pub(super) fn state(&self) -> SessionState {
        self.status.state
    }

    pub(super) fn phone(&self) -> Option<&Phone> {
        self.status.phone.as_ref()
    }

    /// Whether what it says is about the session as it is wanted now.
    pub(super) fn is_of(&self, generation: u32) -> bool {
        self.status.generation == generation
    }

    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

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
            tracing::info!(session.id = %self.session.id, client.id = %self.session.client_id, %state, "session");
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
        let at = now().after(wait);
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

    pub(super) fn set_last_message(&mut self, at: Timestamp) {
        if self.status.last_message_at != Some(at) && at != Timestamp::EPOCH {
            self.status.last_message_at = Some(at);
            self.touch();
        }
    }

    fn touch(&mut self) {
        self.status.updated_at = now();
        self.dirty = true;
    }

    fn count(&mut self, state: Option<SessionState>) {
        telemetry::session_state(self.counted, state);
        self.counted = state;
    }

    /// Writes what changed; what cannot be written now stays for the next time.
    pub(super) async fn write(&mut self) {
        if self.told != Some(self.status.state) {
            self.tell().await;
        }
        if !self.dirty {
            return;
        }
        let Session { client_id, id, .. } = self.session;
        match self
            .bus
            .registry()
            .put_session_status(client_id, id, &self.status)
            .await
        {
            Ok(()) => self.dirty = false,
            Err(error) => {
                tracing::warn!(%error, session.id = %id, "the session's status is written later")
            }
        }
    }
}

impl Board {
    /// Before it is written, so that a node that dies in between tells it twice rather than not at
    /// all.
    async fn tell(&mut self) {
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
        let once = format!("{id} {at} {state}");
        let telling = self
            .bus
            .notify(client_id, NoticeKind::SessionState, *at, data, &once);
        match timeout(TELL_PATIENCE, telling).await {
            Ok(Ok(_)) => self.told = Some(*state),
            Ok(Err(error)) => {
                tracing::warn!(%error, session.id = %id, "the session's state is told later")
            }
            Err(_) => tracing::warn!(session.id = %id, "the session's state is told later"),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.count(None);
    }
}
