//! Watches the bytes that an endpoint sends, below the HTTP library.
//!
//! The library refuses an answer as a whole when one line of its head is not to its taste. An
//! attempt needs only the status, so the head is read here, too, with less care. The library also
//! reads any number of interim answers (1xx); here they are counted.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::{frames::Frames, head::Head};

/// A byte stream to an endpoint: TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The protocol of a connection, agreed on in the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

enum Scanner {
    Http1(Head),
    Http2(Frames),
}

struct State {
    scanner: Scanner,
    /// All that ever came.
    bytes: u64,
    flooded: bool,
    idle_since: Option<Instant>,
}

/// What is known of one connection. The pool, the request and the reader share it.
pub(super) struct Watch {
    state: Mutex<State>,
    /// Something came.
    came: Notify,
}

impl Watch {
    pub(super) fn new(protocol: Protocol) -> Arc<Self> {
        let scanner = match protocol {
            Protocol::Http1 => Scanner::Http1(Head::default()),
            Protocol::Http2 => Scanner::Http2(Frames::default()),
        };
        Arc::new(Self {
            state: Mutex::new(State {
                scanner,
                bytes: 0,
                flooded: false,
                idle_since: None,
            }),
            came: Notify::new(),
        })
    }

    /// A request begins. Returns the bytes that had come before.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.idle_since = None;
        match &mut state.scanner {
            Scanner::Http1(head) => *head = Head::expected(),
            Scanner::Http2(frames) => frames.progressed(),
        }
        state.bytes
    }

    /// A head or a part of a body came through, so what came was of use.
    pub(super) fn progressed(&self) {
        if let Scanner::Http2(frames) = &mut self.state().scanner {
            frames.progressed();
        }
    }

    /// All bytes that ever came.
    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// Whether the endpoint sent too much that is no answer.
    pub(super) fn is_flooded(&self) -> bool {
        self.state().flooded
    }

    /// The status of the final answer, and its `Retry-After`, as soon as its status line is here.
    /// HTTP/1 only.
    pub(super) fn status(&self) -> Option<(u16, Option<String>)> {
        match &self.state().scanner {
            Scanner::Http1(head) => Some((head.status()?, head.retry_after())),
            Scanner::Http2(_) => None,
        }
    }

    /// Waits until the settings of an HTTP/2 endpoint are here.
    pub(super) async fn settled(&self) {
        loop {
            let came = self.came.notified();
            if self.streams_max().is_some() {
                return;
            }
            came.await;
        }
    }

    /// Requests at once that an HTTP/2 endpoint allows, once its settings are here.
    pub(super) fn streams_max(&self) -> Option<usize> {
        match &self.state().scanner {
            Scanner::Http1(_) => None,
            Scanner::Http2(frames) => usize::try_from(frames.streams_max()?).ok(),
        }
    }

    /// Nobody uses the connection from now on.
    pub(super) fn rest(&self) {
        self.state().idle_since = Some(Instant::now());
    }

    /// How long the connection may still be idle; zero when it was idle for too long.
    pub(super) fn idle_left(&self, idle_timeout: Duration) -> Duration {
        self.state().idle_since.map_or(idle_timeout, |since| {
            idle_timeout.saturating_sub(since.elapsed())
        })
    }

    fn receive(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.bytes += bytes.len() as u64;
        let is_bearable = match &mut state.scanner {
            Scanner::Http1(head) => head.push(bytes),
            Scanner::Http2(frames) => frames.push(bytes),
        };
        if is_bearable {
            drop(state);
            self.came.notify_waiters();
            return Ok(());
        }
        state.flooded = true;
        Err(io::Error::other("too much came that is no answer"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose incoming bytes are watched.
pub(super) struct Watched {
    pub(super) stream: Box<dyn Stream>,
    pub(super) watch: Arc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.watch.receive(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
