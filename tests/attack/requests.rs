//! Requests that nobody would make on purpose, and answers that the web does give.

use std::{collections::BTreeMap, io::Write as _, sync::Arc};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, Manner},
    lab::{Lab, ended},
    report::is_strict,
    support::app::App,
};

/// How many are made; fewer where the executable is slow.
fn request_count() -> usize {
    if is_strict() { 10_000 } else { 2_000 }
}
const AT_ONCE: usize = 16;
const RSS_BYTES_MAX: u64 = 400 << 20;

const PATHS: [(&str, &str); 20] = [
    ("POST", "/api/webhooks/register"),
    ("GET", "/api/webhooks/list"),
    ("GET", "/api/webhooks/{}"),
    ("PATCH", "/api/webhooks/{}"),
    ("DELETE", "/api/webhooks/{}"),
    ("POST", "/api/webhooks/{}/rotate-secret"),
    ("POST", "/api/webhooks/{}/test"),
    ("POST", "/api/webhooks/{}/replay"),
    ("GET", "/api/webhooks/{}/events"),
    ("GET", "/api/webhooks/{}/stats"),
    ("GET", "/api/webhooks/events/{}"),
    ("POST", "/api/webhooks/events/{}/retry"),
    ("GET", "/api/dead-letters"),
    ("POST", "/api/replays"),
    ("GET", "/api/replays/{}"),
    ("POST", "/api/messages"),
    ("POST", "/api/messages/send"),
    ("GET", "/api/media/{}"),
    ("POST", "/api/sessions"),
    ("PUT", "/api/operational-webhook"),
];

const FIELDS: [&str; 22] = [
    "phone_number",
    "webhook_url",
    "client_id",
    "is_active",
    "max_retries",
    "rate_per_second",
    "burst",
    "retry_schedule",
    "in_flight",
    "ordering",
    "event_types",
    "format",
    "headers",
    "metadata",
    "message_id",
    "from",
    "to",
    "type",
    "content",
    "timestamp",
    "since",
    "status",
];

const QUERIES: [&str; 10] = [
    "",
    "?limit=250",
    "?limit=-1",
    "?limit=99999999999999999999",
    "?cursor=%00%ff",
    "?since=",
    "?since=9999-12-31T23:59:59-23:59",
    "?status=nope&status=nope",
    "?%ff=%ff",
    "?a[b]=c&&&==",
];

fn odd_value(chance: &mut StdRng) -> Value {
    match chance.random_range(0..16) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(1e308),
        4 => json!(true),
        5 => json!(""),
        6 => json!("\u{0}\u{1b}[2J\u{feff}\u{202e}"),
        7 => json!("x".repeat(chance.random_range(1..70_000))),
        8 => json!([]),
        9 => json!([[[[[[[[1]]]]]]]]),
        10 => json!({"a": {"b": {"c": null}}}),
        11 => json!("4915112345678"),
        12 => json!("https://example.com/../..//%00?#"),
        13 => json!("http://[::ffff:169.254.169.254]/"),
        14 => json!(["message", 7, null]),
        _ => json!("2026-02-30T25:61:61Z"),
    }
}

fn odd_body(chance: &mut StdRng) -> Vec<u8> {
    let mut body = serde_json::Map::new();
    for _ in 0..chance.random_range(0..10) {
        let field = FIELDS[chance.random_range(0..FIELDS.len())];
        body.insert(field.to_owned(), odd_value(chance));
    }
    let mut bytes = Value::Object(body).to_string().into_bytes();
    match chance.random_range(0..8) {
        0 => bytes.truncate(chance.random_range(0..=bytes.len())),
        1 => bytes = vec![b'['; 5_000],
        2 => bytes.insert(chance.random_range(0..=bytes.len()), 0xff),
        _ => {}
    }
    bytes
}

