//! A `bool` parameter says nothing at the call: it is an enum, or there are two functions.

use super::{files, is_test_file, product};

/// Functions whose `bool` is the value that they set, count, send or assert.
const VALUES: [&str; 16] = [
    "src/api/body.rs set",
    "src/api/problem/field.rs check",
    "src/api/webhooks/mod.rs notify_enabled",
    "src/bus/attempt_query.rs send",
    "src/bus/webhooks.rs follow",
    "src/config/check.rs that",
    "src/deliver/chat/state.rs begin",
    "src/egress/client.rs failed",
    "src/telemetry/events.rs bus_connected",
    "src/telemetry/events.rs message_published",
    "src/telemetry/events.rs store_request",
    "src/telemetry/events.rs truth",
    "src/telemetry/events.rs wrong_token",
    "src/ingest/keys/signal.rs store_prekey",
    "src/ingest/keys/signal.rs store_prekeys_batch",
    "src/telemetry/logs.rs subscriber",
];
/// Functions of `policy` that take the settings `egress.allow_http` and `egress.allow_cidrs`.
const SETTINGS: [&str; 2] = [
    "src/policy/address.rs check_url",
    "src/policy/address.rs judge_url",
];

/// The names of functions that have a `bool` among their parameters.
fn with_bool(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let rest = &text[at + "fn ".len()..];
        let Some((name, _)) = rest.split_once(|letter: char| !is_of_name(letter)) else {
            continue;
        };
        // Up to the body, or the end of a declaration.
        let head = rest.split(['{', ';']).next().unwrap_or_default();
        let parameters = head.split("->").next().unwrap_or_default();
        let is_bool = |parameter: &str| {
            let kind = parameter.split_once(": ").map_or("", |(_, kind)| kind);
            kind.trim_end_matches([')', '\n', ' '])
                .trim_start_matches("&mut ")
                == "bool"
        };
        if !name.is_empty() && parameters.split(',').any(is_bool) {
            found.push(name);
        }
    }
    found
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[test]
fn parameters_are_no_bools() {
    let mut found = Vec::new();
    for (name, text) in files("src") {
        if is_test_file(&name) {
            continue;
        }
        let lines: Vec<&str> = product(&text)
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let text = lines.join("\n");
        found.extend(
            with_bool(&text)
                .iter()
                .map(|function| format!("{name} {function}")),
        );
    }
    for function in &found {
        assert!(
            VALUES.contains(&function.as_str()) || SETTINGS.contains(&function.as_str()),
            "{function} takes a bool: use an enum, or make two functions"
        );
    }
    for allowed in VALUES.iter().chain(&SETTINGS) {
        assert!(
            found.iter().any(|name| name == allowed),
            "{allowed} takes no bool"
        );
    }
}

#[test]
fn bool_parameters_are_found() {
    let example = "fn a(x: u8, again: bool) {}\n\
                   async fn b(\n    &self,\n    again: bool,\n) -> u8 {}\n\
                   fn c(x: u8) -> bool {}\nfn d(flag: &mut bool);\nfn e(f: impl Fn(u8) -> bool) {}";
    assert_eq!(with_bool(example), ["a", "b", "d"]);
}
