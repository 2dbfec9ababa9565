//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that has no time of its own.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
const ASK_INTERVAL: Duration = Duration::from_millis(25);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`WAIT_MAX`].
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(WAIT_MAX, what, ask).await
}

/// The same for what has a time of its own.
///
/// # Panics
/// When there is no answer within `limit`.
pub(crate) async fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "in vain waited until {what}");
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Checks again and again that something holds, for as long as it would take a fault to show.
///
/// # Panics
/// As soon as it does not hold.
pub(crate) async fn stays(span: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + span;
    loop {
        assert!(holds().await, "it does not stay so: {what}");
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Lets time pass that a setting under test measures. Anything else is waited for with
/// [`eventually`].
pub(crate) async fn let_pass(span: Duration) {
    tokio::time::sleep(span).await;
}

/// A client for HTTP on loopback.
pub(crate) fn http_client() -> reqwest::Client {
    // Only loopback is called, but the client wants a TLS provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(WAIT_MAX)
        .build()
        .expect("a plain client")
}
