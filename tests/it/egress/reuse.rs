//! Connections that are used again, and those that break just then.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wahook::model::Outcome;

use super::{Server, TOTAL, client, post, read_request, settings};
use crate::support::app::eventually;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers the first request of a connection. Of the second it reads the beginning, sends this,
/// and closes.
async fn answer_once(mut stream: TcpStream, then: &'static [u8]) {
    read_request(&mut stream).await;
    let _ = stream.write_all(OK).await;
    read_request(&mut stream).await;
    let _ = stream.write_all(then).await;
}

#[tokio::test]
async fn a_reused_connection_that_breaks_before_the_answer_is_no_failure() {
    let server = Server::start(|stream| answer_once(stream, b"")).await;
    let client = client(&settings(true));
    for _ in 0..6 {
        let answer = post(&client, &server.url("127.0.0.1")).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    }
    assert_eq!(server.connections(), 6);
}

#[tokio::test]
async fn a_reused_connection_that_breaks_within_the_answer_is_a_failure() {
    let server = Server::start(|stream| answer_once(stream, b"HTTP/1.")).await;
    let client = client(&settings(true));
    let url = server.url("127.0.0.1");
    assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    let broken = post(&client, &url).await;
    assert!(matches!(broken.outcome, Outcome::Reset | Outcome::Protocol));
    assert_eq!(server.connections(), 1, "not sent again");
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_a_failure() {
    let server = Server::start(async |mut stream| read_request(&mut stream).await).await;
    let client = client(&settings(true));
    let broken = post(&client, &server.url("127.0.0.1")).await;
    assert_eq!(
        (broken.outcome, broken.request_written),
        (Outcome::Reset, true)
    );
    assert_eq!(server.connections(), 1, "not sent again");
}

#[tokio::test]
async fn the_second_try_is_the_last() {
    let number = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |mut stream| {
        let is_first = number.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                return answer_once(stream, b"").await;
            }
            read_request(&mut stream).await;
        }
    })
    .await;
    let client = client(&settings(true));
    let url = server.url("127.0.0.1");
    assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    assert_eq!(post(&client, &url).await.outcome, Outcome::Reset);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_bounded_in_all() {
    const IDLE_MAX: usize = 3;
    let open = Arc::new(AtomicUsize::new(0));
    let client = client(&settings(true)).keep_idle(IDLE_MAX, TOTAL * 60);
    let mut servers = Vec::new();
    for _ in 0..8 {
        let open = Arc::clone(&open);
        let serve = move |mut stream: TcpStream| {
            let open = Arc::clone(&open);
            async move {
                open.fetch_add(1, Ordering::SeqCst);
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(OK).await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
            }
        };
        servers.push(Server::start(serve).await);
    }
    for server in &servers {
        let answer = post(&client, &server.url("127.0.0.1")).await;
        assert_eq!(answer.outcome, Outcome::Ok);
    }
    eventually("the others are closed", async || {
        (open.load(Ordering::SeqCst) == IDLE_MAX).then_some(())
    })
    .await;
    // The youngest are kept.
    let before = servers[7].connections();
    post(&client, &servers[7].url("127.0.0.1")).await;
    assert_eq!(servers[7].connections(), before);
}

#[tokio::test]
async fn idle_connections_are_bounded_in_time() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&closed);
    let server = Server::start(move |stream| {
        let closed = Arc::clone(&counter);
        async move {
            super::answer_ok(stream).await;
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let client = client(&settings(true)).keep_idle(8, TOTAL / 5);
    let url = server.url("127.0.0.1");
    assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    eventually("the idle connection is closed", async || {
        (closed.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    assert_eq!(server.connections(), 2);
}
