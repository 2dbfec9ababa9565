//! Endpoints that speak HTTP/2.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::{
    Reason, RecvStream,
    server::{self, Connection, SendResponse},
};
use hyper::{Request, Response};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use wahook::{config, egress::Client, model::Outcome, tasks::Tasks};

use super::{
    Server, TOTAL, post,
    tls::{Identity, https, tls_server},
};

type Stream = (Request<RecvStream>, SendResponse<Bytes>);
type Serving = Connection<TlsStream<TcpStream>, Bytes>;

/// A server that speaks nothing but HTTP/2, and a client that trusts it.
struct Http2 {
    server: Server,
    client: Client,
    settings: config::Egress,
    _folder: TempDir,
}

impl Http2 {
    async fn start<S, F>(builder: server::Builder, serve: S) -> Self
    where
        S: Fn(Serving) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let identity = Identity::local();
        let acceptor = identity.acceptor(&[b"h2"]);
        let server = Server::start(move |stream| {
            let acceptor = acceptor.clone();
            let builder = builder.clone();
            let serve = serve.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(connection) = builder.handshake(stream).await {
                    serve(connection).await;
                }
            }
        })
        .await;
        let (settings, folder) = identity.trusted();
        let client = Client::new(&settings, TOTAL * 2, &Tasks::default()).expect("a client");
        Self {
            server,
            client,
            settings,
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        https(&self.server, "127.0.0.1")
    }
}

async fn answer((request, mut respond): Stream) {
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(Ok(piece)) = body.data().await {
        bytes += piece.len();
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
        return;
    };
    let _ = stream.send_data(format!("read {bytes}").into(), true);
}

async fn answer_all(mut connection: Serving) {
    while let Some(Ok(stream)) = connection.accept().await {
        tokio::spawn(answer(stream));
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let http2 = Http2::start(server::Builder::new(), answer_all).await;
    let url = http2.url();
    let first = post(&http2.client, &url).await;
    assert_eq!(first.outcome, Outcome::Ok, "{first:?}");
    assert_eq!(first.response.as_deref(), Some("read 17"));
    let posts = join_all((0..40).map(|_| post(&http2.client, &url))).await;
    assert!(posts.iter().all(|answer| answer.outcome == Outcome::Ok));
    assert_eq!(http2.server.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_that_knows_only_http_1_is_not_asked_for_more() {
    let identity = Identity::local();
    let (server, _) = tls_server(identity.acceptor(&[b"http/1.1"])).await;
    let (settings, _folder) = identity.trusted();
    let answer = post(&super::client(&settings), &https(&server, "127.0.0.1")).await;
    assert_eq!(answer.http_status, Some(204), "{answer:?}");
}

#[tokio::test]
async fn the_endpoints_limit_of_streams_is_kept() {
    const STREAMS_MAX: u32 = 2;
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS_MAX);
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let http2 = Http2::start(builder, move |mut connection| {
        let most = Arc::clone(&seen);
        async move {
            let open = Arc::new(AtomicUsize::new(0));
            while let Some(Ok(stream)) = connection.accept().await {
                let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    answer(stream).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    })
    .await;
    let url = http2.url();
    post(&http2.client, &url).await;
    let posts = join_all((0..8).map(|_| post(&http2.client, &url))).await;
    for answer in posts {
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    }
    assert!(most.load(Ordering::SeqCst) <= STREAMS_MAX as usize);
    // Those for whom there was no place made connections of their own.
    assert!(
        (2..=4).contains(&http2.server.connections()),
        "{}",
        http2.server.connections()
    );
}

#[tokio::test]
async fn a_refused_stream_is_tried_on_another_connection() {
    let refused = Arc::new(AtomicBool::new(false));
    let http2 = Http2::start(server::Builder::new(), move |mut connection| {
        let refused = Arc::clone(&refused);
        async move {
            let mut number = 0;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                number += 1;
                if number == 2 && !refused.swap(true, Ordering::SeqCst) {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    continue;
                }
                tokio::spawn(answer((request, respond)));
            }
        }
    })
    .await;
    let url = http2.url();
    for _ in 0..3 {
        let answer = post(&http2.client, &url).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    }
    assert_eq!(http2.server.connections(), 2);
}

#[tokio::test]
async fn an_endpoint_that_goes_away_finishes_what_it_took() {
    let http2 = Http2::start(server::Builder::new(), async |mut connection| {
        let mut is_leaving = false;
        while let Some(Ok(stream)) = connection.accept().await {
            if !is_leaving {
                is_leaving = true;
                connection.graceful_shutdown();
            }
            tokio::spawn(answer(stream));
        }
    })
    .await;
    let url = http2.url();
    for _ in 0..4 {
        let answer = post(&http2.client, &url).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    }
    assert!(
        http2.server.connections() >= 2,
        "{}",
        http2.server.connections()
    );
}

#[tokio::test]
async fn an_endpoint_that_goes_away_before_a_request_gets_it_on_another_connection() {
    let http2 = Http2::start(server::Builder::new(), async |mut connection| {
        // Leaves as a server does whose process ends: without a word, when the next request comes.
        if let Some(Ok(stream)) = connection.accept().await {
            let answering = tokio::spawn(answer(stream));
            let _ = connection.accept().await;
            let _ = answering.await;
        }
    })
    .await;
    let url = http2.url();
    for _ in 0..4 {
        let answer = post(&http2.client, &url).await;
        assert_eq!(answer.outcome, Outcome::Ok, "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_on_which_a_request_hung_is_not_used_again() {
    let http2 = Http2::start(server::Builder::new(), async |mut connection| {
        let Some(Ok(stream)) = connection.accept().await else {
            return;
        };
        tokio::spawn(answer(stream));
        let mut kept = Vec::new();
        while let Some(Ok(stream)) = connection.accept().await {
            kept.push(stream);
        }
    })
    .await;
    let url = http2.url();
    let outcomes = [
        post(&http2.client, &url).await.outcome,
        post(&http2.client, &url).await.outcome,
        post(&http2.client, &url).await.outcome,
    ];
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Timeout, Outcome::Ok]);
}

#[tokio::test]
async fn interim_answers_are_bounded_with_http_2_too() {
    let http2 = Http2::start(server::Builder::new(), async |mut connection| {
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut hints = 0;
                loop {
                    let hint = Response::builder().status(103).body(()).expect("valid");
                    if respond.send_informational(hint).is_err() {
                        return;
                    }
                    hints += 1;
                    if hints % 50 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
    })
    .await;
    // The flood is as long as the limit, and the machine may be busy.
    let tasks = Tasks::default();
    let client = Client::new(&http2.settings, TOTAL * 60, &tasks).expect("a client");
    let answer = post(&client, &http2.url()).await;
    assert_eq!(answer.outcome, Outcome::Protocol, "{answer:?}");
}
