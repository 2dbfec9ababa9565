//! Asks the listener of probes, as an orchestrator would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::bail;
use axum::{
    body::{Body, to_bytes},
    http::{Request, header::HOST},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Whether the node that listens there answers 2xx, and what it says. One that listens on all
/// addresses is asked on loopback.
///
/// # Errors
/// When it does not answer.
pub async fn ask_probe(mut listen: SocketAddr, path: &str) -> anyhow::Result<(bool, String)> {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let stream = TcpStream::connect(listen).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, listen.to_string())
        .body(Body::empty())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let is_well = answer.status().is_success();
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await?;
        anyhow::Ok((is_well, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => match ended {
            Ok(()) => bail!("the connection was closed"),
            Err(error) => Err(error.into()),
        },
    }
}
