//! API tokens and the keys that all nodes share.

use async_nats::jetstream::kv;

use super::{
    Error, Registry,
    registry::{read, write},
    settings::{CURSOR_KEY, MEDIA_KEY, SETTINGS, open_shared, seal_shared},
};
use crate::model::{Token, TokenHash};

const TOKENS: &str = "wa_tokens";

impl Registry {
    /// Lets a token in from now on.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn put_token(&self, hash: &TokenHash, token: &Token) -> Result<(), Error> {
        self.bucket(TOKENS)
            .await?
            .put(hash.as_str(), write(TOKENS, token)?)
            .await?;
        Ok(())
    }

    /// The token with this hash, asked of the server each time, so that a revoked one is refused at
    /// once.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn token(&self, hash: &TokenHash) -> Result<Option<Token>, Error> {
        let value = self.bucket(TOKENS).await?.get(hash.as_str()).await?;
        value.map(|bytes| read(TOKENS, &bytes)).transpose()
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        Ok(self
            .hashed_tokens()
            .await?
            .into_iter()
            .map(|(_, token)| token)
            .collect())
    }

    /// Refuses the token with this id from now on; whether there was one.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, Error> {
        let all = self.hashed_tokens().await?;
        let Some((hash, _)) = all.into_iter().find(|(_, token)| token.id == id) else {
            return Ok(false);
        };
        self.bucket(TOKENS).await?.delete(&hash).await?;
        Ok(true)
    }

    async fn hashed_tokens(&self) -> Result<Vec<(String, Token)>, Error> {
        let mut all: Vec<(String, Token)> = self.all(TOKENS, "").await?;
        all.sort_by_key(|(_, token)| token.created_at);
        Ok(all)
    }

    /// The key that page cursors are sealed with: made by whoever asks first, the same on every
    /// node.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn cursor_key(&self) -> Result<[u8; 32], Error> {
        self.shared_key(CURSOR_KEY).await
    }

    /// The key that media ids are sealed with, likewise.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn media_key(&self) -> Result<[u8; 32], Error> {
        self.shared_key(MEDIA_KEY).await
    }

    async fn shared_key(&self, name: &'static str) -> Result<[u8; 32], Error> {
        let bucket = self.bucket(SETTINGS).await?;
        loop {
            if let Some(bytes) = bucket.get(name).await? {
                return open_shared(self.keys()?, name, &bytes);
            }
            let key: [u8; 32] = rand::random();
            match bucket
                .create(name, seal_shared(self.keys()?, name, &key))
                .await
            {
                Ok(_) => return Ok(key),
                // Another node was first: read its key.
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::from(error)),
            }
        }
    }
}
