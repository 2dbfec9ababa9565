//! A request and its answer, on whichever connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, body::Incoming, http::response};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, timeout_at},
};

use super::{
    connect::Connector,
    connection::{self, Broken, Call, Connection, Received, Started},
    failure::{Failure, NotMade},
    pool::Pool,
    stage::{Stage, StageCell},
};
use crate::{model::ClientId, tasks::Tasks};

/// How long closed connections need to free their files.
const SHED_PAUSE: Duration = Duration::from_millis(20);

/// What requests share.
pub(super) struct Exchange {
    pub(super) connector: Connector,
    pub(super) pool: Pool,
    pub(super) tasks: Tasks,
}

/// An answer whose head is here.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) fields: HeaderMap,
    pub(super) retry_after: Option<String>,
    pub(super) body: Option<Unread>,
}

/// How a request gets its connection.
enum Begin {
    Reused(Connection),
    /// With its turn, where one new connection may serve many.
    New(Option<OwnedMutexGuard<()>>),
}

/// A body that is read piece by piece, until the request's deadline.
pub(super) struct Unread {
    incoming: Incoming,
    connection: Connection,
    deadline: Instant,
}

/// A piece of a body.
pub(super) enum Piece {
    Bytes(Bytes),
    End,
    Broken(Failure),
}

impl Exchange {
    /// Makes a request; its answer's head is here in `time`, and so is its body.
    pub(super) async fn send(
        &self,
        client: ClientId,
        call: &Call,
        stage: &StageCell,
        time: Duration,
    ) -> Result<Answered, Failure> {
        let deadline = Instant::now() + time;
        let sending = self.try_send(client, call, stage);
        let (received, connection) = timeout_at(deadline, sending)
            .await
            .unwrap_or_else(|_| Err(stage.timed_out()))?;
        Ok(match received {
            Received::Whole(response) => {
                let (
                    response::Parts {
                        status, headers, ..
                    },
                    incoming,
                ) = response.into_parts();
                Answered {
                    status: status.as_u16(),
                    retry_after: headers
                        .get(hyper::header::RETRY_AFTER)
                        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
                    fields: headers,
                    body: Some(Unread {
                        incoming,
                        connection,
                        deadline,
                    }),
                }
            }
            Received::Status(status, retry_after) => Answered {
                status,
                fields: HeaderMap::new(),
                retry_after,
                body: None,
            },
        })
    }

    /// Endpoints close idle connections, and a request may be on its way just then. So a reused
    /// connection that breaks before a byte of the answer is no failure of the attempt: the request
    /// is made once more, on a new connection. Browsers and curl do the same.
    async fn try_send(
        &self,
        client: ClientId,
        call: &Call,
        stage: &StageCell,
    ) -> Result<(Received, Connection), Failure> {
        let turn = match self.begin(call, stage).await {
            Begin::New(turn) => turn,
            Begin::Reused(mut connection) => {
                stage.set(Stage::Answer);
                match send_on(&mut connection, call).await {
                    Ok(received) => return Ok((received, connection)),
                    Err(broken) if broken.is_untouched => None,
                    Err(broken) => return Err(broken.failure),
                }
            }
        };
        let mut connection = self.connect(client, call, stage).await?;
        drop(turn);
        stage.set(Stage::Answer);
        match send_on(&mut connection, call).await {
            Ok(received) => Ok((received, connection)),
            Err(broken) => Err(broken.failure),
        }
    }

    /// A connection that is there, or the right to make one.
    async fn begin(&self, call: &Call, stage: &StageCell) -> Begin {
        let origin = &call.endpoint.origin;
        if let Some(connection) = self.pool.take(origin) {
            return Begin::Reused(connection);
        }
        stage.set(Stage::Connect);
        let Some(turn) = self.pool.connect_turn(origin) else {
            return Begin::New(None);
        };
        let turn = turn.lock_owned().await;
        // Somebody may have made one meanwhile.
        if let Some(newest) = self.pool.newest_http2(origin) {
            newest.settled().await;
        }
        match self.pool.take(origin) {
            Some(connection) => Begin::Reused(connection),
            None => Begin::New(Some(turn)),
        }
    }

    /// A new connection.
    async fn connect(
        &self,
        client: ClientId,
        call: &Call,
        stage: &StageCell,
    ) -> Result<Connection, Failure> {
        let origin = &call.endpoint.origin;
        stage.set(Stage::Connect);
        let mut link = self.connector.connect(client, origin, stage).await;
        if matches!(link, Err(Failure::NotMade(NotMade::OpenFiles))) && self.pool.shed() {
            sleep(SHED_PAUSE).await;
            link = self.connector.connect(client, origin, stage).await;
        }
        match connection::start(link?, &self.tasks, self.pool.idle_timeout()).await? {
            Started::Http1(connection) => Ok(Connection::Http1(connection)),
            Started::Http2(connection) => self
                .pool
                .share(origin, connection)
                .ok_or(Failure::Protocol("the endpoint takes no requests")),
        }
    }
}

/// A request that is given up at its deadline leaves an HTTP/2 connection that may be dead, which
/// nothing would tell the next request.
async fn send_on(connection: &mut Connection, call: &Call) -> Result<Received, Broken> {
    let mut doubt = connection.doubt();
    let sent = connection.send(call).await;
    doubt.is_over = true;
    sent
}

impl Unread {
    /// The length that the endpoint announced.
    pub(super) fn announced(&self) -> Option<u64> {
        use hyper::body::Body;
        self.incoming.size_hint().exact()
    }

    /// The next piece.
    pub(super) async fn next(&mut self) -> Piece {
        loop {
            match timeout_at(self.deadline, self.incoming.frame()).await {
                Err(_) => return Piece::Broken(Failure::Timeout),
                Ok(None) => return Piece::End,
                Ok(Some(Err(_))) => return Piece::Broken(Failure::Reset),
                Ok(Some(Ok(frame))) => {
                    self.connection.progressed();
                    if let Ok(bytes) = frame.into_data() {
                        return Piece::Bytes(bytes);
                    }
                }
            }
        }
    }

    /// Gives the connection back; the body was read to its end.
    pub(super) async fn recycle(self, exchange: &Exchange, call: &Call) {
        drop(self.incoming);
        if let Some(connection) = self.connection.freed().await {
            exchange.pool.put(&call.endpoint.origin, connection);
        }
    }
}
