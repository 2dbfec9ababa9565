//! API tokens in a bucket.

use super::{
    Error,
    bucket::{Bucket, Buckets},
};
use crate::model::{Token, TokenHash};

const TOKENS: &str = "wa_tokens";

/// The tokens that the API accepts, by their hashes.
#[derive(Clone)]
pub struct ApiTokens {
    bucket: Bucket<Token>,
}

impl ApiTokens {
    pub(super) fn new(buckets: &Buckets) -> Self {
        let bucket = buckets.json(TOKENS);
        Self { bucket }
    }

    /// Accepts a token from now on.
    pub async fn put(&self, hash: &TokenHash, token: &Token) -> Result<(), Error> {
        self.bucket.put(hash.as_str(), token).await.map(drop)
    }

    /// The token with this hash. The server is asked each time, so that a revoked one is refused
    /// at once.
    pub async fn get(&self, hash: &TokenHash) -> Result<Option<Token>, Error> {
        self.bucket.get(hash.as_str()).await
    }

    /// All tokens, oldest first.
    pub async fn list(&self) -> Result<Vec<Token>, Error> {
        let all = self.bucket.list(">").await?;
        let mut tokens: Vec<Token> = all.into_iter().map(|(_, entry)| entry.value).collect();
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// Refuses the token with this id from now on; whether there was one.
    pub async fn revoke(&self, id: &str) -> Result<bool, Error> {
        let all = self.bucket.list(">").await?;
        let Some((hash, _)) = all.into_iter().find(|(_, entry)| entry.value.id == id) else {
            return Ok(false);
        };
        self.bucket.delete(&hash).await?;
        Ok(true)
    }
}
