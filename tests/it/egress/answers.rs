//! How long an answer takes, how much of it is read, and how it breaks.

use std::time::{Duration, Instant};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use wahook::{egress::Client, model::Outcome, tasks::Tasks};

use super::{Server, TOTAL, answer_ok, client, post, read_request, settings};

#[tokio::test]
async fn what_hangs_or_drips_ends_at_the_deadline() {
    async fn hang(mut stream: TcpStream) {
        read_request(&mut stream).await;
        std::future::pending().await
    }
    async fn drip_headers(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await;
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    async fn drip_body(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 100000\r\n\r\n")
            .await;
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let client = client(&settings(true));
    let hanging = Server::start(hang).await;
    let headers = Server::start(drip_headers).await;
    let body = Server::start(drip_body).await;
    let expected = [
        (&hanging, Outcome::Timeout, None),
        (&headers, Outcome::Timeout, None),
        // The status had come: it decides, and the body is cut short.
        (&body, Outcome::Http5xx, Some(500)),
    ];
    for (server, outcome, status) in expected {
        let started = Instant::now();
        let answer = post(&client, &server.url("127.0.0.1")).await;
        let took = started.elapsed();
        assert_eq!((answer.outcome, answer.http_status), (outcome, status));
        assert!(answer.request_written);
        assert!(
            (TOTAL..TOTAL + Duration::from_millis(300)).contains(&took),
            "{took:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_to_the_cap() {
    async fn endless(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    }
    let server = Server::start(endless).await;
    let client =
        Client::new(&settings(true), Duration::from_secs(20), &Tasks::default()).expect("a client");
    let answer = post(&client, &server.url("127.0.0.1")).await;
    assert_eq!(answer.outcome, Outcome::Ok);
    assert_eq!(
        answer.response.map(|text| text.len()),
        Some(settings(true).response_bytes_max)
    );
    assert!(
        answer.latency < Duration::from_secs(5),
        "{:?}",
        answer.latency
    );
}

#[tokio::test]
async fn each_way_to_break_has_its_name() {
    async fn reset(mut stream: TcpStream) {
        read_request(&mut stream).await;
    }
    async fn nonsense(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"220 smtp.example ready\r\n\r\n").await;
    }
    let client = client(&settings(true));
    let resetting = Server::start(reset).await;
    let smtp = Server::start(nonsense).await;
    assert_eq!(
        post(&client, &resetting.url("127.0.0.1")).await.outcome,
        Outcome::Reset
    );
    assert_eq!(
        post(&client, &smtp.url("127.0.0.1")).await.outcome,
        Outcome::Protocol
    );
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port")
        .local_addr()
        .expect("an address");
    let answer = post(&client, &format!("http://{unused}/")).await;
    assert_eq!(
        (answer.outcome, answer.request_written),
        (Outcome::Connect, false)
    );
    assert_eq!(
        post(&client, "http://no-such-host.invalid/").await.cause,
        Outcome::Dns
    );
    assert_eq!(
        post(
            &client,
            &resetting.url("127.0.0.1").replace("http:", "https:")
        )
        .await
        .outcome,
        Outcome::Tls
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(answer_ok).await;
    let client = client(&settings(true));
    for _ in 0..5 {
        assert_eq!(
            post(&client, &server.url("127.0.0.1")).await.outcome,
            Outcome::Ok
        );
    }
    assert_eq!(server.connections(), 1);
}
