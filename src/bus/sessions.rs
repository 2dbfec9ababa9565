//! WhatsApp sessions in two buckets: what their clients want, and how they fare.

use async_nats::jetstream::kv::{Operation, Watch};
use futures_util::StreamExt;

use super::{
    Error, Registry,
    registry::{CONTENTION_MAX, read, write},
};
use crate::model::{ClientId, Session, SessionId, SessionStatus};

const WANTED: &str = "wa_sessions";
const STATUS: &str = "wa_session_status";

fn text(client: ClientId, id: SessionId) -> String {
    format!("{client}.{id}")
}

/// All sessions, and then each change of one.
pub struct SessionChanges {
    entries: Watch,
}

impl SessionChanges {
    /// The next session as it is wanted now, or the id of one that is gone.
    ///
    /// # Errors
    /// When the bus does not answer any more: watch again.
    pub async fn next(&mut self) -> Result<Result<Session, SessionId>, Error> {
        loop {
            let Some(entry) = self.entries.next().await else {
                return Err(Error::Closed("the watch on sessions"));
            };
            let entry = entry?;
            match entry.operation {
                Operation::Put => match read(WANTED, &entry.value) {
                    Ok(session) => return Ok(Ok(session)),
                    Err(error) => tracing::error!(%error, "skipping a session"),
                },
                Operation::Delete | Operation::Purge => {
                    if let Some(id) = entry
                        .key
                        .split_once('.')
                        .and_then(|(_, id)| id.parse().ok())
                    {
                        return Ok(Err(id));
                    }
                }
            }
        }
    }
}

impl Registry {
    /// Asks for a new session.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn create_session(&self, session: &Session) -> Result<(), Error> {
        let bucket = self.bucket(WANTED).await?;
        let key = text(session.client_id, session.id);
        bucket.create(key, write(WANTED, session)?).await?;
        Ok(())
    }

    /// A session, if it is this client's.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn session(&self, client: ClientId, id: SessionId) -> Result<Option<Session>, Error> {
        let bytes = self.bucket(WANTED).await?.get(text(client, id)).await?;
        bytes.map(|bytes| read(WANTED, &bytes)).transpose()
    }

    /// All sessions of a client, oldest first.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn sessions(&self, client: ClientId) -> Result<Vec<Session>, Error> {
        let all = self.all(WANTED, &format!("{client}.")).await?;
        let mut all: Vec<Session> = all.into_iter().map(|(_, session)| session).collect();
        all.sort_by_key(|session| session.id);
        Ok(all)
    }

    /// Changes what is wanted; `None` when this client has none of this id.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn change_session(
        &self,
        client: ClientId,
        id: SessionId,
        mut change: impl FnMut(&mut Session),
    ) -> Result<Option<Session>, Error> {
        let bucket = self.bucket(WANTED).await?;
        for _ in 0..CONTENTION_MAX {
            let entry = bucket.entry(text(client, id)).await?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
                return Ok(None);
            };
            let mut session: Session = read(WANTED, &entry.value)?;
            change(&mut session);
            let bytes = write(WANTED, &session)?;
            if self
                .replace(&bucket, &text(client, id), bytes, entry.revision)
                .await?
                .is_some()
            {
                return Ok(Some(session));
            }
        }
        Err(Error::Contended)
    }

    /// Lets a session disappear, once its keys are erased.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn remove_session(&self, client: ClientId, id: SessionId) -> Result<(), Error> {
        for bucket in [STATUS, WANTED] {
            self.bucket(bucket).await?.purge(text(client, id)).await?;
        }
        Ok(())
    }

    /// All sessions as they are wanted, and each change from now on.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn watch_sessions(&self) -> Result<SessionChanges, Error> {
        let entries = self.bucket(WANTED).await?.watch_with_history(">").await?;
        Ok(SessionChanges { entries })
    }

    /// How a session fares; `None` before any node took it.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn session_status(
        &self,
        client: ClientId,
        id: SessionId,
    ) -> Result<Option<SessionStatus>, Error> {
        let bytes = self.bucket(STATUS).await?.get(text(client, id)).await?;
        bytes.map(|bytes| read(STATUS, &bytes)).transpose()
    }

    /// Says how a session fares.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn put_session_status(
        &self,
        client: ClientId,
        id: SessionId,
        status: &SessionStatus,
    ) -> Result<(), Error> {
        self.bucket(STATUS)
            .await?
            .put(text(client, id), write(STATUS, status)?)
            .await?;
        Ok(())
    }
}
