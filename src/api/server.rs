//! Serving, with limits that `axum::serve` does not have: a deadline for headers and a bound on
//! connections.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    tasks::{TaskKind, Tasks},
};

/// After a connection could not be accepted: most often there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until cancelled; then lets requests under way end.
///
/// # Errors
/// None at present: what goes wrong on one connection ends that connection alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: config::Api,
    tasks: Tasks,
    cancel: CancellationToken,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(settings.connections_max));
    let connections = tasks.group();
    loop {
        let permit = tokio::select! {
            () = cancel.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit.expect("the semaphore is \
                never closed"),
        };
        let stream = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let router = router.clone();
        let cancel = cancel.clone();
        let header_timeout = settings.header_timeout;
        connections.once(TaskKind::Connection, async move {
            connection(stream, router, header_timeout, cancel).await;
            drop(permit);
        });
    }
    connections.wait().await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    cancel: CancellationToken,
) {
    // Small answers must not wait for more; a socket that cannot be told so works all the same.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const TEST_DEADLINE: Duration = Duration::from_secs(10);

    async fn start(
        connections_max: usize,
    ) -> (SocketAddr, CancellationToken, JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let cancel = CancellationToken::new();
        let settings = config::Api {
            listen: address,
            body_bytes_max: 1024,
            header_timeout: Duration::from_millis(200),
            request_timeout: TEST_DEADLINE,
            connections_max,
            registrations_per_minute: 1,
            secret_overlap: TEST_DEADLINE,
        };
        let token = cancel.clone();
        let router = Router::new().route("/", get(async || "hello"));
        let served = tokio::spawn(async move {
            serve(listener, router, settings, Tasks::default(), token).await
        });
        (address, cancel, served)
    }

    async fn until_closed(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        timeout(TEST_DEADLINE, stream.read_to_end(&mut text))
            .await
            .expect("is closed in time")
            .expect("is closed");
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn who_never_ends_the_headers_is_cut_off_and_makes_room() {
        let (address, ..) = start(1).await;
        let mut slow = TcpStream::connect(address).await.expect("connects");
        slow.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
            .await
            .expect("is taken");
        // The one connection allowed is the slow one: this one is served only once that is gone.
        let mut next = TcpStream::connect(address).await.expect("connects");
        next.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .expect("is taken");
        assert!(!until_closed(slow).await.contains("hello"));
        assert!(until_closed(next).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn cancelling_closes_idle_connections_and_ends() {
        let (address, cancel, served) = start(8).await;
        let mut idle = TcpStream::connect(address).await.expect("connects");
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .expect("is taken");
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        cancel.cancel();
        until_closed(idle).await;
        timeout(TEST_DEADLINE, served)
            .await
            .expect("ends in time")
            .expect("no panic")
            .expect("no error");
    }
}
