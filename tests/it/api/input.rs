//! Whatever a request holds, the answer is a problem that names what is wrong.

use reqwest::Method;
use serde_json::{Value, json};

use super::{PHONE, raw};
use crate::support::{
    app::{App, Client, eventually, http_client},
    receiver::Receiver,
};

const ODD_SEGMENTS: [&str; 12] = [
    "%ff",
    "%c0%80",
    "%00",
    "..%2f..",
    "a%2fb",
    "%",
    "%zz",
    "%2e%2e",
    ".",
    "ü",
    "a b",
    "evt_%ed%a0%80",
];

/// Status line, headers and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = &body[body.find('{').unwrap_or(0)..body.rfind('}').map_or(0, |end| end + 1)];
    Answer {
        status: status.unwrap_or_default(),
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

/// Asserts that the answer is a problem document of this status and code.
fn assert_problem(text: &str, status: u16, code: &str, what: &str) {
    let answer = parse(text);
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (status, &json!(code)),
        "{what}: {text}"
    );
    assert!(
        answer.head.contains("application/problem+json"),
        "{what}: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_odd_paths_with_a_problem() {
    let app = App::start().await;
    let client = app.client(1).await;
    for (method, path, _) in wahook::api::routes() {
        if !path.contains('{') {
            continue;
        }
        for odd in ODD_SEGMENTS
            .map(str::to_owned)
            .into_iter()
            .chain(["x".repeat(3000)])
        {
            let (start, rest) = path.split_once('{').expect("an id");
            let rest = rest.split_once('}').expect("its end").1;
            let head = format!("{method} {start}{odd}{rest} HTTP/1.1\r\nhost: a\r\n");
            let more = "content-length: 2\r\nconnection: close\r\n\r\n{}";
            let request = format!("{head}{}{more}", credentials(&client));
            let text = raw(&app.api, &request).await;
            let answer = parse(&text);
            let what = format!("{method} {start}{odd}{rest}");
            // A blank or a letter beyond ASCII is no HTTP, and hyper answers it without a body.
            if odd.contains(' ') || !odd.is_ascii() {
                assert!(
                    answer.status == 400 || answer.status == 404,
                    "{what}: {text}"
                );
                continue;
            }
            assert!([400, 404, 405].contains(&answer.status), "{what}: {text}");
            assert!(
                answer.head.contains("application/problem+json"),
                "{what}: {text}"
            );
            assert!(answer.body["code"].is_string(), "{what}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_heads_and_unfinished_bodies_are_the_callers_faults() {
    let app = App::with(&[("API__REQUEST_TIMEOUT", "1s")]).await;
    let client = app.client(1).await;
    let head = credentials(&client);
    let post = |rest: &str| format!("POST /api/messages HTTP/1.1\r\nhost: a\r\n{head}{rest}");
    let get = |hosts: &str| {
        format!("GET /api/webhooks/list HTTP/1.1\r\n{hosts}{head}connection: close\r\n\r\n")
    };
    let large = post("content-length: 1073741824\r\n\r\n");
    let largest = post("content-length: 9007199254740993\r\n\r\n");
    let short = post("content-length: 10\r\n\r\n{");
    let chunked = post("transfer-encoding: chunked\r\n\r\n1\r\n{\r\n");
    for (request, status, code) in [
        (large, 413, "too_large"),
        (largest, 413, "too_large"),
        (short, 408, "body_timeout"),
        (chunked, 408, "body_timeout"),
        (get(""), 400, "invalid_request"),
        (get("host: a\r\nhost: b\r\n"), 400, "invalid_request"),
    ] {
        assert_problem(&raw(&app.api, &request).await, status, code, &request);
    }
    let old = format!("GET /api/webhooks/list HTTP/1.0\r\n{head}\r\n");
    assert_eq!(
        parse(&raw(&app.api, &old).await).status,
        200,
        "HTTP/1.0 needs no host"
    );
}

/// The headers that every JSON request of this client has.
fn credentials(client: &Client) -> String {
    let token = &client.token;
    format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n")
}

async fn pointer_of(client: &Client, path: &str, body: Value) -> String {
    let (status, answer) = client.call("POST", path, Some(body)).await;
    assert_eq!(
        (status, &answer["code"]),
        (400, &json!("invalid_json")),
        "{answer}"
    );
    answer["errors"][0]["pointer"]
        .as_str()
        .expect("a pointer")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_and_parameters_of_the_wrong_type_are_named() {
    let app = App::start().await;
    let client = app.client(1).await;
    let message = |name: &str, value: Value| {
        let mut body =
            json!({"phone_number": PHONE, "message_id": "M", "from": "1", "type": "text"});
        body[name] = value;
        body
    };
    for (name, value) in [
        ("phone_number", Value::Null),
        ("message_id", json!(7)),
        ("content", json!({})),
        ("metadata", json!([])),
        ("unheard_of", json!(1)),
    ] {
        let pointer = pointer_of(&client, "/api/messages", message(name, value)).await;
        assert_eq!(pointer, format!("/{name}"));
    }
    assert_eq!(
        pointer_of(&client, "/api/messages", json!({})).await,
        "/phone_number"
    );
    let letter = message("type", json!("letter"));
    let (status, answer) = client.call("POST", "/api/messages", Some(letter)).await;
    let pointer = &answer["errors"][0]["pointer"];
    assert_eq!((status, pointer), (400, &json!("/type")), "{answer}");
    let body =
        json!({"phone_number": PHONE, "webhook_url": "https://a.b/", "retry_schedule": [1, -1]});
    let pointer = pointer_of(&client, "/api/webhooks/register", body).await;
    assert_eq!(pointer, "/retry_schedule/1");
    let body = json!({"to": "1", "media": {"url": 1}});
    assert_eq!(
        pointer_of(&client, "/api/messages/send", body).await,
        "/media/url"
    );

    for (method, path, _) in wahook::api::routes() {
        let path = path.replace("{webhook_id}", "01900000-0000-7000-8000-000000000000");
        let path = format!("{path}?unheard_of=1");
        let (status, answer) = client.call(&method, &path, Some(json!({}))).await;
        let pointer = &answer["errors"][0]["pointer"];
        assert_eq!(
            (status, pointer),
            (400, &json!("?unheard_of")),
            "{method} {path}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_with_a_plus_is_taken() {
    let app = App::start().await;
    let client = app.client(1).await;
    let webhook = client.register(PHONE, "http://127.0.0.1:1/").await;
    let id = webhook["id"].as_str().expect("an id");
    for path in [
        format!("/api/webhooks/{id}/events"),
        format!("/api/webhooks/{id}/stats"),
        "/api/dead-letters".to_owned(),
    ] {
        client
            .get(&format!("{path}?since=2026-11-28T00:00:00+02:00"))
            .await;
        client
            .get(&format!("{path}?since=2026-11-28T00:00:00%2B02:00"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_emoji_is_delivered_as_a_replacement_character() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    let body = format!(
        r#"{{"phone_number": "{PHONE}", "message_id": "M1", "from": "1", "type": "text",
            "content": "cut \ud83d", "metadata": {{"a\udc00": "\ud83d\ude00 \uDE00"}}}}"#
    );
    let answer = http_client()
        .post(format!("{}/api/messages", app.api))
        .bearer_auth(&client.token)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let received = receiver.wait_for(1).await;
    let body = received[0].json();
    assert_eq!(body["content"], "cut \u{fffd}");
    assert_eq!(body["metadata"]["a\u{fffd}"], "\u{1f600} \u{fffd}");
}

/// Sends a body as it is, and reads the answer as text.
async fn send_text(app: &App, client: &Client, method: Method, path: &str, body: &str) -> String {
    let answer = http_client()
        .request(method, format!("{}{path}", app.api))
        .bearer_auth(&client.token)
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a text");
    assert!(status.is_success(), "{status}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_back_as_it_was_written() {
    const GIVEN: &str = r#"{ "z": 1.0, "big": 12345678901234567890123, "a": [1e400, -0, 1E+2],
        "z": {"y": 0.10, "x": "\u00e4", "y": 2.50} }"#;
    const SHOWN: &str = concat!(
        r#""metadata":{"z":{"y":2.50,"x":"\u00e4"},"#,
        r#""big":12345678901234567890123,"a":[1e400,-0,1E+2]}"#
    );
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let url = receiver.url("/");

    let register =
        format!(r#"{{"phone_number": "{PHONE}", "webhook_url": "{url}", "metadata": {GIVEN}}}"#);
    let path = "/api/webhooks/register";
    let answer = send_text(&app, &client, Method::POST, path, &register).await;
    assert!(answer.contains(SHOWN), "{answer}");
    let webhook: Value = serde_json::from_str(&answer.replace("1e400", "0")).expect("JSON");
    let id = webhook["id"].as_str().expect("an id");
    let path = format!("/api/webhooks/{id}");
    let change = r#"{"max_retries": 2}"#;
    let answer = send_text(&app, &client, Method::PATCH, &path, change).await;
    assert!(answer.contains(SHOWN), "{answer}");
    let answer = send_text(&app, &client, Method::GET, "/api/webhooks/list", "").await;
    assert!(answer.contains(SHOWN), "{answer}");

    let publish = format!(
        r#"{{"phone_number": "{PHONE}", "message_id": "M1", "from": "1", "type": "text",
            "metadata": {GIVEN}}}"#
    );
    send_text(&app, &client, Method::POST, "/api/messages", &publish).await;
    let received = receiver.wait_for(1).await;
    let body = String::from_utf8_lossy(&received[0].body).into_owned();
    assert!(body.contains(SHOWN), "{body}");
    let events = format!("{path}/events?include=payload");
    eventually("the audit shows the same", async || {
        let page = send_text(&app, &client, Method::GET, &events, "").await;
        page.contains(SHOWN).then_some(())
    })
    .await;

    let plain = r#"{"metadata": {"a": 1}}"#;
    let answer = send_text(&app, &client, Method::PATCH, &path, plain).await;
    assert!(answer.contains(r#""metadata":{"a":1}"#), "{answer}");
    for wrong in ["[]", "1", "\"text\""] {
        let body = json!({"metadata": serde_json::from_str::<Value>(wrong).expect("JSON")});
        let pointer = pointer_of(&client, "/api/webhooks/register", body).await;
        assert_eq!(pointer, "/metadata", "{wrong}");
    }
}