fn odd_id(chance: &mut StdRng) -> String {
    match chance.random_range(0..8) {
        0 => "%ff".to_owned(),
        1 => "%00".to_owned(),
        2 => "..%2f..%2fetc".to_owned(),
        3 => "01a224dc-db8c-7010-8000-000000000000".to_owned(),
        4 => "evt_".to_owned() + &"z".repeat(chance.random_range(0..60)),
        5 => "9".repeat(300),
        6 => "%E2%80%AE".to_owned(),
        _ => "a b".replace(' ', "%20"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_no_server_error() {
    let lab = Lab::start(&[("API__REGISTRATIONS_PER_MINUTE", "100000")]).await;
    let seed = std::env::var("ATTACK_SEED").ok();
    let seed: u64 = seed.map_or_else(rand::random, |text| text.parse().expect("a number"));
    println!("hostile requests: ATTACK_SEED={seed}");
    let tasks = (0..AT_ONCE).map(|place| {
        let attacker = Arc::clone(&lab.attacker);
        let mut chance = StdRng::seed_from_u64(seed ^ place as u64);
        tokio::spawn(async move {
            for _ in 0..request_count() / AT_ONCE {
                let (method, path) = PATHS[chance.random_range(0..PATHS.len())];
                let path = path.replace("{}", &odd_id(&mut chance));
                let query = QUERIES[chance.random_range(0..QUERIES.len())];
                let url = format!("{}{path}{query}", attacker.api);
                let method = method.parse().expect("a method");
                let request = attacker
                    .http
                    .request(method, url)
                    .bearer_auth(&attacker.token);
                let request = request.header("content-type", "application/json");
                let sent = request.body(odd_body(&mut chance)).send().await;
                let Ok(answer) = sent else {
                    attacker.answers.note(0);
                    continue;
                };
                let status = answer.status().as_u16();
                attacker.answers.note(status);
                let text = answer.text().await.unwrap_or_default();
                if status >= 400 {
                    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
                    assert!(
                        problem["code"].is_string(),
                        "no problem document: {status} {text:?}"
                    );
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("each answer is as it should be");
    }
    let answers = lab.attacker.answers.counts();
    let peak = lab.app.peak_rss_bytes();
    let line = json!({"requests": request_count(), "answers": answers, "rss_peak_mib": peak >> 20});
    let _ = writeln!(std::io::stdout(), "{line}");
    let errors = answers
        .keys()
        .filter(|status| **status >= 500 && **status != 503);
    assert_eq!(errors.count(), 0, "{line}");
    assert_eq!(lab.app.log().matches("panicked at").count(), 0, "{line}");
    assert!(!is_strict() || peak <= RSS_BYTES_MAX, "{line}");
}

/// Lines in the head of an answer.
const LINES: [&[u8]; 16] = [
    b"Bad Name: x",
    b"no colon here",
    b"PHP Warning: something in /var/www on line 3",
    b"content-length: two",
    b"content-length : 0",
    b": empty name",
    b"x: \xff\xfe\x00",
    b"x: y\r\n folded",
    b"set-cookie: a=b; expires=never",
    b"\xc3\xbc: umlaut",
    b"retry-after: soon",
    b"location: http://169.254.169.254/",
    b"connection: upgrade\r\nupgrade: websocket",
    b"transfer-encoding: gzip, chunked",
    b"content-type: \"",
    b"x-empty:",
];

/// Headers, those of the body's length first.
const HEADERS: [&str; 11] = [
    "retry-after: 120",
    "content-type: text/plain; charset=klingon",
    "content-length: 0\r\ncontent-length: 0",
    "content-length: 0, 0",
    "connection: close",
    "connection: keep-alive\r\nkeep-alive: timeout=0, max=0",
    "alt-svc: h3=\":443\"",
    "trailer: x",
    "www-authenticate: Basic",
    "date: yesterday",
    "server: \"'<>",
];

/// Bodies of answers.
const BODIES: [&[u8]; 8] = [
    b"\0",
    b"<html>",
    b"{\"a\":",
    b"\xff\xff",
    b"\x1b[2J",
    b"\r\n\r\n",
    b"HTTP/1.1 500",
    b" ",
];

/// Whole answers.
const WHOLE: [&[u8]; 11] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nok",
    b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\
          \r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
];

/// Answers whose status line says 200, and what follows it.
fn odd_answers() -> Vec<Vec<u8>> {
    let mut answers: Vec<Vec<u8>> = WHOLE.iter().map(|answer| answer.to_vec()).collect();
    for line in LINES {
        let head = b"HTTP/1.1 200 OK\r\n".as_slice();
        answers.push([head, line, b"\r\ncontent-length: 0\r\n\r\n"].concat());
        answers.push([head, b"content-length: 0\r\n", line, b"\r\n\r\n"].concat());
    }
    answers.extend(long_heads());
    for reason in [
        "",
        " ",
        "Alles gut \u{fc}",
        "OK\tOK",
        "(-:",
        "200",
        "\u{7f}",
    ] {
        let text = format!("HTTP/1.1 200 {reason}\r\ncontent-length: 0\r\n\r\n");
        answers.push(text.into_bytes());
    }
    for status in [201, 202, 203, 205, 206, 207, 208, 226, 250, 299] {
        answers.push(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").into_bytes());
    }
    for header in HEADERS {
        let has_length = header.starts_with("content-length");
        let length = if has_length {
            ""
        } else {
            "content-length: 0\r\n"
        };
        answers.push(format!("HTTP/1.1 200 OK\r\n{header}\r\n{length}\r\n").into_bytes());
    }
    for body in BODIES {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        answers.push([head.as_bytes(), body].concat());
    }
    answers
}

/// Heads of many lines, and of long ones.
fn long_heads() -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for count in [50, 99, 100, 101, 150, 300, 500, 900] {
        for name in ["set-cookie", "x-more"] {
            let mut answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
            for number in 0..count {
                answer += &format!("{name}: value-{number}\r\n");
            }
            answers.push((answer + "\r\n").into_bytes());
        }
    }
    for bytes in [1_000, 8_000, 16_000, 30_000, 60_000] {
        let value = "v".repeat(bytes);
        answers.push(format!("HTTP/1.1 200 OK\r\nx: {value}\r\n\r\n").into_bytes());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_that_say_200_are_delivered() {
    let settings = [
        ("DELIVER__TIMEOUT", "3s"),
        ("API__REGISTRATIONS_PER_MINUTE", "1000"),
    ];
    let app = App::playing("api,deliver,record", &settings).await;
    let client = app.client(1).await;
    let answers = Arc::new(odd_answers());
    assert!(answers.len() >= 100);
    let chosen = Arc::clone(&answers);
    let choose = move |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let number = body["message_id"]
            .as_str()
            .and_then(|id| id.strip_prefix("ODD")?.parse().ok());
        chosen[number.unwrap_or(0_usize)].clone()
    };
    let endpoint = Endpoint::start(Manner::Made(Arc::new(choose))).await;
    let phone = "4915112345678";
    let webhook = client
        .register_with(json!({
            "phone_number": phone, "webhook_url": endpoint.url(), "max_retries": 0,
        }))
        .await;
    for number in 0..answers.len() {
        client.publish(phone, &format!("ODD{number}")).await;
    }
    let mut ends = BTreeMap::<String, usize>::new();
    let mut failed = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        let status = ended(&client, &webhook, &format!("ODD{number}")).await;
        if status != "delivered" {
            let start = &answer[..answer.len().min(60)];
            failed.push(String::from_utf8_lossy(start).into_owned());
        }
        *ends.entry(status).or_default() += 1;
    }
    let peak = app.peak_rss_bytes();
    let line = json!({"odd_answers": answers.len(), "ends": ends, "rss_peak_mib": peak >> 20});
    let _ = writeln!(std::io::stdout(), "{line}");
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(app.log().matches("panicked at").count(), 0);
    assert!(!is_strict() || peak <= RSS_BYTES_MAX, "{line}");
}
