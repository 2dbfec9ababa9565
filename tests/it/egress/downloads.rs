//! Files that are to be sent.

use std::time::Instant;

use tokio::{io::AsyncWriteExt, net::TcpStream};
use wahook::{egress::Client, tasks::Tasks};

use super::{Server, TOTAL, client, read_request, settings, tenant};

#[tokio::test]
async fn a_file_is_got_whole_or_not_at_all() {
    async fn file(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: Image/PNG; a=b\r\ncontent-length: 5\r\n\r\nhello";
        let _ = stream.write_all(head.as_bytes()).await;
    }
    async fn cut(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
            .await;
    }
    async fn elsewhere(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let head =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
    }
    let client = client(&settings(true));
    let served = Server::start(file).await;
    let got = client
        .get(tenant(1), &served.url("127.0.0.1"), 5)
        .await
        .expect("a file of exactly that size");
    assert_eq!(
        (&got.bytes[..], got.content_type.as_str()),
        (&b"hello"[..], "Image/PNG; a=b")
    );
    assert!(
        client
            .get(tenant(1), &Server::start(cut).await.url("127.0.0.1"), 1000)
            .await
            .is_err()
    );
    let error = client
        .get(
            tenant(1),
            &Server::start(elsewhere).await.url("127.0.0.1"),
            1000,
        )
        .await
        .expect_err("not followed");
    assert!(error.contains("302"), "{error}");

    let guarded = super::client(&settings(false));
    let before = served.connections();
    assert!(
        guarded
            .get(tenant(1), &served.url("127.0.0.1"), 5)
            .await
            .is_err(),
        "the rules for webhook URLs hold"
    );
    assert_eq!(served.connections(), before);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_as_soon_as_that_shows() {
    /// Says so, and sends nothing of it.
    async fn announced(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
            .await;
        tokio::time::sleep(TOTAL * 60).await;
    }
    /// Says nothing, and never ends.
    async fn endless(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        while stream.write_all(b"64\r\n").await.is_ok() {
            let _ = stream.write_all(&[b'x'; 100]).await;
            let _ = stream.write_all(b"\r\n").await;
        }
    }
    let client = Client::new(&settings(true), TOTAL * 20, &Tasks::default()).expect("a client");
    for server in [Server::start(announced).await, Server::start(endless).await] {
        let began = Instant::now();
        let error = client
            .get(tenant(1), &server.url("127.0.0.1"), 1000)
            .await
            .expect_err("too large");
        assert_eq!(error, "it is larger than 1000 bytes");
        assert!(began.elapsed() < TOTAL * 10, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_file_that_drips_is_given_up_at_the_deadline() {
    async fn drip(mut stream: TcpStream) {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(TOTAL / 10).await;
        }
    }
    let server = Server::start(drip).await;
    let client = client(&settings(true));
    let began = Instant::now();
    let error = client
        .get(tenant(1), &server.url("127.0.0.1"), 1000)
        .await
        .expect_err("too slow");
    assert!(
        began.elapsed() >= TOTAL && began.elapsed() < TOTAL * 10,
        "{:?}",
        began.elapsed()
    );
    assert!(!error.contains("127.0.0.1") && !error.is_empty(), "{error}");
}
