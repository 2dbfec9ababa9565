use std::net::SocketAddr;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
    time::timeout,
};

use super::*;

const TEST_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A listener that is cancelled at the end of its test.
struct Served {
    address: SocketAddr,
    cancel: CancellationToken,
    ended: JoinHandle<io::Result<()>>,
}

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        write_timeout: TEST_DEADLINE,
        connections_max: 8,
        when_full: WhenFull::Wait,
        connections_per_peer_max: 8,
        proxies: Vec::new(),
    }
}

async fn start(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/large", get(async || "x".repeat(1 << 20)));
    let ended =
        tokio::spawn(async move { serve(listener, router, limits, Tasks::default(), token).await });
    Served {
        address,
        cancel,
        ended,
    }
}

async fn until_closed(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = timeout(TEST_DEADLINE, stream.read_to_end(&mut text))
        .await
        .expect("is closed in time");
    String::from_utf8(text).expect("text")
}

async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("is taken");
    stream
}

/// The answer to a request from another address of this machine.
async fn ask_from(local: &str, address: SocketAddr) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let local: SocketAddr = local.parse().expect("an address");
    socket.bind(local).expect("an address of this machine");
    let mut stream = socket.connect(address).await.expect("connects");
    stream.write_all(LAST_REQUEST).await.expect("is taken");
    until_closed(stream).await
}

#[tokio::test]
async fn unfinished_headers_are_cut_off_and_make_room() {
    let limits = Limits {
        connections_max: 1,
        ..limits()
    };
    let served = start(limits).await;
    let slow = connect(served.address, b"GET / HTTP/1.1\r\nhost: a\r\n").await;
    // The one connection allowed is the slow one, so this one is served only once that is gone.
    let next = connect(served.address, LAST_REQUEST).await;
    assert!(!until_closed(slow).await.contains("hello"));
    assert!(until_closed(next).await.ends_with("hello"));
}

#[tokio::test]
async fn cancelling_closes_idle_connections_and_ends() {
    let served = start(limits()).await;
    let mut idle = connect(served.address, REQUEST).await;
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    served.cancel.cancel();
    until_closed(idle).await;
    timeout(TEST_DEADLINE, served.ended)
        .await
        .expect("ends in time")
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn peers_that_read_no_answer_are_cut_off() {
    let limits = Limits {
        write_timeout: Duration::from_millis(200),
        connections_max: 1,
        ..limits()
    };
    let served = start(limits).await;
    let pipelined = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(64);
    let _deaf = connect(served.address, &pipelined).await;
    // It is served only once the connection that reads nothing is closed.
    let next = connect(served.address, LAST_REQUEST).await;
    assert!(until_closed(next).await.ends_with("hello"));
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let limits = Limits {
        header_timeout: TEST_DEADLINE,
        connections_max: 3,
        connections_per_peer_max: 2,
        ..limits()
    };
    let served = start(limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(connect(served.address, b"GET / ").await);
    }
    // Beyond its bound a peer is closed at once.
    assert_eq!(ask_from("127.0.0.1:0", served.address).await, "");
    let other = ask_from("127.0.0.2:0", served.address).await;
    assert!(other.ends_with("hello"), "{other}");
}

#[tokio::test]
async fn half_requests_do_not_make_probes_wait() {
    let limits = Limits {
        header_timeout: TEST_DEADLINE,
        when_full: WhenFull::CloseOldest,
        connections_per_peer_max: usize::MAX,
        ..limits()
    };
    let served = start(limits).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(connect(served.address, b"GET / ").await);
    }
    let probe = connect(served.address, LAST_REQUEST).await;
    assert!(until_closed(probe).await.ends_with("hello"));
    assert_eq!(
        until_closed(held.remove(0)).await,
        "",
        "the oldest is closed"
    );
}
