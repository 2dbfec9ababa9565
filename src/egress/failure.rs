//! From an error on the wire to an outcome.

use std::{error::Error, io};

use crate::model::Outcome;

/// Why the resolver gave no address.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Refused {
    /// The name has none, or nobody answered.
    #[error("the host name could not be resolved")]
    Unknown,
    /// One of them may not be called.
    #[error("the address may not be called: {0}")]
    Blocked(&'static str),
}

/// Outcome and words for the customer. A blocked address gets the words of a refused connection:
/// who registers webhooks must not learn what runs in this network. The rule that blocked it goes
/// to metrics alone.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) text: &'static str,
    pub(super) rule: Option<&'static str>,
    /// Whether the connection stood, so that the endpoint may have taken the request.
    pub(super) request_written: bool,
}

pub(super) fn blocked(rule: &'static str) -> Failure {
    let text = "the address is not public or did not accept the connection";
    Failure {
        outcome: Outcome::Blocked,
        text,
        rule: Some(rule),
        request_written: false,
    }
}

/// Judges an error by its causes.
pub(super) fn classify(error: &reqwest::Error) -> Failure {
    if let Some(Refused::Blocked(rule)) = cause::<Refused>(error) {
        return blocked(rule);
    }
    let (outcome, text) = if cause::<Refused>(error).is_some() {
        (Outcome::Dns, "the host name could not be resolved")
    } else if is_tls(error) {
        (
            Outcome::Tls,
            "the TLS handshake failed, or the certificate is not valid for this host",
        )
    } else if error.is_timeout() && error.is_connect() {
        (Outcome::Timeout, "the connection was not made in time")
    } else if error.is_timeout() {
        (Outcome::Timeout, "no complete answer came in time")
    } else if error.is_connect() {
        (
            Outcome::Connect,
            "the connection was refused or the host is unreachable",
        )
    } else if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        (Outcome::Protocol, "the answer is not HTTP")
    } else {
        (
            Outcome::Reset,
            "the connection broke before a complete answer came",
        )
    };
    let connected = !error.is_connect()
        && matches!(
            outcome,
            Outcome::Timeout | Outcome::Reset | Outcome::Protocol
        );
    Failure {
        outcome,
        text,
        rule: None,
        request_written: connected,
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    // A handshake that the other side cuts off has no error of rustls in it; a connection that is
    // not made at all fails otherwise.
    let cut = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        )
    };
    causes(error).any(|cause| cause.is::<rustls::Error>())
        || error.is_connect()
            && causes(error)
                .filter_map(|cause| cause.downcast_ref())
                .any(cut)
}

fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and all its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| next_cause(*error))
}

/// `io::Error` shows what is inside it only when asked.
fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    inner
        .map(|inner| inner as &(dyn Error + 'static))
        .or_else(|| error.source())
}
