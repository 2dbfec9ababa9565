//! Sealing everything with the newest key, the logs of sessions' keys included.

use futures_util::TryStreamExt;

use super::{Bus, Error, Resealed, Stream, key_log::KeyLog};
use crate::{
    model::SessionId,
    wire::{Keyring, subject},
};

/// How often others may be faster before a log is left for the next run.
const TRIES_MAX: usize = 8;

/// How a session's log was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    SealedWithNewest,
    SealedAgain,
    Contended,
}

impl Bus {
    /// Seals every stored secret and every session's keys with the newest of these keys. What is
    /// done stays done, so it can be called again after it was cut off.
    ///
    /// A node that runs a session whose keys are sealed again here connects it once more.
    pub async fn reseal(&self, keys: &Keyring) -> Result<Resealed, Error> {
        self.loaded_keys().set(keys.clone());
        let mut done = Resealed::default();
        for session in self.sessions_with_keys().await? {
            done.sessions += 1;
            let what = || format!("the keys of session {session}");
            match self.reseal_session(session).await {
                Ok(Found::SealedWithNewest) => {}
                Ok(Found::SealedAgain) => done.sessions_again += 1,
                Ok(Found::Contended) => {
                    let why = "its node wrote to them all the time".to_owned();
                    done.closed.push((what(), why));
                }
                Err(Error::SessionKeys { source, .. }) => {
                    done.closed.push((what(), source.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        self.key_rotation().reseal_after(keys, done).await
    }

    async fn sessions_with_keys(&self) -> Result<Vec<SessionId>, Error> {
        let stream = self.stream(Stream::SessionKeys).await?;
        let found = stream.info_builder().subjects(subject::ALL_SESSION_KEYS);
        let found: Vec<(String, usize)> = found.fetch().await?.try_collect().await?;
        let sessions = found.iter().filter_map(|(log, _)| subject::session_of(log));
        Ok(sessions.collect())
    }

    /// Takes the log over for its own owner, whose next write is refused then: it reads the log
    /// again, as after a takeover by another node.
    async fn reseal_session(&self, session: SessionId) -> Result<Found, Error> {
        let log = subject::session_keys(session);
        for _ in 0..TRIES_MAX {
            let records = self.key_records(&log).await?;
            let replayed = self.replay_keys(session, &records).await?;
            if !replayed.has_old_seal {
                return Ok(Found::SealedWithNewest);
            }
            let mut owned = KeyLog::new(self, session, replayed.epoch, &replayed);
            match owned.begin().await {
                Ok(()) => {
                    owned.snapshot(&replayed.tables).await?;
                    return Ok(Found::SealedAgain);
                }
                Err(Error::TakenOver) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Found::Contended)
    }
}
