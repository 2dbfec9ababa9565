//! WhatsApp sessions in two buckets: what their clients want, and their status.

use super::{
    Error,
    bucket::{Bucket, Buckets, Json},
    bucket_watch::{Update, Watch},
    shared_keys::LoadedKeys,
};
use crate::model::{ClientId, Pairing, Session, SessionId, SessionStatus};

const WANTED: &str = "wa_sessions";
const STATUS: &str = "wa_session_status";

fn key(client: ClientId, id: SessionId) -> String {
    format!("{client}.{id}")
}

/// What a sealed code is bound to.
fn place(client: ClientId, id: SessionId) -> String {
    format!("session {client} {id} code")
}

/// All sessions, and then each change of one.
pub struct SessionChanges {
    watch: Watch<Session, Json>,
}

impl SessionChanges {
    /// The next session as it is wanted now, or the id of one that is gone. After an error, watch
    /// again.
    pub async fn next(&mut self) -> Result<Result<Session, SessionId>, Error> {
        loop {
            match self.watch.next().await? {
                Update::Put(_, Ok(session)) => return Ok(Ok(session)),
                Update::Put(_, Err(error)) => tracing::error!(%error, "skipping a session"),
                Update::Deleted(change) => {
                    let id = change.key.split_once('.').map(|(_, id)| id.parse());
                    if let Some(Ok(id)) = id {
                        return Ok(Err(id));
                    }
                }
                Update::CaughtUp => {}
            }
        }
    }
}

/// WhatsApp sessions.
#[derive(Clone)]
pub struct Sessions {
    wanted: Bucket<Session>,
    status: Bucket<SessionStatus>,
    keys: LoadedKeys,
}

impl Sessions {
    pub(super) fn new(buckets: &Buckets, keys: LoadedKeys) -> Self {
        Self {
            wanted: buckets.json(WANTED),
            status: buckets.json(STATUS),
            keys,
        }
    }

    /// Asks for a new session.
    pub async fn create(&self, session: &Session) -> Result<(), Error> {
        let key = key(session.client_id, session.id);
        let created = self.wanted.create(&key, session).await?;
        created.map(drop).ok_or(Error::Exists)
    }

    /// A session, if it is this client's.
    pub async fn get(&self, client: ClientId, id: SessionId) -> Result<Option<Session>, Error> {
        self.wanted.get(&key(client, id)).await
    }

    /// All sessions of a client, oldest first.
    pub async fn list(&self, client: ClientId) -> Result<Vec<Session>, Error> {
        let all = self.wanted.list(&format!("{client}.*")).await?;
        let mut all: Vec<Session> = all.into_iter().map(|(_, entry)| entry.value).collect();
        all.sort_by_key(|session| session.id);
        Ok(all)
    }

    /// Up to `limit` sessions of a client that are younger than this one, oldest first.
    pub async fn page(
        &self,
        client: ClientId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, Error> {
        let after = after.map(|id| key(client, id));
        let page = self
            .wanted
            .page(&format!("{client}.*"), after.as_deref(), limit)
            .await?;
        Ok(page.into_iter().map(|(_, entry)| entry.value).collect())
    }

    /// Changes what is wanted; `None` when this client has none of this id.
    pub async fn change(
        &self,
        client: ClientId,
        id: SessionId,
        mut change: impl FnMut(&mut Session),
    ) -> Result<Option<Session>, Error> {
        let changed = self
            .wanted
            .change(&key(client, id), |session| {
                change(session);
                Ok::<_, Error>(())
            })
            .await?;
        Ok(changed.map(|(session, ())| session))
    }

    /// Removes a session, once its keys are erased.
    pub async fn remove(&self, client: ClientId, id: SessionId) -> Result<(), Error> {
        let key = key(client, id);
        self.status.purge(&key).await?;
        self.wanted.purge(&key).await
    }

    /// All sessions as they are wanted, and each change from now on.
    pub async fn watch(&self) -> Result<SessionChanges, Error> {
        let watch = self.wanted.watch(">").await?;
        Ok(SessionChanges { watch })
    }

    /// The status of a session; `None` before any node took it. The code that links it is opened
    /// with the loaded keys, and left out without them.
    pub async fn status(
        &self,
        client: ClientId,
        id: SessionId,
    ) -> Result<Option<SessionStatus>, Error> {
        let stored = self.status.get(&key(client, id)).await?;
        Ok(stored.map(|mut status| {
            status.pairing = status
                .pairing
                .and_then(|pairing| self.open(client, id, pairing));
            status
        }))
    }

    fn open(&self, client: ClientId, id: SessionId, pairing: Pairing) -> Option<Pairing> {
        match self
            .keys
            .get()
            .ok()?
            .open(&place(client, id), &pairing.code)
        {
            Ok(code) => Some(Pairing { code, ..pairing }),
            Err(error) => {
                tracing::warn!(%error, "the code that links a session does not open");
                None
            }
        }
    }

    /// Writes the status of a session, and seals the code that links it.
    ///
    /// # Errors
    /// When no keys are loaded and there is such a code.
    pub async fn put_status(
        &self,
        client: ClientId,
        id: SessionId,
        status: &SessionStatus,
    ) -> Result<(), Error> {
        let mut stored = status.clone();
        if let Some(pairing) = &mut stored.pairing {
            pairing.code = self.keys.get()?.seal(&place(client, id), &pairing.code);
        }
        self.status.put(&key(client, id), &stored).await.map(drop)
    }
}
