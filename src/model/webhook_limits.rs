//! The limits of a webhook's settings. The API, the settings and the import share them.

/// The most retries after the first attempt, and the most waits of a retry schedule.
pub const RETRIES_MAX: u16 = 20;

/// The longest wait of a retry schedule, in seconds: 7 days, as long as the stream keeps messages.
pub const RETRY_WAIT_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// The most requests per second, and the largest burst.
pub const RATE_PER_SECOND_MAX: u32 = 10_000;

/// The largest burst, in seconds of the rate. A limiter must remember so much to be exact.
pub const BURST_SECONDS_MAX: u32 = 60;

/// The most requests in flight.
pub const IN_FLIGHT_MAX: u32 = 256;

/// The most bytes of an owner's notes, as JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The largest burst at this rate.
pub fn burst_max(rate_per_second: u32) -> u32 {
    rate_per_second.saturating_mul(BURST_SECONDS_MAX)
}
