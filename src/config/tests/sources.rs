//! Which source wins, what each may write, and what a dump shows.

use std::time::Duration;

use super::*;

const CANARY: &str = "canary-7f3a";

fn timeout(sources: &Sources) -> (Duration, Option<Origin>) {
    let loaded = load(sources).expect("these sources are right");
    (
        loaded.config.deliver.timeout,
        loaded.origins.get("deliver.timeout").cloned(),
    )
}

#[test]
fn later_source_overrides_an_earlier_one_and_is_named() {
    assert_eq!(
        timeout(&Sources::default()),
        (Duration::from_secs(10), Some(Origin::Default))
    );
    let (path, mut sources) = file("[deliver]\ntimeout = \"11s\"\n");
    assert_eq!(
        timeout(&sources),
        (
            Duration::from_secs(11),
            Some(Origin::File(path.path().into()))
        )
    );
    sources.env = own(&[
        ("WEBHOOK_TIMEOUT", "12000"),
        ("PATH", "/bin"),
        ("WAHOOK_COMMIT", "abc"),
    ]);
    assert_eq!(
        timeout(&sources),
        (
            Duration::from_secs(12),
            Some(Origin::Env("WEBHOOK_TIMEOUT".into()))
        )
    );
    let variable = "WAHOOK__DELIVER__TIMEOUT";
    for at in [0, 1] {
        sources.env.insert(at, (variable.into(), "13s".into()));
        assert_eq!(
            timeout(&sources),
            (Duration::from_secs(13), Some(Origin::Env(variable.into())))
        );
        sources.env.remove(at);
    }
    sources.flags = own(&[("deliver.timeout", "14s")]);
    assert_eq!(
        timeout(&sources),
        (
            Duration::from_secs(14),
            Some(Origin::Flag("deliver.timeout".into()))
        )
    );
}

#[test]
fn variables_can_set_every_type() {
    let sources = env(&[
        ("WAHOOK__EGRESS__ALLOW_HTTP", "true"),
        ("WAHOOK__EGRESS__ALLOW_CIDRS", "10.0.0.0/8, fd00::/8"),
        ("WAHOOK__BUS__REPLICAS", "3"),
        ("WAHOOK__BUS__MESSAGE_BYTES_MAX", "64MiB"),
        ("WAHOOK__DELIVER__RETRY_JITTER", "0.25"),
        ("WAHOOK__LOG__FORMAT", "json"),
        ("WAHOOK__API__LISTEN", "[::1]:8088"),
        ("WAHOOK__NATS__INBOX_PREFIX", "_INBOX_a"),
        ("WAHOOK__NATS__CREDENTIALS_FILE", ""),
    ]);
    let config = Config::load(&sources).expect("all of them are right");
    let cidrs: Vec<_> = config
        .egress
        .allow_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(config.egress.allow_http);
    assert_eq!(cidrs, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(
        (config.bus.replicas, config.bus.message_bytes_max),
        (3, 64 << 20)
    );
    assert!((config.deliver.retry_jitter - 0.25).abs() < f64::EPSILON);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.api.listen.to_string(), "[::1]:8088");
    assert_eq!(config.nats.inbox_prefix.as_deref(), Some("_INBOX_a"));
    assert_eq!(
        config.nats.credentials_file, None,
        "an empty variable leaves an optional key unset"
    );
}

#[test]
fn sizes_may_be_plain_integers() {
    let (_file, sources) =
        file("[api]\nbody_bytes_max = 2048\n[egress]\nresponse_bytes_max = \"1KiB\"\n");
    let config = Config::load(&sources).expect("both forms are right");
    assert_eq!(
        (config.api.body_bytes_max, config.egress.response_bytes_max),
        (2048, 1024)
    );
}

#[test]
fn dump_can_be_loaded_again_and_masks_secrets() {
    let (path, mut sources) = file(&format!("[nats]\nuser = \"u\"\npassword = \"{CANARY}\"\n"));
    sources.env = own(&[
        ("WAHOOK__API__SECRET_OVERLAP", "90m"),
        ("WAHOOK__EGRESS__ALLOW_CIDRS", "10.0.0.0/8"),
    ]);
    let loaded = load(&sources).expect("these sources are right");
    assert_eq!(
        loaded
            .config
            .nats
            .password
            .as_ref()
            .map(|secret| secret.expose()),
        Some(CANARY)
    );

    let text = dump(&loaded);
    assert!(!text.contains(CANARY), "{text}");
    assert!(!format!("{loaded:?}").contains(CANARY));
    for line in [
        format!("password = \"***\" # file {}", path.path().display()),
        "secret_overlap = \"90m\" # variable WAHOOK__API__SECRET_OVERLAP".into(),
        "allow_cidrs = [\"10.0.0.0/8\"] # variable WAHOOK__EGRESS__ALLOW_CIDRS".into(),
        "timeout = \"10s\" # default".into(),
        "# inbox_prefix is not set".into(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line} in:\n{text}"
        );
    }
    let (_file, again) = file(&text);
    let again = Config::load(&again).expect("a dump is a configuration");
    let mut expected = loaded.config;
    expected.nats.password = Some(crate::model::Secret::new("***".into()));
    assert_eq!(again, expected);
}

#[test]
fn path_with_a_line_break_stays_in_the_comment_of_a_dump() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a\nevil = 1");
    std::fs::write(&path, "[node]\ndata_dir = \"a\\nb\\\"c\"\n").expect("it can be written");
    let loaded = load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .expect("an odd path is no error");
    let (_file, again) = file(&dump(&loaded));
    assert_eq!(Config::load(&again), Ok(loaded.config));
}
