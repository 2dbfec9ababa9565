//! The way out, on real sockets: where it goes, how long it takes, how much it reads.

mod address;
mod answers;
mod downloads;
mod http2;
mod lookups;
mod odd_answers;
mod open_files;
mod proxy;
mod reuse;
mod tls;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wahook::{
    config::{self, Sources},
    egress::{Answer, Client, Lookup, NotMade, Post},
    model::ClientId,
    tasks::Tasks,
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

fn client(settings: &config::Egress) -> Client {
    Client::new(settings, TOTAL, &Tasks::default()).expect("a client")
}

/// A client that asks this resolver.
fn asking(settings: &config::Egress, lookup: Arc<dyn Lookup>) -> Client {
    Client::with_lookup(settings, TOTAL, &Tasks::default(), lookup).expect("a client")
}

fn tenant(id: u64) -> ClientId {
    id.try_into().expect("in range")
}

/// Knows these names alone.
struct Names(HashMap<&'static str, IpAddr>);

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.0.get(host).copied();
        Ok(vec![found.ok_or(io::ErrorKind::NotFound)?])
    }
}

fn names<const N: usize>(all: [(&'static str, &str); N]) -> Arc<Names> {
    let parse = |(name, address): (_, &str)| (name, address.parse().expect("an address"));
    Arc::new(Names(all.into_iter().map(parse).collect()))
}

/// Counts connections and gives each to `serve`.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // No open file is left. There may be one soon.
                    tokio::task::yield_now().await;
                    continue;
                };
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { port, connections }
    }

    /// Answers one request per connection with these bytes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook", self.port)
    }
}

async fn try_post(client: &Client, tenant: ClientId, url: &str) -> Result<Answer, NotMade> {
    let headers = [("webhook-id", "1".to_owned())];
    let post = Post {
        client: tenant,
        target: client.target(url),
        headers: &headers,
        body: Bytes::from_static(b"{\"secret\":\"body\"}"),
    };
    client.post(post).await
}

async fn post(client: &Client, url: &str) -> Answer {
    try_post(client, tenant(1), url)
        .await
        .expect("a request is made")
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
