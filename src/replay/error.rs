//! What can keep a job from going on.

use std::time::Duration;

use tokio::time::timeout;

use crate::{bus, store};

/// How long the store may take for one answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a job could not go on now. It tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The client has stored as much as it may.
    #[error("the client's quota of waiting bytes, or its share of a stream, is used up")]
    Quota,
    /// The store took too long.
    #[error("the store did not answer in time")]
    Slow,
}

impl Error {
    /// The job's `error` that its owner reads.
    pub(super) fn explanation(&self) -> &'static str {
        match self {
            Self::Bus(_) => "the message bus does not answer; the job goes on when it does",
            Self::Quota => "too much waits for delivery; the job goes on when less does",
            Self::Store(_) | Self::Slow => {
                "the store does not answer; the job goes on when it does"
            }
        }
    }
}

/// What the store answers, if it does so in time.
pub(super) async fn in_time<T>(
    asked: impl Future<Output = Result<T, store::Error>>,
) -> Result<T, Error> {
    let answered = timeout(STORE_TIMEOUT, asked).await;
    Ok(answered.map_err(|_| Error::Slow)??)
}
