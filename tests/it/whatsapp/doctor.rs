//! `wahook session doctor` says what is wrong, part by part.

use serde_json::json;

use super::{Linked, qr_content};

type Change<'a> = (&'a str, &'a str);

/// What it says of the parts that are wrong, with these settings changed.
async fn wrong(linked: &Linked, changes: &[Change<'_>]) -> (Option<i32>, Vec<String>, String) {
    let url = linked.server.url();
    let fixed = [
        ("WHATSAPP__URL", url.as_str()),
        ("WHATSAPP__VERSION", "2.3000.1023223821"),
    ];
    let settings = fixed.iter().chain(changes);
    let settings: Vec<_> = settings
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let arguments = ["session", "doctor", "--client", "1"];
    let (code, found, _) = linked.app.attempt(&arguments, &settings).await;
    let wrong = found.lines().filter(|line| line.starts_with("WRONG"));
    (code, wrong.map(str::to_owned).collect(), found)
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_and_goes_on() {
    let linked = Linked::start().await;
    let (code, found, all) = wrong(&linked, &[]).await;
    assert_eq!((code, found.len()), (Some(0), 0), "{all}");
    for part in [
        "NATS",
        "clock",
        "name",
        "connection",
        "version",
        "files",
        "session",
    ] {
        let has_part = |line: &str| line.starts_with(&format!("ok     {part}"));
        assert!(all.lines().any(has_part), "{part}: {all}");
    }

    let cases: [(Change<'_>, &[&str]); 5] = [
        (("WHATSAPP__URL", "wss://127.0.0.1:1/ws"), &["connection"]),
        (
            ("WHATSAPP__URL", "wss://no-such-host.invalid/ws"),
            &["name", "connection"],
        ),
        (("WHATSAPP__SESSIONS_DIR", "/proc"), &["files"]),
        (("NATS__URL", "nats://127.0.0.1:1"), &["NATS"]),
        (("WHATSAPP__ROOT_CA_FILE", "/dev/null"), &[]),
    ];
    for (change, parts) in cases {
        let (code, found, all) = wrong(&linked, &[change]).await;
        let named = found.len() == parts.len()
            && found
                .iter()
                .zip(parts)
                .all(|(line, part)| line[7..].starts_with(part));
        assert!(named, "{change:?}: {all}");
        assert_eq!(
            code,
            Some(i32::from(!parts.is_empty())),
            "{change:?}: {all}"
        );
    }

    let pairing = json!({"phone_number": "4915112345679"});
    let (status, session) = linked
        .client
        .call("POST", "/api/sessions", Some(pairing))
        .await;
    assert_eq!(status, 201, "{session}");
    let id = session["id"].as_str().expect("an id");
    qr_content(&linked.client, id).await;
    let (code, found, all) = wrong(&linked, &[]).await;
    assert_eq!((code, found.len()), (Some(1), 1), "{all}");
    assert!(
        found[0].contains(id) && found[0].contains("pairing"),
        "{all}"
    );
}
