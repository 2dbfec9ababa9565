//! The time at which a request is served.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The wall clock's time.
pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
