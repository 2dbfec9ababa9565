//! Peers that hold connections, and peers that guess tokens.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::app::{App, WAIT_MAX, eventually};

const HALF_REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: a\r\n";

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").expect("an http URL")
}

/// A connection that pipelines requests until its peer takes no more, and never reads.
async fn deaf(api: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2304).expect("a small buffer");
    let address = authority(api).parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("connects");
    let requests = b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n".repeat(400);
    // It blocks once all buffers are full, or fails once the server has closed it.
    let _ = timeout(Duration::from_millis(100), async {
        while stream.write_all(&requests).await.is_ok() {}
    })
    .await;
    stream
}

async fn metrics_of(app: &App) -> String {
    let answer = reqwest::get(format!("{}/metrics", app.admin)).await;
    answer.expect("an answer").text().await.expect("text")
}

fn caller_at(address: &str) -> reqwest::Client {
    let address: IpAddr = address.parse().expect("an address");
    let client = reqwest::Client::builder().local_address(address);
    client.timeout(WAIT_MAX).build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_read_no_answers_lock_nobody_out() {
    let app = App::with(&[
        ("API__CONNECTIONS_MAX", "24"),
        ("API__CONNECTIONS_PER_PEER_MAX", "16"),
        ("API__WRITE_TIMEOUT", "2s"),
    ])
    .await;
    let client = app.client(1).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(deaf(&app.api).await);
    }
    let ask = async |address: &str| {
        let request = caller_at(address).get(format!("{}/api/webhooks/list", app.api));
        let answer = request.bearer_auth(&client.token).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    assert!(
        ask("127.0.0.2").await,
        "another address is served meanwhile"
    );
    eventually("the same address is served again", async || {
        ask("127.0.0.1").await.then_some(())
    })
    .await;
    drop(held);
    let metrics = metrics_of(&app).await;
    for cause in ["peer_limit", "slow_reader"] {
        let line = format!("wahook_http_connections_closed_total{{cause=\"{cause}\"}}");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_while_others_hold_half_requests() {
    let app = App::start().await;
    let address = authority(&app.admin).to_owned();
    let mut held = Vec::new();
    for _ in 0..1200 {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        // It fails once the server has closed it for a newer one.
        let _ = stream.write_all(HALF_REQUEST).await;
        held.push(stream);
    }
    let probe = reqwest::get(format!("{}/readyz", app.admin));
    let answer = timeout(Duration::from_secs(2), probe)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_and_valid_ones_are_not() {
    let app = App::start().await;
    let client = app.client(1).await;
    let ask = |token: &str| {
        let request = caller_at("127.0.0.1").get(format!("{}/api/webhooks/list", app.api));
        request.bearer_auth(token).send()
    };
    // The answers come late once there were many, and end their connection.
    let mut is_slowed = false;
    for _ in 0..200 {
        let answer = ask("wahook_wrong").await.expect("an answer");
        assert_eq!(answer.status(), 401);
        is_slowed = answer.headers().contains_key("connection");
        if is_slowed {
            break;
        }
    }
    assert!(is_slowed, "it never was");
    let began = Instant::now();
    let slow = join_all((0..8).map(|_| ask("wahook_wrong")));
    let quick = ask(&client.token);
    tokio::select! {
        biased;
        answer = quick => assert_eq!(answer.expect("an answer").status(), 200),
        _ = slow => panic!("a valid token waited {:?}", began.elapsed()),
    }
    let metrics = metrics_of(&app).await;
    assert!(metrics.contains("wahook_api_wrong_tokens_total{slowed=\"true\"}"));
}
