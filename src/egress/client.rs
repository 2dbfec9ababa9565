//! Posting one body.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
    http::Method,
};

use super::{
    connect::Connector,
    connection::Call,
    exchange::{Answered, Exchange, Piece},
    failure::{Failure, NotMade},
    pool::Pool,
    resolver::{Guard, Lookup, System},
    stage::StageCell,
    target::{Endpoint, Target},
    text,
    tls::{self, Error},
};
use crate::{
    config,
    model::{ClientId, Outcome},
    policy,
    tasks::Tasks,
    telemetry,
};

/// A request waits no longer for its turn to look a name up than this share of its time, so that
/// enough is left for the request.
const TURN_SHARE: u32 = 4;
const USER_AGENT: &str = concat!("wahook/", env!("CARGO_PKG_VERSION"));

/// What came of one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What happened, as the customer may know it.
    pub outcome: Outcome,
    /// What happened, for operators: where customers see [`Outcome::Connect`] alone, this tells a
    /// name without addresses and an address that is not public from a closed port.
    pub cause: Outcome,
    /// The status, when there was one.
    pub http_status: Option<u16>,
    /// The first bytes of the body, as text.
    pub response: Option<String>,
    /// Why it failed, in words fit for the customer.
    pub error: Option<String>,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// From the start until all was read or lost.
    pub latency: Duration,
    /// Whether the endpoint may have taken the request although no answer came.
    pub request_written: bool,
}

/// One body to post.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    /// Whose request this is: look-ups are shared out by client.
    pub client: ClientId,
    /// Where to.
    pub target: Target,
    /// Further headers; those that HTTP does not allow are left out.
    pub headers: &'a [(&'a str, String)],
    /// JSON.
    pub body: Bytes,
}

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    pub(super) settings: Arc<config::Egress>,
    pub(super) exchange: Arc<Exchange>,
    /// Of one request.
    pub(super) total: Duration,
}

impl Client {
    /// A client whose requests take at most `total` each.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn new(settings: &config::Egress, total: Duration, tasks: &Tasks) -> Result<Self, Error> {
        Self::with_lookup(settings, total, tasks, Arc::new(System))
    }

    /// The same with a given resolver.
    ///
    /// # Errors
    /// When the root certificates cannot be read.
    pub fn with_lookup(
        settings: &config::Egress,
        total: Duration,
        tasks: &Tasks,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, Error> {
        // Connections outlive the work that the node waits for when it stops.
        let tasks = tasks.group();
        let guard = Guard::new(
            lookup,
            &settings.allow_cidrs,
            settings.dns_timeout.min(total / 2),
            total / TURN_SHARE,
            tasks.clone(),
        );
        // Shorter than the whole: a time-out later than this means that the request was written.
        let connect_timeout = settings.connect_timeout.min(total / 2);
        let tls = tls::client_config(settings)?;
        Ok(Self {
            settings: Arc::new(settings.clone()),
            exchange: Arc::new(Exchange {
                connector: Connector::new(guard, tls, settings, connect_timeout),
                pool: Pool::default(),
                tasks,
            }),
            total,
        })
    }

    /// Keeps at most so many idle connections, each for so long; each has an open file.
    #[must_use]
    pub fn keep_idle(self, connections_max: usize, timeout: Duration) -> Self {
        self.exchange.pool.set_limits(connections_max, timeout);
        self
    }

    /// Judges a URL for [`post`](Self::post).
    pub fn target(&self, url: &str) -> Target {
        Target::new(url, &self.settings)
    }

    /// Posts JSON, once.
    ///
    /// # Errors
    /// When no request was made and the endpoint is not to blame: the message has to wait.
    pub async fn post(&self, post: Post<'_>) -> Result<Answer, NotMade> {
        let started = Instant::now();
        let stage = StageCell::new();
        let answered = match post.target.endpoint() {
            Err(failure) => Err(failure),
            Ok(endpoint) => {
                let call = Call {
                    endpoint: Arc::clone(endpoint),
                    method: Method::POST,
                    fields: fields(post.headers),
                    body: post.body,
                };
                let sending = self.exchange.send(post.client, &call, &stage, self.total);
                match sending.await {
                    Ok(answered) => Ok(self.read(answered, &call, started).await),
                    Err(failure) => Err(failure),
                }
            }
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(Failure::NotMade(why)) if !stage.is_written() => Err(why),
            Err(failure) => Ok(failed(failure, started, stage.is_written())),
        }
    }

    /// The status decides; a body that breaks, drips or never ends only shortens what is kept of
    /// it.
    async fn read(&self, answered: Answered, call: &Call, started: Instant) -> Answer {
        let Answered {
            status,
            fields,
            retry_after,
            body,
        } = answered;
        let mut kept = Vec::new();
        let room_max = self.settings.response_bytes_max;
        let mut whole = None;
        if let Some(mut unread) = body {
            loop {
                match unread.next().await {
                    Piece::Bytes(bytes) => {
                        let room = room_max - kept.len();
                        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                        if bytes.len() > room {
                            break;
                        }
                    }
                    Piece::End => {
                        whole = Some(unread);
                        break;
                    }
                    Piece::Broken(_) => break,
                }
            }
        }
        let latency = started.elapsed();
        if let Some(unread) = whole {
            unread.recycle(&self.exchange, call).await;
        }
        let outcome = policy::outcome_of_status(status);
        Answer {
            outcome,
            cause: outcome,
            http_status: Some(status),
            response: text::shown(&kept, &fields),
            error: (outcome != Outcome::Ok).then(|| format!("the endpoint answered {status}")),
            retry_after,
            latency,
            request_written: true,
        }
    }
}

impl Call {
    pub(super) fn get(endpoint: &Arc<Endpoint>) -> Self {
        let mut fields = fields(&[]);
        fields.remove(header::CONTENT_TYPE);
        Self {
            endpoint: Arc::clone(endpoint),
            method: Method::GET,
            fields,
            body: Bytes::new(),
        }
    }
}

fn fields(headers: &[(&str, String)]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(headers.len() + 4);
    let any = HeaderValue::from_static("*/*");
    let json = HeaderValue::from_static("application/json");
    fields.insert(header::CONTENT_TYPE, json);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            fields.append(name, value);
        }
    }
    fields.entry(header::ACCEPT).or_insert(any);
    let agent = HeaderValue::from_static(USER_AGENT);
    fields.entry(header::USER_AGENT).or_insert(agent);
    fields
}

fn failed(failure: Failure, started: Instant, request_written: bool) -> Answer {
    if let Some(rule) = failure.rule() {
        telemetry::blocked(rule);
    }
    Answer {
        outcome: failure.outcome(),
        cause: failure.cause(),
        http_status: None,
        response: None,
        error: Some(failure.text().to_owned()),
        retry_after: None,
        latency: started.elapsed(),
        request_written,
    }
}
