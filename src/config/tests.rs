use std::{fs, path::Path, time::Duration};

use super::*;

fn env(pairs: &[(&str, &str)]) -> Sources {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { env, ..Sources::default() }
}

fn errors(sources: &Sources) -> Vec<String> {
    let errors = load(sources).expect_err("wrong on purpose");
    errors.0.iter().map(ToString::to_string).collect()
}

/// Compares a generated page with the committed one; `UPDATE_DOCS=1` writes it instead.
fn page_is_current(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, expected).expect("writes");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not current: run `UPDATE_DOCS=1 cargo test --lib`");
}

#[test]
fn the_page_of_settings_is_current() {
    page_is_current("docs/configuration.md", &reference());
}

#[test]
fn the_defaults_hold_together_and_have_exactly_the_known_keys() {
    let loaded = load(&Sources::default()).expect("the defaults are right");
    assert_eq!(loaded.config.deliver.timeout, Duration::from_secs(10));
    assert!(loaded.origins.values().all(|origin| *origin == Origin::Default));
    // Every key that has a default is read by someone; an unread one would be missing here.
    let with_default = defaults::keys().iter().filter(|key| !key.optional).count();
    assert_eq!(loaded.origins.len(), with_default);
}

#[test]
fn flags_win_over_variables_over_the_file_over_the_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wahook.toml");
    fs::write(&file, "[deliver]\ntimeout = \"4s\"\nmax_retries = 4\nin_flight = 4\n").expect("writes");
    let sources = Sources {
        file: Some(file.clone()),
        flags: vec![("deliver.timeout".to_owned(), "6s".to_owned())],
        ..env(&[("WAHOOK__DELIVER__TIMEOUT", "5s"), ("WAHOOK__DELIVER__MAX_RETRIES", "5"), ("PATH", "/bin")])
    };
    let loaded = load(&sources).expect("right");
    let deliver = &loaded.config.deliver;
    assert_eq!((deliver.timeout, deliver.max_retries, deliver.in_flight), (Duration::from_secs(6), 5, 4));
    assert_eq!(loaded.origins["deliver.timeout"], Origin::Flag("deliver.timeout".to_owned()));
    assert_eq!(loaded.origins["deliver.max_retries"], Origin::Env("WAHOOK__DELIVER__MAX_RETRIES".to_owned()));
    assert_eq!(loaded.origins["deliver.in_flight"], Origin::File(file));
}

#[test]
fn the_old_service_s_timeout_is_honoured_unless_the_new_one_is_set() {
    let old = env(&[("WEBHOOK_TIMEOUT", "7000")]);
    assert_eq!(load(&old).expect("right").config.deliver.timeout, Duration::from_secs(7));
    let both = env(&[("WEBHOOK_TIMEOUT", "7000"), ("WAHOOK__DELIVER__TIMEOUT", "3s")]);
    assert_eq!(load(&both).expect("right").config.deliver.timeout, Duration::from_secs(3));
    assert!(errors(&env(&[("WEBHOOK_TIMEOUT", "soon")]))[0].contains("WEBHOOK_TIMEOUT"));
}

#[test]
fn every_error_is_told_at_once_with_key_source_and_remedy() {
    let sources = Sources {
        flags: vec![("deliver.max_retrys".to_owned(), "3".to_owned())],
        ..env(&[
            ("WAHOOK__DELIVER__TIMEOUT", "soon"),
            ("WAHOOK__API__LISTEN", "everywhere"),
            ("WAHOOK__NOWHERE__KEY", "1"),
            ("WAHOOK__DELIVER__RETRY_JITTER", "7"),
        ])
    };
    let all = errors(&sources);
    assert_eq!(all.len(), 5, "{all:#?}");
    let told = |parts: &[&str]| all.iter().any(|error| parts.iter().all(|part| error.contains(part)));
    assert!(told(&["deliver.max_retrys", "flag", "deliver.max_retries"]), "the nearest key is named: {all:#?}");
    assert!(told(&["deliver.timeout", "WAHOOK__DELIVER__TIMEOUT", "duration"]), "{all:#?}");
    assert!(told(&["api.listen", "WAHOOK__API__LISTEN"]), "{all:#?}");
    assert!(told(&["WAHOOK__NOWHERE__KEY"]), "{all:#?}");
    assert!(told(&["deliver.retry_jitter"]), "{all:#?}");
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let all = errors(&env(&[("WAHOOK__BUS__ACK_WAIT", "20s"), ("WAHOOK__DELIVER__TIMEOUT", "19s")]));
    assert!(all.iter().any(|error| error.contains("bus.ack_wait")), "{all:#?}");
    let all = errors(&env(&[("WAHOOK__NATS__USER", "someone")]));
    assert!(all.iter().any(|error| error.contains("nats.password")), "{all:#?}");
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wahook.toml");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    assert!(errors(&sources)[0].contains("cannot be read"));
    fs::write(&file, "[deliver]\ntimeout = \n").expect("writes");
    assert!(errors(&sources)[0].contains("line 2"));
}

#[test]
fn secrets_are_never_shown() {
    let secret = "canary-3f9c";
    let sources = env(&[("WAHOOK__NATS__USER", "someone"), ("WAHOOK__NATS__PASSWORD", secret)]);
    let loaded = load(&sources).expect("right");
    assert_eq!(loaded.config.nats.password.as_ref().map(|password| password.expose()), Some(secret));
    let shown = format!("{}{loaded:?}", dump(&loaded));
    assert!(!shown.contains(secret) && dump(&loaded).contains("password = \"***\""));
    // Nor in the error that a mistyped one causes.
    let all = errors(&env(&[("WAHOOK__NATS__PASSWORD", secret), ("WAHOOK__NATS__PASSWROD", secret)]));
    assert!(all.iter().all(|error| !error.contains(secret)), "{all:#?}");
}

#[test]
fn a_dump_can_be_loaded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wahook.toml");
    let first = load(&env(&[("WAHOOK__DELIVER__RATE_PER_SECOND", "77")])).expect("right");
    fs::write(&file, dump(&first)).expect("writes");
    let second = load(&Sources { file: Some(file), ..Sources::default() }).expect("right");
    assert_eq!(second.config, first.config);
}
