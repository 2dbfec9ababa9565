//! Endpoints that misbehave, on raw sockets.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// Most that a request may have; above it the endpoint stops reading.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Makes the bytes of an answer of a request's body.
pub(crate) type Make = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// What an endpoint does with a request.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Writes these bytes after so long.
    Answer(Duration, String),
    /// Never answers.
    Hang,
    /// Interim answers without end.
    InterimFlood,
    /// A head, and then a byte of the body now and then.
    Drip,
    /// Header lines without end.
    EndlessHead,
    /// A body without end.
    EndlessBody,
    /// Closes the connection once the request is there.
    Close,
    /// Whatever this makes of the request's body.
    Made(Arc<Make>),
}

/// An endpoint; gone when dropped.
pub(crate) struct Endpoint {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            loop {
                // Without files left there is nothing to accept for a while.
                let Ok((stream, _)) = listener.accept().await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let manner = manner.clone();
                tokio::spawn(async move {
                    // The other end may leave at any time.
                    let _ = serve(stream, manner).await;
                });
            }
        });
        Self { address, task }
    }

    /// Answers with this status line, and no body, after so long.
    pub(crate) async fn answering(after: Duration, status: &str) -> Self {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        Self::start(Manner::Answer(after, answer)).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut rest = Vec::new();
    while let Some(body) = request(&mut stream, &mut rest).await? {
        match &manner {
            Manner::Answer(after, bytes) => {
                sleep(*after).await;
                stream.write_all(bytes.as_bytes()).await?;
            }
            Manner::Hang => std::future::pending::<()>().await,
            Manner::InterimFlood => loop {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            },
            Manner::Drip => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")
                    .await?;
                loop {
                    stream.write_all(b"x").await?;
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Manner::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    stream
                        .write_all(b"x-more: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
                        .await?;
                }
            }
            Manner::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
            Manner::Close => return Ok(()),
            Manner::Made(make) => {
                stream.write_all(&make(&body)).await?;
                return stream.shutdown().await;
            }
        }
    }
    Ok(())
}

/// The body of the next request; nothing when the other end has closed.
async fn request(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(head) = find(rest, b"\r\n\r\n") {
            let length = content_length(&rest[..head]);
            let end = head + 4 + length;
            if rest.len() >= end {
                let body = rest[head + 4..end].to_vec();
                rest.drain(..end);
                return Ok(Some(body));
            }
        }
        if rest.len() > REQUEST_BYTES_MAX || stream.read_buf(rest).await? == 0 {
            return Ok(None);
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}
