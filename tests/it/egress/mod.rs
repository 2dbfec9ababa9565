//! The way out, on real sockets: where it goes, how long it takes, how much it reads.

mod address;
mod answers;
mod downloads;
mod tls;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wahook::{
    config::{self, Sources},
    egress::{Answer, Client},
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
