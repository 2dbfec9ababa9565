//! Attacks of a peer without a token.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::lab::{Attacker, Lab, hammer};

/// As many connections as the API holds open, and some more.
const CONNECTIONS: usize = 1_100;
/// A window so small that little of an answer leaves the server.
const WINDOW_BYTES: u32 = 2_304;

type Held = Arc<Mutex<Vec<TcpStream>>>;

fn host(url: &str) -> std::net::SocketAddr {
    let host = url.strip_prefix("http://").expect("plain HTTP");
    host.parse().expect("an address")
}

async fn connect(url: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    let _ = socket.set_recv_buffer_size(WINDOW_BYTES);
    let connecting = socket.connect(host(url));
    timeout(Duration::from_secs(5), connecting).await.ok()?.ok()
}

/// Connects, writes as long as the other end takes it, and keeps the connection.
async fn stuff(url: &str, text: &[u8], held: &Held) {
    let Some(mut stream) = connect(url).await else {
        return;
    };
    let _ = timeout(Duration::from_secs(2), stream.write_all(text)).await;
    held.lock().expect("no panic while held").push(stream);
}

/// Opens connections with this text until there are many, and again those that were closed.
async fn hold(urls: &[String], text: Vec<u8>) {
    let held = Held::default();
    let urls = urls.to_vec();
    let mut number = 0;
    loop {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let url = urls[number % urls.len()].clone();
            let text = text.clone();
            let held = Arc::clone(&held);
            number += 1;
            tasks.spawn(async move { stuff(&url, &text, &held).await });
        }
        tasks.join_all().await;
        let open = {
            let mut held = held.lock().expect("no panic while held");
            // A connection that the server has closed has an end to be read.
            held.retain(|stream| !is_closed(stream));
            held.len()
        };
        if open >= CONNECTIONS {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn is_closed(stream: &TcpStream) -> bool {
    let error = stream.take_error().ok().flatten();
    let mut byte = [0];
    let read = stream.try_read(&mut byte);
    error.is_some()
        || matches!(read, Ok(0))
        || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_and_never_read() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        let request = b"GET /api/webhooks/list HTTP/1.1\r\nhost: a\r\n\r\n";
        hold(std::slice::from_ref(&attacker.api), request.repeat(400)).await;
    };
    lab.attack("connections that ask and never read", attack)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_to_both_listeners() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        let urls = [attacker.api.clone(), attacker.admin.clone()];
        hold(&urls, b"GET /readyz HTTP/1.1\r\nhost: a\r\nx-".to_vec()).await;
    };
    lab.attack("half requests to both listeners", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        hold(std::slice::from_ref(&attacker.api), Vec::new()).await;
    };
    lab.attack("idle connections", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        hammer(32, |number| {
            let attacker = Arc::clone(&attacker);
            async move {
                let token = format!("wahook_{number:043}");
                let request = attacker
                    .http
                    .get(format!("{}/api/webhooks/list", attacker.api));
                let answer = request.bearer_auth(token).send().await;
                attacker
                    .answers
                    .note(answer.map_or(0, |answer| answer.status().as_u16()));
            }
        })
        .await;
    };
    lab.attack("wrong tokens", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_framings() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        hammer(32, |number| {
            let attacker = Arc::clone(&attacker);
            async move {
                let text = FRAMINGS[number % FRAMINGS.len()];
                let Some(mut stream) = connect(&attacker.api).await else {
                    return;
                };
                let _ = stream.write_all(text).await;
                let mut answer = Vec::new();
                let reading = stream.read_to_end(&mut answer);
                let _ = timeout(Duration::from_millis(300), reading).await;
                let head = String::from_utf8_lossy(&answer);
                let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
                attacker.answers.note(status.unwrap_or(0));
            }
        })
        .await;
    };
    lab.attack("odd framings", attack).await;
}

/// Requests that are none, or that mean two things.
const FRAMINGS: [&[u8]; 16] = [
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /%ff%00 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\
      \r\n0\r\n\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
      ffffffffffffffff\r\n",
    b"POST /api/messages HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
    b"GET /api/webhooks/list HTTP/1.1\r\nhost: a\r\nauthorization: Bearer \x01\x02\xff\r\n\r\n",
];
