//! Every way to be wrong: with its key, its source and a remedy, and never with the value.

use super::*;

#[test]
fn missing_file_is_unreadable() {
    let path = PathBuf::from("/nowhere/wahook.toml");
    let found = errors(&Sources {
        file: Some(path.clone()),
        ..Sources::default()
    });
    assert!(
        matches!(&found[..], [Error::Unreadable { origin: Origin::File(at), .. }] if *at == path),
        "{found:?}"
    );
}

#[test]
fn file_that_is_not_toml_is_named_with_its_line_and_not_quoted() {
    let (_file, sources) = file("[nats]\nuser = \"u\"\npassword = \"canary-7f3a\n");
    let found = errors(&sources);
    assert!(
        matches!(&found[..], [Error::Syntax { line: 3, .. }]),
        "{found:?}"
    );
    assert!(!Errors(found).to_string().contains("canary"));
}

#[test]
fn unknown_key_of_any_source_gets_a_similar_key_as_remedy() {
    let text = "top = 1\n[deliver]\ntimout = \"5s\"\n[webhook]\nx = 1\n[node]\n\"a.b\" = \
        1\nconnections_max = 1\n";
    let (_file, mut sources) = file(text);
    sources.env = own(&[
        ("WAHOOK__DELIVER__MAX_RETRYS", "1"),
        ("WAHOOK__deliver__TIMEOUT", "5s"),
        ("WAHOOK__", ""),
    ]);
    sources.flags = own(&[("api.listn", "x")]);
    let found = errors(&sources);
    for (key, remedy) in [
        ("top", "docs/configuration.md lists all of them"),
        ("deliver.timout", "did you mean deliver.timeout?"),
        ("webhook", "docs/configuration.md lists all of them"),
        ("node.a.b", "docs/configuration.md lists all of them"),
        ("node.connections_max", "did you mean api.connections_max?"),
        (
            "deliver.max_retrys",
            "did you mean WAHOOK__DELIVER__MAX_RETRIES?",
        ),
        ("deliver.timeout", "did you mean WAHOOK__DELIVER__TIMEOUT?"),
        ("", "docs/configuration.md lists all of them"),
        ("api.listn", "did you mean api.listen?"),
    ] {
        let found_here = found.iter().filter(|error| match error {
            Error::Unknown {
                key: found_key,
                remedy: found_remedy,
                ..
            } => found_key == key && found_remedy == remedy,
            _ => false,
        });
        assert_eq!(found_here.count(), 1, "{key}: {found:#?}");
    }
    assert_eq!(found.len(), 9);
}

#[test]
fn value_of_the_wrong_type_or_out_of_bounds_is_invalid() {
    for (section, wrong) in [
        ("deliver", "timeout = 10"),
        ("deliver", "timeout = \"99ms\""),
        ("deliver", "timeout = \"121s\""),
        ("deliver", "timeout = \"fast\""),
        ("deliver", "max_retries = 21"),
        ("deliver", "max_retries = -1"),
        ("deliver", "max_retries = \"3\""),
        ("deliver", "retry_jitter = 0.6"),
        ("deliver", "retry_jitter = nan"),
        ("bus", "replicas = 2"),
        ("bus", "message_bytes_max = -1"),
        ("bus", "message_bytes_max = \"1GB\""),
        ("egress", "allow_http = \"true\""),
        ("egress", "allow_cidrs = \"10.0.0.0/8\""),
        ("egress", "allow_cidrs = [\"10.0.0.0/33\"]"),
        ("egress", "allow_cidrs = [1]"),
        ("log", "format = \"xml\""),
        ("log", "filter = \"\""),
        ("api", "listen = \"localhost\""),
        ("store", "path = \"\""),
        ("nats", "user = 1"),
        ("nats", "url = \"127.0.0.1:4222\""),
        ("nats", "url = \"http://127.0.0.1\""),
        ("nats", "url = \"nats://a,nats://u:canary@b\""),
        ("nats", "user = {}"),
    ] {
        let (_file, sources) = file(&format!("[{section}]\n{wrong}\n"));
        let found = errors(&sources);
        let key = format!("{section}.{}", wrong.split(' ').next().unwrap_or_default());
        assert!(
            matches!(&found[..], [Error::Invalid { key: k, .. }] if *k == key),
            "{wrong}: {found:?}"
        );
        assert!(!Errors(found).to_string().contains("canary"));
    }
}

#[test]
fn old_timeout_must_be_milliseconds() {
    let found = errors(&env(&[("WEBHOOK_TIMEOUT", "10s")]));
    let variable = Origin::Env("WEBHOOK_TIMEOUT".to_owned());
    assert!(matches!(&found[..], [Error::Invalid { origin, .. }] if *origin == variable));
    let found = errors(&env(&[("WEBHOOK_TIMEOUT", "1")]));
    assert!(
        matches!(&found[..], [Error::Invalid { .. }]),
        "the bounds hold for it, too: {found:?}"
    );
    let both = env(&[
        ("WEBHOOK_TIMEOUT", "nonsense"),
        ("WAHOOK__DELIVER__TIMEOUT", "5s"),
    ]);
    assert_eq!(
        errors(&both),
        [],
        "it does not matter when the new name is there"
    );
}

