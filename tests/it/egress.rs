//! The way out, on real sockets: where it goes, how long it takes, how much it reads.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use wahook::{
    config::{self, Sources},
    egress::{Answer, Client, Lookup},
    model::Outcome,
};

const TOTAL: Duration = Duration::from_secs(1);

/// The defaults, or those of a test that may call this machine.
fn settings(local: bool) -> config::Egress {
    let defaults = config::load(&Sources::default())
        .expect("the defaults are right")
        .config
        .egress;
    if !local {
        return config::Egress {
            allow_http: true,
            ..defaults
        };
    }
    config::Egress {
        allow_http: true,
        allow_cidrs: vec!["127.0.0.0/8".parse().expect("a range")],
        ..defaults
    }
}

/// Counts connections and gives each to `serve`.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send + 'static>(serve: fn(TcpStream) -> F) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook", self.port)
    }
}

async fn post(client: &Client, url: &str) -> Answer {
    let headers = [("webhook-id", "1".to_owned())];
    client
        .post(
            client.target(url),
            &headers,
            Bytes::from_static(b"{\"secret\":\"body\"}"),
        )
        .await
}

/// Reads a request's head and body of known length, as far as tests need it.
async fn read_request(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer).await;
}

async fn answer_ok(mut stream: TcpStream) {
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
}

/// A resolver that answers with the next of its answers, the last one for ever.
struct Answers {
    all: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Lookup for Answers {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.all[turn.min(self.all.len() - 1)].clone())
    }
}

#[tokio::test]
async fn no_spelling_of_a_private_address_reaches_a_socket() {
    let canary = Server::start(answer_ok).await;
    let client = Client::new(&settings(false), TOTAL).expect("a client");
    let hosts = [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
        "localhost",
        "169.254.169.254",
        "①②⑦.0.0.1",
        "a.localhost",
        "LOCALHOST.",
    ];
    for host in hosts {
        let answer = post(&client, &canary.url(host)).await;
        assert_eq!(
            (answer.outcome, answer.http_status),
            (Outcome::Blocked, None),
            "{host}"
        );
        assert!(!answer.request_written);
    }
    assert_eq!(canary.connections(), 0);
    // The canary can be reached, by a client that may: the test can fail.
    let allowed = Client::new(&settings(true), TOTAL).expect("a client");
    assert_eq!(
        post(&allowed, &canary.url("127.0.0.1")).await.outcome,
        Outcome::Ok
    );
    assert_eq!(canary.connections(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_reaches_no_private_address() {
    let canary = Server::start(answer_ok).await;
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    // 192.0.2.0/24 is forbidden too, so the public half of an answer is one that nothing listens
    // on.
    let public: IpAddr = "8.8.8.8".parse().expect("an address");
    for all in [
        vec![vec![local]],
        vec![vec![public, local]],
        vec![vec![local, public]],
    ] {
        let lookup = Arc::new(Answers {
            all,
            asked: AtomicUsize::new(0),
        });
        let client =
            Client::with_lookup(&settings(false), TOTAL, lookup.clone()).expect("a client");
        for _ in 0..3 {
            assert_eq!(
                post(&client, &canary.url("rebind.example")).await.outcome,
                Outcome::Blocked
            );
        }
        assert!(
            lookup.asked.load(Ordering::SeqCst) >= 3,
            "each request is judged again"
        );
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_resolver_that_never_answers_is_given_up() {
    struct Silent;
    #[async_trait]
    impl Lookup for Silent {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }
    let client = Client::with_lookup(&settings(false), TOTAL, Arc::new(Silent)).expect("a client");
    let answer = post(&client, "http://silent.example/").await;
    assert_eq!(answer.outcome, Outcome::Dns);
    assert!(
        answer.latency < TOTAL + Duration::from_millis(300),
        "{:?}",
        answer.latency
    );
}

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
    let client = Client::new(&settings(true), TOTAL).expect("a client");
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
    let client = Client::new(&settings(true), Duration::from_secs(20)).expect("a client");
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
    let client = Client::new(&settings(true), TOTAL).expect("a client");
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
        post(&client, "http://no-such-host.invalid/").await.outcome,
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
async fn a_certificate_is_believed_only_when_its_root_is_known() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
        })
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let bodies = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&bodies);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(server));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    });
    let client = Client::new(&settings(true), TOTAL).expect("a client");
    assert_eq!(post(&client, &url).await.outcome, Outcome::Tls);
    assert_eq!(
        bodies.load(Ordering::SeqCst),
        0,
        "nothing is sent before the certificate is believed"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, cert.pem()).expect("writes");
    let trusting = config::Egress {
        root_ca_file: Some(file),
        ..settings(true)
    };
    let client = Client::new(&trusting, TOTAL).expect("a client");
    assert_eq!(post(&client, &url).await.outcome, Outcome::Ok);
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(answer_ok).await;
    let client = Client::new(&settings(true), TOTAL).expect("a client");
    for _ in 0..5 {
        assert_eq!(
            post(&client, &server.url("127.0.0.1")).await.outcome,
            Outcome::Ok
        );
    }
    assert_eq!(server.connections(), 1);
}

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
    let client = Client::new(&settings(true), TOTAL).expect("a client");
    let served = Server::start(file).await;
    let got = client
        .get(&served.url("127.0.0.1"), 5)
        .await
        .expect("a file of exactly that size");
    assert_eq!(
        (&got.bytes[..], got.content_type.as_str()),
        (&b"hello"[..], "image/png")
    );
    assert!(
        client
            .get(&Server::start(cut).await.url("127.0.0.1"), 1000)
            .await
            .is_err()
    );
    let error = client
        .get(&Server::start(elsewhere).await.url("127.0.0.1"), 1000)
        .await
        .expect_err("not followed");
    assert!(error.contains("302"), "{error}");

    let guarded = Client::new(&settings(false), TOTAL).expect("a client");
    let before = served.connections();
    assert!(
        guarded.get(&served.url("127.0.0.1"), 5).await.is_err(),
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
    let client = Client::new(&settings(true), TOTAL * 20).expect("a client");
    for server in [Server::start(announced).await, Server::start(endless).await] {
        let began = Instant::now();
        let error = client
            .get(&server.url("127.0.0.1"), 1000)
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
    let client = Client::new(&settings(true), TOTAL).expect("a client");
    let began = Instant::now();
    let error = client
        .get(&server.url("127.0.0.1"), 1000)
        .await
        .expect_err("too slow");
    assert!(
        began.elapsed() >= TOTAL && began.elapsed() < TOTAL * 10,
        "{:?}",
        began.elapsed()
    );
    assert!(!error.contains("127.0.0.1") && !error.is_empty(), "{error}");
}
