//! Why a statement failed.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use crate::{
    store::{Error, ErrorKind},
    telemetry,
};

/// The reasons that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No answer within the statement's own time, the driver's retries included.
    Timeout,
    /// No node is connected.
    NoConnection,
    /// A node will never take this statement.
    Refused,
    /// A node waited in vain for its replicas.
    ServerTimeout,
    /// Too few replicas are up.
    Unavailable,
    /// A node is overloaded, or still starting.
    Overloaded,
    /// ScyllaDB's limit of requests per partition.
    RateLimit,
    /// Any other answer that says no.
    ServerError,
    /// The connection broke before the answer.
    BrokenConnection,
    /// Anything else.
    Other,
}

impl Cause {
    pub(super) fn of(error: &ExecutionError) -> Self {
        match error {
            ExecutionError::RequestTimeout(_) => Self::Timeout,
            ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => {
                Self::NoConnection
            }
            ExecutionError::BadQuery(_) => Self::Refused,
            ExecutionError::LastAttemptError(error) => Self::of_attempt(error),
            _ => Self::Other,
        }
    }

    fn of_attempt(error: &RequestAttemptError) -> Self {
        match error {
            RequestAttemptError::DbError(error, _) => Self::of_answer(error),
            RequestAttemptError::SerializationError(_)
            | RequestAttemptError::CqlRequestSerialization(_) => Self::Refused,
            RequestAttemptError::BrokenConnectionError(_) => Self::BrokenConnection,
            _ => Self::Other,
        }
    }

    fn of_answer(error: &DbError) -> Self {
        match error {
            DbError::WriteTimeout { .. } | DbError::ReadTimeout { .. } => Self::ServerTimeout,
            DbError::Unavailable { .. } => Self::Unavailable,
            DbError::Overloaded | DbError::IsBootstrapping => Self::Overloaded,
            DbError::RateLimitReached { .. } => Self::RateLimit,
            // A value that does not fit: too large, or not of the column's type.
            DbError::Invalid => Self::Refused,
            _ => Self::ServerError,
        }
    }

    /// The value of the metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoConnection => "no_connection",
            Self::Refused => "refused",
            Self::ServerTimeout => "server_timeout",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::RateLimit => "rate_limit",
            Self::ServerError => "server_error",
            Self::BrokenConnection => "broken_connection",
            Self::Other => "other",
        }
    }

    /// The store's error for a statement that failed for this reason.
    pub(super) fn error(self, source: ExecutionError) -> Error {
        match self {
            Self::Refused => {
                Error::new(ErrorKind::Refused, "the store refuses this").because(source)
            }
            Self::Timeout => {
                Error::new(ErrorKind::Timeout, "the store did not answer in time").because(source)
            }
            _ => Error::failed(source),
        }
    }
}

/// Counts why a read failed. Reads are not refused: what their caller asks for is valid.
pub(super) fn read_failed(error: ExecutionError) -> Error {
    let cause = Cause::of(&error);
    telemetry::cql_trouble(cause.as_str());
    match cause {
        Cause::Timeout => cause.error(error),
        _ => Error::failed(error),
    }
}

#[cfg(test)]
mod tests {
    use scylla::errors::OperationType;

    use super::*;

    /// Cassandra has no such limit, so no test with a server sees it.
    #[test]
    fn a_rate_limit_of_scylladb_may_be_tried_again_and_an_invalid_value_may_not() {
        let limit = DbError::RateLimitReached {
            op_type: OperationType::Write,
            rejected_by_coordinator: true,
        };
        assert_eq!(Cause::of_answer(&limit), Cause::RateLimit);
        let answer = RequestAttemptError::DbError(DbError::Invalid, String::new());
        let error = ExecutionError::LastAttemptError(answer);
        assert_eq!(Cause::of(&error), Cause::Refused);
        assert_eq!(Cause::Refused.error(error).kind(), ErrorKind::Refused);
    }
}