#[track_caller]
fn assert_conflict(flags: &[(&str, &str)], key: &str) {
    let found = errors(&Sources {
        flags: own(flags),
        ..Sources::default()
    });
    assert!(
        matches!(&found[..], [Error::Conflict { key: k, .. }] if k == key),
        "{flags:?}: {found:?}"
    );
    assert!(!Errors(found).to_string().contains("canary"));
}

#[test]
fn ways_to_reach_nats_that_contradict_each_other_are_a_conflict() {
    let table: [(&[(&str, &str)], &str); 4] = [
        (&[("nats.password", "canary")], "nats.password"),
        (&[("nats.user", "u")], "nats.user"),
        (
            &[
                ("nats.user", "u"),
                ("nats.password", "canary"),
                ("nats.credentials_file", "f"),
            ],
            "nats.credentials_file",
        ),
        (
            &[
                ("nats.jetstream_domain", "hub"),
                ("nats.jetstream_api_prefix", "JS.hub"),
            ],
            "nats.jetstream_api_prefix",
        ),
    ];
    for (flags, key) in table {
        assert_conflict(flags, key);
    }
}

#[test]
fn keys_that_contradict_each_other_are_a_conflict() {
    for (flags, key) in [
        (&[("bus.ack_wait", "22s")][..], "bus.ack_wait"),
        (
            &[("deliver.lane_wait", "0s"), ("store.busy_timeout", "50s")],
            "bus.ack_wait",
        ),
        (&[("bus.publish_deadline", "60s")], "bus.publish_deadline"),
        (&[("node.drain_deadline", "15s")], "node.drain_deadline"),
        (&[("deliver.retry_max", "4s")], "deliver.retry_max"),
        (&[("deliver.in_flight_max", "7")], "deliver.in_flight_max"),
        (&[("api.listen", "127.0.0.1:9090")], "admin.listen"),
    ] {
        assert_conflict(flags, key);
    }
    let enough = [
        ("bus.ack_wait", "23s"),
        ("node.drain_deadline", "16s"),
        ("api.listen", "127.0.0.1:9091"),
    ];
    assert_eq!(
        errors(&Sources {
            flags: own(&enough),
            ..Sources::default()
        }),
        []
    );
    let free = [
        ("api.listen", "127.0.0.1:0"),
        ("admin.listen", "127.0.0.1:0"),
    ];
    assert_eq!(
        errors(&Sources {
            flags: own(&free),
            ..Sources::default()
        }),
        [],
        "port 0 is another one each time"
    );
}

#[test]
fn only_the_store_in_use_is_checked() {
    let quick = [
        ("bus.ack_wait", "16s"),
        ("deliver.timeout", "1s"),
        ("deliver.lane_wait", "1s"),
    ];
    let slow_sqlite = ("store.busy_timeout", "1m");
    let slow_cql = [("cql.write_timeout", "30s"), ("cql.tls", "true")];
    let with = |more: &[(&str, &str)]| {
        errors(&Sources {
            flags: own(&[&quick, more].concat()),
            ..Sources::default()
        })
    };
    assert_eq!(with(&slow_cql), []);
    assert_eq!(with(&[("store.kind", "cql"), slow_sqlite]), []);
    assert_eq!(with(&[slow_sqlite]).len(), 1);
    let cql = [&[("store.kind", "cql")], &slow_cql[..]].concat();
    let found = with(&cql);
    let keys: Vec<_> = found.iter().filter_map(Error::key).collect();
    assert!(
        keys.contains(&"bus.ack_wait") && keys.contains(&"cql.tls"),
        "{keys:?}"
    );
}

#[test]
fn all_errors_are_reported_at_once_and_an_invalid_key_causes_no_conflict() {
    let (path, mut sources) = file(
        "[deliver]\nretry_base = \"slow\"\nretry_max = \"2h\"\nx = 1\n[bus]\nack_wait = \"16s\"",
    );
    sources.env = own(&[("WAHOOK__BUS__REPLICAS", "4")]);
    sources.flags = own(&[("api.listen", "nowhere")]);
    let text = Errors(errors(&sources)).to_string();
    let name = path.path().display();
    let expected = [
        "5 errors in the configuration:".to_owned(),
        format!(
            "  deliver.x (file {name}): no such setting; docs/configuration.md lists all of them"
        ),
        "  bus.replicas (variable WAHOOK__BUS__REPLICAS): write 1, 3 or 5".into(),
        format!(
            "  deliver.retry_base (file {name}): write a duration from 100ms to 1h, like \
             \"100ms\" or \"1h\""
        ),
        "  api.listen (flag api.listen): write an IP address and a port, like \"127.0.0.1:8080\""
            .into(),
        format!(
            "  bus.ack_wait (file {name}): it must exceed deliver.timeout + deliver.lane_wait + \
             10s, or messages in \
             flight are redelivered; set it above 22s, or lower the other two"
        ),
    ];
    for line in &expected {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line} in:\n{text}"
        );
    }
}
