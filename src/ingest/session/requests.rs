//! What a session does when its client asks for something.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

use super::live::Live;
use crate::{
    bus::SendReply,
    ingest::{
        backfill::Plan,
        send::{act, is_lookup, send, time_for},
    },
    model::{Backfill, SendOutcome, SessionAct, SessionRequest},
    tasks::TaskKind,
};

impl Live<'_> {
    /// When a request may go, or how long until there is room for it.
    fn take_turn(&mut self, wanted: &SessionRequest) -> Result<Instant, Duration> {
        let limiter = match wanted {
            SessionRequest::Act { act } if !is_lookup(act) => &mut self.act_limiter,
            _ => &mut self.send_limiter,
        };
        limiter.take(Instant::now())
    }

    /// Does what is asked in a task of its own, or says when there is room for it.
    pub(super) async fn send(&mut self, (wanted, reply): (SessionRequest, SendReply)) {
        let at = match self.take_turn(&wanted) {
            Ok(at) => at,
            Err(wait) => {
                let retry_after_seconds = wait.as_secs() + 1;
                let outcome = SendOutcome::TooFast {
                    retry_after_seconds,
                };
                return reply.answer(&outcome).await;
            }
        };
        if let SessionRequest::Act {
            act: SessionAct::Backfill(wanted),
        } = wanted
        {
            return self.backfill(wanted, reply).await;
        }
        let client = self.handle.client();
        let context = Arc::clone(self.scope.context);
        let known = Arc::clone(&self.known);
        let polls = Arc::clone(&self.publisher.polls);
        let seen = Arc::clone(&self.publisher.seen);
        let owner = self.scope.setup.session.client_id;
        let unanswered = self.liveness.unanswered.clone();
        let task = async move {
            sleep_until(at).await;
            let sending = async {
                match &wanted {
                    SessionRequest::Act { act: wanted } => {
                        act(owner, &client, &context, &known, wanted).await
                    }
                    SessionRequest::Send(outgoing) => {
                        let id = outgoing.message_id.as_str();
                        unanswered.sent(id, Instant::now());
                        seen.note_sent(id, &outgoing.to, context.bus.now());
                        let outcome =
                            send(owner, &client, &context, &known, &polls, outgoing).await;
                        if outcome != SendOutcome::Sent {
                            unanswered.answered(id);
                        }
                        outcome
                    }
                }
            };
            let sent = timeout(time_for(&wanted), sending).await;
            // Without an answer the caller learns that the outcome is not known.
            if let Ok(outcome) = sent {
                reply.answer(&outcome).await;
            }
        };
        let task = task.in_current_span();
        let tasks = self.scope.setup.tasks;
        tasks.once_in(&mut self.sending, TaskKind::OutboundMessage, task);
    }

    /// Asks the phone for messages of the past, in a task of its own. The caller learns what is
    /// asked for, and does not wait for it.
    async fn backfill(&mut self, wanted: Backfill, reply: SendReply) {
        let client = self.handle.client();
        if !client.is_logged_in() {
            return reply.answer(&SendOutcome::NotConnected).await;
        }
        let (plan, outcome) = self.history.plan(&self.publisher, &wanted);
        reply.answer(&outcome).await;
        if let Some(plan) = plan {
            self.carry_out(plan);
        }
    }

    fn carry_out(&mut self, plan: Plan) {
        let client = self.handle.client();
        let publisher = self.publisher.clone();
        let task = async move { plan.carry_out(&client, &publisher).await };
        let task = task.in_current_span();
        let tasks = self.scope.setup.tasks;
        tasks.once_in(&mut self.sending, TaskKind::OutboundMessage, task);
    }

    /// Asks for what may have been missed while the session was away.
    pub(super) fn look_for_gap(&mut self) {
        if !self.handle.client().is_logged_in() {
            return;
        }
        let now = self.scope.status.now();
        let anchors = || self.publisher.seen.anchors();
        let Some(wanted) = self.gap.due(anchors, Instant::now(), now) else {
            return;
        };
        // While another request runs, it is asked for later.
        if let (Some(plan), _) = self.history.plan(&self.publisher, &wanted) {
            wanted
                .chats
                .into_iter()
                .for_each(|chat| self.gap.looked_at(chat));
            self.carry_out(plan);
        }
    }
}
