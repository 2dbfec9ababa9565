//! What kept a request from an answer.

use std::{error::Error, fmt, io};

use crate::model::Outcome;

/// This process reached the limit of its open files; the system reached its own.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// Why no request was made although the endpoint did nothing wrong. The message has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMade {
    /// The process or the system has no more open files.
    OpenFiles,
    /// The client's look-ups, or all, wait for name servers that do not answer.
    Lookups,
    /// The proxy that all requests go through cannot be used.
    Proxy,
}

impl NotMade {
    /// A label for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenFiles => "open_files",
            Self::Lookups => "lookups",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wahook cannot make the request now; try again in a minute")
    }
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The URL itself breaks this rule.
    Forbidden(&'static str),
    /// One of the name's addresses breaks this rule.
    Blocked(&'static str),
    /// The name has no address, or nobody answered.
    Unresolved,
    /// No address accepted the connection.
    Unreachable,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The handshake failed, with the cause in words.
    Tls(&'static str),
    /// No complete answer came in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// What came is no HTTP, in words.
    Protocol(&'static str),
    /// The endpoint is not to blame.
    NotMade(NotMade),
}

/// A tenant must not learn from wahook which names and ports of its network exist. So a name that
/// is not there, one whose address is not public and a closed port have the same outcome and the
/// same words.
const UNREACHABLE: &str =
    "the host name could not be resolved, or the host did not accept the connection";

impl Failure {
    /// What the client is told.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Blocked(_) | Self::Unresolved => Outcome::Connect,
            _ => self.cause(),
        }
    }

    /// What operators are told.
    pub(super) fn cause(self) -> Outcome {
        match self {
            Self::Forbidden(_) | Self::Blocked(_) => Outcome::Blocked,
            Self::Unresolved => Outcome::Dns,
            Self::Unreachable | Self::NotMade(_) => Outcome::Connect,
            Self::ConnectTimeout | Self::Timeout => Outcome::Timeout,
            Self::Tls(_) => Outcome::Tls,
            Self::Reset => Outcome::Reset,
            Self::Protocol(_) => Outcome::Protocol,
        }
    }

    /// Words for the client.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Forbidden(_) | Self::Blocked(_) | Self::Unresolved | Self::Unreachable => {
                UNREACHABLE
            }
            Self::ConnectTimeout => "the connection was not made in time",
            Self::Tls(words) | Self::Protocol(words) => words,
            Self::Timeout => "no complete answer came in time",
            Self::Reset => "the connection broke before a complete answer came",
            Self::NotMade(_) => "wahook cannot make the request now",
        }
    }

    /// The rule that forbids the address.
    pub(super) fn rule(self) -> Option<&'static str> {
        match self {
            Self::Forbidden(rule) | Self::Blocked(rule) => Some(rule),
            _ => None,
        }
    }

    /// A connection could not be made.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        if has_no_open_file(error) {
            Self::NotMade(NotMade::OpenFiles)
        } else {
            Self::Unreachable
        }
    }
}

/// Whether the process or the system has no more open files.
pub(super) fn has_no_open_file(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// The first cause of this type.
pub(super) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| next_cause(*error))
        .find_map(|cause| cause.downcast_ref())
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
