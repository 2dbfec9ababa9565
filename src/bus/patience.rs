//! Waiting out an election.
//!
//! While the servers elect a leader, they refuse, or say nothing. What asks once, as commands and
//! the start of a node do, asks again for a while.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Error;

/// How long an election may take. Most take some seconds; a server that was just started must catch
/// up first.
const ELECTION_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
/// How long the first try of [`soon`] waits for its answer. A server answers within milliseconds;
/// one that is busy gets more time with each further try.
pub(super) const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(1);
const SOON_PAUSE: Duration = Duration::from_millis(200);
/// For how long [`soon`] asks again.
const SOON_MAX: Duration = Duration::from_secs(8);

/// Asks again while the bus is not well, for as long as an election may take. What is asked must do
/// no harm when it is done twice.
///
/// # Errors
/// The last one that came.
pub async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut asked_since = None;
    loop {
        let error = match ask().await {
            Err(error) if error.is_transient() => error,
            answer => return answer,
        };
        if asked_since.get_or_insert_with(Instant::now).elapsed() >= ELECTION_MAX {
            return Err(error);
        }
        tracing::info!(%error, "asking again: the servers may be electing a leader");
        sleep(PAUSE).await;
    }
}

/// Asks again when an answer does not come at once: what a leader was asked that lost its office is
/// never answered, and the whole time of a request would be lost with it. What is asked must do no
/// harm when it is done twice.
///
/// # Errors
/// The last one that came.
pub(super) async fn soon<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + SOON_MAX;
    let mut limit = FIRST_ANSWER_WITHIN;
    loop {
        let error = match timeout(limit, ask()).await {
            Ok(Err(error)) if error.is_transient() => error,
            Ok(answer) => return answer,
            Err(_) => Error::Timeout("answer"),
        };
        if Instant::now() >= end {
            return Err(error);
        }
        sleep(SOON_PAUSE).await;
        limit *= 2;
    }
}
