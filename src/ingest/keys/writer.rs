//! Writing to the log: one record after the other, with all that waits for it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::memory::{Shared, Write};
use crate::{bus::KeyLog, model::KeyChange};

/// How long a change waits for another with which it is stored.
const LATER: Duration = Duration::from_millis(200);
/// Writes that are stored together at most.
const TOGETHER_MAX: usize = 32;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: KeyLog,
    pub(super) waiting: mpsc::Receiver<Write>,
}

/// What makes the writer write.
enum Cue {
    Write(Write),
    Due,
    Close,
}

impl Writer {
    /// Writes until the store is closed or dropped, or an error.
    pub(super) async fn run(mut self) {
        let _ended = self.shared.ended.clone().drop_guard();
        let mut due: Option<Instant> = None;
        loop {
            // Also at once: the last records may be many, or sealed with an old key.
            let mut result = self.shorten().await;
            if result.is_ok() {
                let cue = self.next(&mut due).await;
                let is_end = matches!(cue, Cue::Close);
                result = self.write(cue).await;
                if is_end && result.is_ok() {
                    return;
                }
            }
            if let Err(error) = result {
                tracing::warn!(%error, "the session's keys could not be stored");
                let _ = self.shared.failure.set(error);
                return;
            }
        }
    }

    async fn next(&mut self, due: &mut Option<Instant>) -> Cue {
        loop {
            let at = due.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                write = self.waiting.recv() => {
                    *due = None;
                    return write.map_or(Cue::Close, Cue::Write);
                }
                () = self.shared.closing.cancelled() => return Cue::Close,
                () = sleep_until(at), if due.is_some() => {
                    *due = None;
                    return Cue::Due;
                }
                () = self.shared.has_later.notified(), if due.is_none() => {
                    *due = Some(Instant::now() + LATER);
                }
            }
        }
    }

    async fn write(&mut self, cue: Cue) -> Result<(), crate::bus::Error> {
        let mut callers = Vec::new();
        let mut changes: Vec<KeyChange> = Vec::new();
        let mut add = |write: Write| {
            changes.extend(write.changes);
            callers.push(write.stored);
        };
        if let Cue::Write(first) = cue {
            add(first);
        }
        for _ in 0..TOGETHER_MAX {
            match self.waiting.try_recv() {
                Ok(further) => add(further),
                Err(_) => break,
            }
        }
        let mut all = self.shared.memory().take_later();
        if !changes.is_empty() {
            all.extend(self.shared.memory().take_rows());
        }
        all.append(&mut changes);
        if !all.is_empty() {
            self.log.append(all.clone()).await?;
            self.shared.memory().stored(&all, self.log.number());
        }
        for caller in callers {
            // Nobody waits if the client was stopped meanwhile.
            let _ = caller.send(());
        }
        Ok(())
    }

    async fn shorten(&mut self) -> Result<(), crate::bus::Error> {
        if self.log.is_long() {
            let tables = self.shared.memory().all();
            self.log.snapshot(&tables).await?;
            self.shared.memory().number = self.log.number();
        }
        Ok(())
    }
}
