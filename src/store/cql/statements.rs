//! All statements, prepared once.

use futures_util::future::try_join_all;
use scylla::{
    client::{execution_profile::ExecutionProfileHandle, session::Session},
    statement::prepared::PreparedStatement,
};

use super::{rows::COLUMNS, session::Profiles};
use crate::store::Error;

/// Rows of attempts per page: their bodies may be large.
const ATTEMPTS_PER_PAGE: i32 = 100;
/// The same for one event, of which all rows have the same body.
const ATTEMPTS_OF_EVENT_PER_PAGE: i32 = 10;
/// Rows of all other tables per page: they are small.
const INDEX_ROWS_PER_PAGE: i32 = 500;

macro_rules! statements {
    ($($name:ident: $profile:ident $page:ident = $text:expr;)*) => {
        pub(super) struct Statements {
            $(pub(super) $name: PreparedStatement,)*
        }

        impl Statements {
            /// In the session's keyspace.
            pub(super) async fn prepare(
                session: &Session,
                profiles: &Profiles,
            ) -> Result<Self, Error> {
                let prepare = async |text: String, profile: &ExecutionProfileHandle, page| {
                    let mut prepared = session.prepare(text).await.map_err(Error::failed)?;
                    // Repeating one writes the same again, or only reads.
                    prepared.set_is_idempotent(true);
                    prepared.set_page_size(page);
                    prepared.set_execution_profile_handle(Some(profile.clone()));
                    Ok::<_, Error>(prepared)
                };
                let all = [$((String::from($text), &profiles.$profile, $page)),*];
                let all = all.into_iter().map(|(text, profile, page)| prepare(text, profile, page));
                let mut all = try_join_all(all).await?.into_iter();
                Ok(Self { $($name: all.next().expect("as many as there are texts"),)* })
            }
        }
    };
}

statements! {
    insert_attempt: write ATTEMPTS_PER_PAGE = format!("
        INSERT INTO events (day, last_success_at, {COLUMNS})
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        USING TIMESTAMP ?");
    insert_day: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO event_days (client_id, webhook_id, day, first_seen)
        VALUES (?, ?, ?, ?)";
    insert_attention: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO events_attention (
            client_id, webhook_id, day, event_id, attempt, status, written_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        USING TIMESTAMP ?";
    insert_letter: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO dead_letters (client_id, day, event_id, attempt, status, webhook_id)
        VALUES (?, ?, ?, ?, ?, ?)
        USING TIMESTAMP ?";
    insert_letter_day: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO dead_letter_days (client_id, day, first_seen)
        VALUES (?, ?, ?)";
    insert_failure: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO webhook_failures (
            client_id, webhook_id, day, ended_at, event_id, attempt, outcome)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        USING TIMESTAMP ?";
    insert_success: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO webhook_state (client_id, webhook_id, last_success_at, last_attempt_at)
        VALUES (?, ?, ?, ?)
        USING TIMESTAMP ?";
    insert_error: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO webhook_state (
            client_id, webhook_id, last_error, last_error_at, last_attempt_at)
        VALUES (?, ?, ?, ?, ?)
        USING TIMESTAMP ?";
    insert_given_up: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO webhook_state (client_id, webhook_id, last_failed_at)
        VALUES (?, ?, ?)
        USING TIMESTAMP ?";
    insert_stats: write INDEX_ROWS_PER_PAGE = "
        INSERT INTO webhook_stats (
            client_id, webhook_id, hour, writer, attempts, delivered, failed,
            latency_sum_ms, latency_max_ms, body_bytes)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    select_days: read INDEX_ROWS_PER_PAGE = "
        SELECT day FROM event_days
        WHERE client_id = ? AND webhook_id = ? AND day <= ? AND day >= ?";
    select_letter_days: read INDEX_ROWS_PER_PAGE = "
        SELECT day FROM dead_letter_days
        WHERE client_id = ? AND day <= ? AND day >= ?";
    select_attempts: read ATTEMPTS_PER_PAGE = format!("
        SELECT {COLUMNS} FROM events
        WHERE client_id = ? AND webhook_id = ? AND day = ? AND event_id < ? AND event_id >= ?");
    select_event: read ATTEMPTS_OF_EVENT_PER_PAGE = format!("
        SELECT {COLUMNS} FROM events
        WHERE client_id = ? AND webhook_id = ? AND day = ? AND event_id = ?");
    select_newest: read ATTEMPTS_PER_PAGE = format!("
        SELECT {COLUMNS} FROM events
        WHERE client_id = ? AND webhook_id = ? AND day = ? AND event_id = ?
        LIMIT 2");
    select_attention: read INDEX_ROWS_PER_PAGE = "
        SELECT event_id, attempt, status, webhook_id FROM events_attention
        WHERE client_id = ? AND webhook_id = ? AND day = ? AND event_id < ? AND event_id >= ?";
    select_letters: read INDEX_ROWS_PER_PAGE = "
        SELECT event_id, attempt, status, webhook_id FROM dead_letters
        WHERE client_id = ? AND day = ? AND event_id < ?";
    select_newest_days: read INDEX_ROWS_PER_PAGE = "
        SELECT day FROM event_days
        WHERE client_id = ? AND webhook_id = ?";
    select_success: read INDEX_ROWS_PER_PAGE = "
        SELECT DISTINCT client_id, webhook_id, day, last_success_at FROM events
        WHERE client_id = ? AND webhook_id = ? AND day = ?";
    select_state: read INDEX_ROWS_PER_PAGE = "
        SELECT last_error, last_success_at, last_failed_at, last_attempt_at FROM webhook_state
        WHERE client_id = ? AND webhook_id = ?";
    select_failures: read INDEX_ROWS_PER_PAGE = "
        SELECT ended_at FROM webhook_failures
        WHERE client_id = ? AND webhook_id = ? AND day = ? AND ended_at > ?
        LIMIT ?";
    select_stats: read INDEX_ROWS_PER_PAGE = "
        SELECT hour, attempts, delivered, failed, latency_sum_ms, latency_max_ms, body_bytes
        FROM webhook_stats
        WHERE client_id = ? AND webhook_id = ? AND hour >= ? AND hour < ?";
    ping: read INDEX_ROWS_PER_PAGE = "
        SELECT release_version FROM system.local
        WHERE key = 'local'";
}
