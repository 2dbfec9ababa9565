//! How many bytes each stream and bucket may take. The server reserves them, so a full stream takes
//! nothing from the others, and nothing from the buckets.

use std::fmt::Write as _;

use async_nats::jetstream::ErrorCode;
use serde_json::Value;

use super::{Error, error::STORAGE_REFUSALS};
use crate::config;

const MIB: u64 = 1 << 20;
/// Room in WA_RETRY above `deliver.retry_bytes_max`, beside a quarter of that: see
/// [`RetryRoom`](super::retry_room::RetryRoom).
const RETRY_MARGIN_BYTES: u64 = 64 * MIB;

/// The setting that decides about a stream, with its value in bytes; `None` for a stream whose file
/// decides.
pub(super) fn setting(stream: &str, settings: &config::Bus) -> Option<(&'static str, u64)> {
    Some(match stream {
        "WA_MSG" | "WA_CHAT" | "WA_RESULT" => ("bus.message_bytes_max", settings.message_bytes_max),
        "WA_HOLD" => ("bus.hold_bytes_max", settings.hold_bytes_max),
        "WA_DLQ" => ("bus.dead_letter_bytes_max", settings.dead_letter_bytes_max),
        "WA_KEYS" => ("bus.session_key_bytes_max", settings.session_key_bytes_max),
        "WA_RETRY" => ("deliver.retry_bytes_max", settings.retry_bytes_max),
        _ => return None,
    })
}

/// The limit of WA_RETRY for this value of `deliver.retry_bytes_max`.
pub(super) fn retry_limit(retry_bytes_max: u64) -> u64 {
    retry_bytes_max
        .saturating_add(retry_bytes_max / 4)
        .saturating_add(RETRY_MARGIN_BYTES)
}

/// The `max_bytes` of a declared stream.
pub(super) fn max_bytes(declared: &Value, settings: &config::Bus) -> u64 {
    let name = declared["name"].as_str().unwrap_or_default();
    match setting(name, settings) {
        Some(("deliver.retry_bytes_max", bytes)) => retry_limit(bytes),
        Some((_, bytes)) => bytes,
        None => declared["max_bytes"].as_u64().unwrap_or_default(),
    }
}

/// What the account and its streams take now.
pub(super) struct Account<'a> {
    /// The server's answer about the account.
    pub(super) info: &'a Value,
    /// Bytes of one copy that the streams reserve already which will be declared.
    pub(super) reserved: u64,
}

/// Makes sure that the account has room for all streams.
///
/// # Errors
/// [`Error::NoStorage`] when it has not.
pub(super) fn ensure_fits(
    account: &Account<'_>,
    declared: &[&Value],
    settings: &config::Bus,
) -> Result<(), Error> {
    let replicas = settings.replicas as u64;
    let tier = &account.info["tiers"][format!("R{replicas}")];
    let scope = if tier.is_object() { tier } else { account.info };
    // -1, or no number at all: the account has no limit of its own.
    let Some(limit) = scope["limits"]["max_storage"].as_u64() else {
        return Ok(());
    };
    let ours = account.reserved.saturating_mul(replicas);
    let others = scope["reserved_storage"]
        .as_u64()
        .unwrap_or(0)
        .saturating_sub(ours);
    let needed: u64 = declared.iter().map(|one| max_bytes(one, settings)).sum();
    let needed = needed.saturating_mul(replicas);
    if needed.saturating_add(others) <= limit {
        return Ok(());
    }
    Err(no_storage(
        declared,
        settings,
        &format!("the account may store {limit} bytes, of which other streams reserve {others}"),
    ))
}

/// Whether the server refused a stream for want of storage. In a cluster it says so in words alone.
pub(super) fn is_refusal(error: &Value) -> bool {
    let code = error["err_code"].as_u64().unwrap_or(0);
    let text = error["description"].as_str().unwrap_or_default();
    STORAGE_REFUSALS.contains(&ErrorCode(code)) || text.contains("insufficient storage")
}

