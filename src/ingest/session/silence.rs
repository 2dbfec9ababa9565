//! What a running session does about a connection that is mute.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use whatsapp_rust::types::events::Event;

use super::{exit::Exit, live::Live, liveness::Remedy};
use crate::{model::SessionState, telemetry};

/// Closing a mute connection. The client allows itself 4 s for what it has still to send.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(6);

impl Live<'_> {
    /// Takes a connection for lost that is mute, though it stands.
    pub(super) async fn look_for_silence(&mut self) -> Option<Exit> {
        let client = self.handle.client();
        let frames = client.stats().frames_received;
        let state = self.scope.status.state();
        let remedy = self.liveness.look(frames, state, Instant::now())?;
        let (Remedy::Reconnect(silence) | Remedy::Restart(silence)) = remedy;
        telemetry::session_silent(silence.as_str());
        let reason = format!("{}; a new connection is made", silence.reason());
        let status = &mut self.scope.status;
        status.set(SessionState::Silent, Some(reason));
        self.scope.lost.run_until_cancelled(status.write()).await;
        if matches!(remedy, Remedy::Restart(_)) {
            return Some(Exit::Restart);
        }
        // What it still wants to send may wait for the mute connection.
        let _ = timeout(RECONNECT_TIMEOUT, client.reconnect_immediately()).await;
        None
    }

    /// What an event tells about the connection.
    pub(super) fn note_life(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Connected(_) => self.liveness.connected(now),
            Event::OfflineSyncPreview(queue) => self.liveness.announced(queue.messages, now),
            Event::OfflineSyncCompleted(_) => {
                self.liveness.emptied();
                self.gap.caught_up(now);
            }
            Event::Disconnected(_) => self.gap.away(self.scope.status.now()),
            Event::Messages(_) | Event::UndecryptableMessage(_) => self.liveness.received(now),
            Event::ServerAck(ack) => self.liveness.unanswered.answered(&ack.id),
            _ => {}
        }
    }
}
