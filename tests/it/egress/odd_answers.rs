//! Answers as the web has them: the status decides, whatever the rest looks like.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use wahook::{egress::Client, model::Outcome, tasks::Tasks};

use super::{Server, TOTAL, client, post, read_request, settings};

fn many(line: &str, times: usize) -> String {
    (0..times)
        .map(|number| format!("{}\r\n", line.replace('N', &number.to_string())))
        .collect()
}

fn with_fields(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\nok")
}

/// Heads that some server sends, each after `HTTP/1.1 200 OK`.
fn odd_heads() -> Vec<String> {
    let mut heads: Vec<String> = [
        "X Space: 1\r\n",
        "X-Space : 1\r\n",
        " leading: 1\r\n",
        "PHP Warning: Undefined in /a.php on line 3\r\n",
        "<br /><b>Notice</b>\r\n",
        ": no name\r\n",
        "x-empty:\r\n",
        "x-nul: a\0b\r\n",
        "x-control: a\x01b\r\n",
        "x-del: a\x7fb\r\n",
        "x-utf8: é\r\n",
        "x-naïve: 1\r\n",
        "x-folded: a\r\n b\r\n\tc\r\n",
        "content-length: two\r\n",
        "content-length: -1\r\n",
        "content-length: 2, 3\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length: 0x2\r\n",
        "content-length:\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n",
        "transfer-encoding: chunky\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "connection: \"close\r\n",
        "{\"json\": true}\r\n",
        "HTTP/1.1 200 OK\r\n",
        "retry-after: \u{fffd}\r\n",
        "date: yesterday\r\n",
        "bare: line\n",
        "x@y: 1\r\n",
        "\r",
    ]
    .iter()
    .map(|fields| with_fields(fields))
    .collect();
    heads.push(with_fields(&many("Set-Cookie: cN=v", 101)));
    heads.push(with_fields(&many("Set-Cookie: cN=v", 1001)));
    heads.push(with_fields(&format!("x-long: {}\r\n", "x".repeat(200_000))));
    heads.push(with_fields(&format!(
        "x-huge: {}\r\n",
        "x".repeat(2_000_000)
    )));
    heads.push(with_fields(&format!("{}: 1\r\n", "n".repeat(100_000))));
    // The head never ends, but the connection does.
    heads.push("HTTP/1.1 200 OK\r\ncontent-le".to_owned());
    heads.push("HTTP/1.1 200\r\n".to_owned());
    heads.push("HTTP/1.0 200 OK\nx: y\n\nok".to_owned());
    heads.push("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned());
    heads.push("HTTP/1.1 200 \u{fffd}\u{fffd}\r\n\r\n".to_owned());
    heads
}

#[tokio::test]
async fn a_readable_status_is_the_outcome_whatever_the_head() {
    let client = client(&settings(true));
    let mut wrong = Vec::new();
    for head in odd_heads() {
        let server = Server::answering(head.clone()).await;
        let answer = post(&client, &server.url("127.0.0.1")).await;
        if (answer.outcome, answer.http_status) != (Outcome::Ok, Some(200))
            || server.connections() != 1
        {
            let shown: String = head.chars().take(80).collect();
            wrong.push((shown, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_failure_keeps_its_status_and_the_wait_it_asks_for() {
    let client = client(&settings(true));
    let head = "HTTP/1.1 503 No\r\nContent-Length: two\r\nRetry-After: 20\r\n\r\nbusy";
    let server = Server::answering(head).await;
    let answer = post(&client, &server.url("127.0.0.1")).await;
    assert_eq!(answer.outcome, Outcome::Http5xx);
    assert_eq!(answer.retry_after.as_deref(), Some("20"));
    assert_eq!(answer.error.as_deref(), Some("the endpoint answered 503"));
}

#[tokio::test]
async fn what_is_no_answer_is_still_none() {
    let client = client(&settings(true));
    for text in [
        "ICY 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "220 smtp.example ready\r\n\r\n",
        "<html>200</html>\r\n\r\n",
    ] {
        let server = Server::answering(text).await;
        let answer = post(&client, &server.url("127.0.0.1")).await;
        assert_eq!(
            (answer.outcome, answer.http_status),
            (Outcome::Protocol, None),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn interim_answers_are_bounded() {
    let total = TOTAL * 20;
    let client = Client::new(&settings(true), total, &Tasks::default()).expect("a client");
    let few = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(5);
    let server = Server::answering(format!("{few}HTTP/1.1 204 No Content\r\n\r\n")).await;
    let answer = post(&client, &server.url("127.0.0.1")).await;
    assert_eq!(answer.http_status, Some(204));

    let flood = Server::start(async |mut stream| {
        read_request(&mut stream).await;
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
        while stream.write_all(&many).await.is_ok() {}
    })
    .await;
    let one_by_one = Server::start(async |mut stream| {
        read_request(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    for server in [flood, one_by_one] {
        let started = Instant::now();
        let answer = post(&client, &server.url("127.0.0.1")).await;
        assert_eq!(answer.outcome, Outcome::Protocol, "{answer:?}");
        assert!(started.elapsed() < total / 2, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_answers_text_is_for_people() {
    let client = client(&settings(true));
    let max = settings(true).response_bytes_max;
    let mut body = vec![b'a'];
    body.extend("é".repeat(max).as_bytes());
    let mut long = b"HTTP/1.1 400 Bad\r\n\r\n".to_vec();
    long.extend(&body);
    let server = Server::answering(long).await;
    let text = post(&client, &server.url("127.0.0.1")).await.response;
    let text = text.expect("a text");
    assert!(
        text.ends_with('é') && text.len() + 1 == max,
        "{}",
        text.len()
    );

    let mut packed = b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\n\r\n".to_vec();
    packed.extend(b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xca\x48\xcd");
    let server = Server::answering(packed).await;
    let answer = post(&client, &server.url("127.0.0.1")).await;
    let shown = "(a body in the encoding gzip, not shown)";
    assert_eq!(answer.response.as_deref(), Some(shown));
}
