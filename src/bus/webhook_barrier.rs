//! When a change of a webhook counts everywhere.
//!
//! The API answers a change when every node that delivers has it in its cache, or believes its
//! cache no more. So no message that is published after the answer goes the old way. Nodes tell
//! with their heartbeats what they have.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{
    Bus, Error,
    freshness::{Revision, TRUST},
};

/// How much longer a change waits: the clocks of two nodes do not run at the very same speed.
const MARGIN: Duration = Duration::from_millis(100);
/// Between two looks at what the nodes have.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

impl Bus {
    /// Waits until no node that delivers goes by what a webhook was before its last change: each
    /// has the change, or believes its cache no more. The second takes some two seconds.
    pub async fn wait_until_webhooks_are_current(&self) {
        // Without answers there is only the time to rely on.
        let _ = timeout(TRUST + MARGIN, self.wait_for_nodes()).await;
    }

    async fn wait_for_nodes(&self) {
        let mut pause = LOOK_PAUSE;
        // Later changes are waited for by those who make them.
        let mut newest = None;
        loop {
            if newest.is_none() {
                newest = self.webhooks().newest().await.ok();
            }
            if let Some(newest) = newest
                && matches!(self.nodes_have(newest).await, Ok(true))
            {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }

    /// Whether every node that delivers has this revision.
    async fn nodes_have(&self, newest: Revision) -> Result<bool, Error> {
        let members = self.members_at(self.now()).await?;
        Ok(members
            .iter()
            .all(|member| member.webhooks.is_some_and(|has| has.covers(&newest))))
    }
}