/// The error for what the server or the account has no room for, with the settings to change.
pub(super) fn no_storage(declared: &[&Value], settings: &config::Bus, found: &str) -> Error {
    let mut total = 0;
    let mut fixed = 0;
    let mut list = String::new();
    for one in declared {
        let bytes = max_bytes(one, settings);
        total += bytes;
        let name = one["name"].as_str().unwrap_or_default();
        match setting(name, settings) {
            Some((key, _)) => {
                let _ = write!(list, "; {name} {bytes} ({key})");
            }
            None => fixed += bytes,
        }
    }
    Error::NoStorage {
        found: found.to_owned(),
        needed: total.saturating_mul(settings.replicas as u64),
        parts: format!("all others {fixed}{list}"),
    }
}

/// Makes sure that a stream keeps what it has when it gets this limit: where it discards old
/// messages, a limit below what is stored would drop them.
///
/// # Errors
/// [`Error::LimitTooLow`] when it holds more.
pub(super) fn ensure_keeps_all(
    declared: &Value,
    found: &Value,
    settings: &config::Bus,
) -> Result<(), Error> {
    let stream = declared["name"].as_str().unwrap_or_default();
    let limit = max_bytes(declared, settings);
    let stored = found["state"]["bytes"].as_u64().unwrap_or(0);
    // The server drops the oldest advisories by itself, which is what they are for.
    if stored <= limit || declared["discard"] == "old" && stream != "WA_RETRY" {
        return Ok(());
    }
    let key = setting(stream, settings).map_or("its file in nats/streams", |(key, _)| key);
    Err(Error::LimitTooLow {
        stream: stream.to_owned(),
        stored,
        limit,
        key,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> config::Bus {
        config::load(&config::Sources::default())
            .expect("the defaults are right")
            .config
            .bus
    }

    fn account(limit: i64, reserved: u64) -> Value {
        json!({"limits": {"max_storage": limit}, "reserved_storage": reserved})
    }

    #[test]
    fn what_does_not_fit_names_each_setting_and_the_figures() {
        let hold = json!({"name": "WA_HOLD"});
        let bucket = json!({"name": "KV_x", "max_bytes": 7});
        let declared = [&hold, &bucket];
        let settings = config::Bus {
            hold_bytes_max: 1000,
            ..settings()
        };
        let fits = |limit, reserved, ours| {
            let info = account(limit, reserved);
            let account = Account {
                info: &info,
                reserved: ours,
            };
            ensure_fits(&account, &declared, &settings)
        };
        assert!(fits(-1, 0, 0).is_ok());
        assert!(fits(1007, 0, 0).is_ok());
        assert!(fits(1007, 1007, 1007).is_ok(), "its own streams count once");
        let error = fits(1007, 1, 0).expect_err("one byte too many").to_string();
        for part in [
            "1007 bytes",
            "WA_HOLD 1000 (bus.hold_bytes_max)",
            "reserve 1",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn each_copy_counts_and_a_tier_of_the_account_goes_before_it() {
        let bucket = json!({"name": "KV_x", "max_bytes": 10});
        let settings = config::Bus {
            replicas: 3,
            ..settings()
        };
        let tiers = json!({
            "limits": {"max_storage": 1},
            "tiers": {"R3": {"limits": {"max_storage": 30}, "reserved_storage": 0}},
        });
        for (info, fits) in [
            (account(30, 0), true),
            (account(29, 0), false),
            (tiers, true),
        ] {
            let account = Account {
                info: &info,
                reserved: 0,
            };
            let result = ensure_fits(&account, &[&bucket], &settings);
            assert_eq!(result.is_ok(), fits, "{info}");
        }
    }

    #[test]
    fn limit_below_what_is_stored_is_refused_where_messages_would_go() {
        let settings = config::Bus {
            retry_bytes_max: 0,
            hold_bytes_max: 10,
            ..settings()
        };
        let stored = json!({"state": {"bytes": RETRY_MARGIN_BYTES + 1}});
        let table = [
            (json!({"name": "WA_RETRY", "discard": "old"}), false),
            (json!({"name": "WA_HOLD", "discard": "new"}), false),
            (
                json!({"name": "WA_ADV", "discard": "old", "max_bytes": 1}),
                true,
            ),
        ];
        for (declared, allowed) in table {
            let result = ensure_keeps_all(&declared, &stored, &settings);
            assert_eq!(result.is_ok(), allowed, "{declared}");
        }
    }
}
