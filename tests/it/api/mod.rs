//! What callers of the admin API are told when something is wrong, and how lists go on.

mod abuse;
mod changes;
mod input;
mod lists;
mod paging;
mod races;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    app::{App, WAIT_MAX, http_client},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

/// The bytes that come back for these bytes, until the server closes the connection.
async fn raw(url: &str, request: &str) -> String {
    let address = url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let read = timeout(WAIT_MAX, stream.read_to_end(&mut answer));
    // A connection that is closed with bytes unread ends in a reset.
    let _ = read.await.expect("ends in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends it and checks everything that holds for every problem; the answer's headers stay readable.
async fn problem(
    request: RequestBuilder,
    status: u16,
    code: &str,
) -> (reqwest::header::HeaderMap, Value) {
    let answer: Response = request
        .header("x-request-id", "my-id.1")
        .send()
        .await
        .expect("an answer");
    let got = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!((got, &body["code"]), (status, &json!(code)), "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["x-request-id"], "my-id.1");
    assert_eq!(
        (&body["status"], &body["request_id"]),
        (&json!(status), &json!("my-id.1"))
    );
    assert_eq!(
        (&body["type"], &body["instance"]),
        (
            &json!(format!("urn:wahook:problem:{code}")),
            &json!("/requests/my-id.1")
        )
    );
    assert!(
        body["title"].is_string() && body["detail"].is_string(),
        "{body}"
    );
    (headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_route_method_token_or_scope_is_a_problem_of_one_form() {
    let app = App::start().await;
    let reader = app.client_with(1, &["webhooks:read"]).await;
    let http = http_client();
    let call = |method: Method, path: &str| http.request(method, format!("{}{path}", app.api));

    problem(call(Method::GET, "/nowhere"), 404, "not_found").await;
    let (headers, _) = problem(
        call(Method::PUT, "/api/webhooks/list"),
        405,
        "method_not_allowed",
    )
    .await;
    assert!(
        headers["allow"]
            .to_str()
            .is_ok_and(|allow| allow.contains("GET"))
    );
    let (headers, _) = problem(call(Method::GET, "/api/webhooks/list"), 401, "unauthorized").await;
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"wahook\"");
    problem(
        call(Method::GET, "/api/webhooks/list").bearer_auth("wahook_unknown"),
        401,
        "unauthorized",
    )
    .await;
    let (headers, _) = problem(
        call(Method::GET, "/api/dead-letters").bearer_auth(&reader.token),
        403,
        "missing_scope",
    )
    .await;
    assert!(
        headers["www-authenticate"]
            .to_str()
            .is_ok_and(|text| text.contains("insufficient_scope"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_a_problem_of_one_form() {
    let app = App::with(&[("API__BODY_BYTES_MAX", "1KiB")]).await;
    let client = app.client(1).await;
    let http = http_client();
    let post = |path: &str| {
        http.post(format!("{}{path}", app.api))
            .bearer_auth(&client.token)
    };

    problem(post("/api/messages").body("{}"), 415, "not_json").await;
    let json_body = |text: String| {
        post("/api/messages")
            .header("content-type", "application/json")
            .body(text)
    };
    problem(json_body("{".to_owned()), 400, "invalid_json").await;
    problem(
        json_body("{\"unheard_of\":1}".to_owned()),
        400,
        "invalid_json",
    )
    .await;
    problem(
        json_body(format!("\"{}\"", "x".repeat(2 * 1024))),
        413,
        "too_large",
    )
    .await;
    let message =
        json!({"phone_number": PHONE, "message_id": "M1", "from": "4915100000001", "type": "text"});
    problem(post("/api/messages").json(&message), 404, "no_webhook").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_registration_names_each_field_and_counts_for_the_limit() {
    let app = App::with(&[
        ("API__REGISTRATIONS_PER_MINUTE", "5"),
        ("EGRESS__ALLOW_CIDRS", "127.0.0.1/32"),
    ])
    .await;
    let client = app.client(1).await;
    let http = http_client();
    let register = || {
        http.post(format!("{}/api/webhooks/register", app.api))
            .bearer_auth(&client.token)
    };

    let pointers = |body: &Value| -> Vec<String> {
        let errors = body["errors"].as_array().expect("errors").iter();
        errors
            .map(|error| error["pointer"].as_str().expect("a pointer").to_owned())
            .collect()
    };
    let bad = json!({
        "phone_number": "+49", "webhook_url": "http://169.254.169.254/", "client_id": 2,
        "max_retries": 21,
        "rate_per_second": 2, "burst": 121,
    });
    let (_, body) = problem(register().json(&bad), 400, "invalid_request").await;
    let mut wrong = pointers(&body);
    wrong.sort();
    assert_eq!(
        wrong,
        [
            "/burst",
            "/client_id",
            "/max_retries",
            "/phone_number",
            "/webhook_url"
        ]
    );

    // The limit counts what is refused, too: four of five are left.
    let good = json!({"phone_number": PHONE, "webhook_url": "http://127.0.0.1:1/"});
    for expected in [201, 200, 200, 200] {
        let answer = register().json(&good).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), expected);
    }
    let (headers, _) = problem(register().json(&good), 429, "too_many_requests").await;
    let wait: u64 = headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=61).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_shown_as_it_is_sent_and_refused_when_it_cannot_be() {
    let app = App::start().await;
    let client = app.client(1).await;
    let shown = client
        .register(PHONE, " HTTP://LOCALHOST:80/a/../b\n")
        .await;
    assert_eq!(shown["webhook_url"], json!("http://localhost/b"));
    let path = format!("/api/webhooks/{}", shown["id"].as_str().expect("an id"));
    for url in [
        "http://localhost:0/",
        "http://localhost/a b",
        "http:localhost",
        "http://a..b/",
    ] {
        let change = json!({"webhook_url": url});
        let (status, body) = client.call("PATCH", &path, Some(change)).await;
        assert_eq!(status, 400, "{url}");
        assert_eq!(body["errors"][0]["pointer"], json!("/webhook_url"), "{url}");
    }
    let change = json!({"webhook_url": "http://127.1:080/"});
    let (_, changed) = client.call("PATCH", &path, Some(change)).await;
    assert_eq!(changed["webhook_url"], json!("http://127.0.0.1/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_it_stopped_and_a_cursor_serves_no_other_list() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    for number in 1..=5 {
        let id = format!("M{number}");
        client.publish(PHONE, &id).await;
        client.event_when(&webhook, &id, "delivered").await;
    }
    let base = format!(
        "/api/webhooks/{}/events",
        webhook["id"].as_str().expect("an id")
    );
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    let mut first_cursor = None;
    loop {
        let page = client.get(&format!("{base}{query}")).await;
        let data = page["data"].as_array().expect("a list");
        seen.extend(
            data.iter()
                .map(|event| event["message_id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        first_cursor.get_or_insert(cursor.to_owned());
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["M5", "M4", "M3", "M2", "M1"]);

    let cursor = first_cursor.expect("three pages");
    for path in [
        format!("{base}?status=failed&cursor={cursor}"),
        format!("/api/dead-letters?cursor={cursor}"),
    ] {
        let (status, body) = client.call("GET", &path, None).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid_cursor")),
            "{path}"
        );
    }
    for wrong in [
        "limit=0",
        "limit=251",
        "status=lost",
        "since=yesterday",
        "unheard_of=1",
    ] {
        let (status, body) = client.call("GET", &format!("{base}?{wrong}"), None).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid_request")),
            "{wrong}"
        );
    }
}
