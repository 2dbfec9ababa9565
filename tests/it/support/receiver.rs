//! A customer's endpoint: answers as told, remembers every request.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinHandle};

/// One request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Checks the signature as the Standard Webhooks specification tells receivers to.
    pub(crate) fn signed_by(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD
            .decode(secret.strip_prefix("whsec_").expect("a secret"))
            .expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
        mac.update(
            format!(
                "{}.{}.",
                self.header("webhook-id"),
                self.header("webhook-timestamp")
            )
            .as_bytes(),
        );
        mac.update(&self.body);
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| signature == expected)
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// 200, after so long.
    Slow(Duration),
    /// This status, after so long.
    Late(Duration, u16),
    /// Nothing, ever.
    Hang,
}

impl Reply {
    pub(crate) fn status(code: u16) -> Self {
        Self::Status(code, Vec::new())
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
}

/// The endpoint; gone when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Answers with these in turn; the last one for ever (200 when there is none).
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let shared = Arc::new(Shared {
            replies: Mutex::new(replies.into_iter().collect()),
            ..Shared::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serves until aborted");
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) async fn answering(codes: &[u16]) -> Self {
        Self::start(codes.iter().copied().map(Reply::status)).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared
            .received
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// The messages that came, in their order.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.received()
            .iter()
            .map(|one| one.json()["message_id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// From now on, answers so.
    pub(crate) fn reply(&self, reply: Reply) {
        *self.shared.replies.lock().expect("no panic while held") = VecDeque::from([reply]);
    }

    /// Waits until at least so many requests came.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        super::app::eventually(&format!("{count} requests came"), async || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 4 << 20)
        .await
        .expect("a small body")
        .to_vec();
    let received = Received {
        at,
        headers: parts.headers,
        body,
    };
    shared
        .received
        .lock()
        .expect("no panic while held")
        .push(received);
    let reply = {
        let mut replies = shared.replies.lock().expect("no panic while held");
        if replies.len() > 1 {
            replies.pop_front()
        } else {
            replies.front().cloned()
        }
    };
    let mut reply = reply.unwrap_or(Reply::status(200));
    if let Reply::Slow(time) = reply {
        tokio::time::sleep(time).await;
        reply = Reply::status(200);
    }
    if let Reply::Late(time, code) = reply {
        tokio::time::sleep(time).await;
        reply = Reply::status(code);
    }
    match reply {
        Reply::Hang | Reply::Slow(_) | Reply::Late(..) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            unreachable!("the test ended long ago");
        }
        Reply::Status(code, headers) => {
            let mut response =
                Response::builder().status(StatusCode::from_u16(code).expect("a status"));
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response
                .body(Body::from(format!("answer {code}")))
                .expect("a response")
        }
    }
}
