//! A TCP proxy before nats-server that stops at a named point of one publish, or loses one request.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    task::JoinHandle,
};

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The publish has come, and goes no further.
    Publish,
    /// The publish went on; its acknowledgement has come, and goes no further.
    Ack,
    /// The acknowledgement went on too.
    Acked,
    /// A frame to this subject has come, and goes no further; nothing after it does.
    Subject,
    /// A frame to this subject has come, and is lost; all others go on.
    Lost,
    /// A frame to this subject went on; its acknowledgement is lost.
    LostAck,
    /// All frames of the server on this subject are lost from now on.
    Withheld,
}

struct Trap {
    at: At,
    marker: Vec<u8>,
    /// Where the acknowledgement of the marked publish will go.
    reply: Option<Vec<u8>>,
    sprung: oneshot::Sender<()>,
}

type Traps = Arc<Mutex<Option<Trap>>>;

/// The proxy; it ends when it is dropped.
pub(crate) struct NatsProxy {
    port: u16,
    traps: Traps,
    accepting: JoinHandle<()>,
}

impl Drop for NatsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl NatsProxy {
    pub(crate) async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let traps = Traps::default();
        let shared = Arc::clone(&traps);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&shared), publish));
                tokio::spawn(pass(
                    from_server,
                    to_client,
                    Arc::clone(&shared),
                    acknowledgement,
                ));
            }
        });
        Self {
            port,
            traps,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Stops at this point of the next publish of a message whose payload holds `marker`; tells
    /// when it did.
    pub(crate) fn trap(&self, at: At, marker: &str) -> oneshot::Receiver<()> {
        let (sprung, told) = oneshot::channel();
        let trap = Trap {
            at,
            marker: marker.as_bytes().to_vec(),
            reply: None,
            sprung,
        };
        *self.traps.lock().expect("no panic while held") = Some(trap);
        told
    }
}

/// What becomes of a frame.
enum Way {
    On,
    /// On, and then it is told.
    OnAndTell(oneshot::Sender<()>),
    /// Not this one.
    Nowhere(oneshot::Sender<()>),
    /// Neither this frame nor any after it.
    Stop(oneshot::Sender<()>),
    /// Not this one, and nobody is told.
    Lost,
}

fn contains(frame: &[u8], marker: &[u8]) -> bool {
    frame.windows(marker.len()).any(|window| window == marker)
}

/// `HPUB subject reply header-bytes total-bytes`.
fn publish(words: &[&[u8]], frame: &[u8], trap: &mut Option<Trap>) -> Way {
    let is_it = |trap: &Trap| {
        words[0].ends_with(b"PUB") && words.len() > 2 && contains(words[1], &trap.marker)
    };
    if let Some(trap) = trap.as_mut().filter(|trap| trap.at == At::LostAck) {
        if trap.reply.is_none() && is_it(trap) {
            trap.reply = Some(words[2].to_vec());
        }
        return Way::On;
    }
    let to_subject = |trap: &Trap| matches!(trap.at, At::Subject | At::Lost);
    if trap.as_ref().is_some_and(to_subject) {
        return match trap.take_if(|trap| is_it(trap)) {
            Some(trap) if trap.at == At::Lost => Way::Nowhere(trap.sprung),
            Some(trap) => Way::Stop(trap.sprung),
            None => Way::On,
        };
    }
    let is_message = words.len() == 5 && words[0] == b"HPUB" && words[1].starts_with(b"wa.msg.");
    if !is_message
        || !trap
            .as_ref()
            .is_some_and(|trap| contains(frame, &trap.marker))
    {
        return Way::On;
    }
    match trap.take() {
        Some(trap) if trap.at == At::Publish => Way::Stop(trap.sprung),
        Some(other) => {
            *trap = Some(Trap {
                reply: Some(words[2].to_vec()),
                ..other
            });
            Way::On
        }
        None => Way::On,
    }
}

/// `MSG subject sid bytes`, or `HMSG` with headers.
fn acknowledgement(words: &[&[u8]], _: &[u8], trap: &mut Option<Trap>) -> Way {
    let is_withheld = |trap: &Trap| {
        trap.at == At::Withheld && words.len() > 2 && contains(words[1], &trap.marker)
    };
    if trap.as_ref().is_some_and(is_withheld) {
        return Way::Lost;
    }
    let waits = |trap: &Trap| words.len() > 2 && trap.reply.as_deref() == Some(words[1]);
    match trap.take_if(|trap| waits(trap)) {
        Some(trap) if trap.at == At::Ack => Way::Stop(trap.sprung),
        Some(trap) if trap.at == At::LostAck => Way::Nowhere(trap.sprung),
        Some(trap) => Way::OnAndTell(trap.sprung),
        None => Way::On,
    }
}

type Judge = fn(&[&[u8]], &[u8], &mut Option<Trap>) -> Way;

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traps: Traps, judge: Judge) {
    let mut buffer = BytesMut::new();
    while let Some((line, frame)) = next(&mut from, &mut buffer).await {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let way = judge(
            &words,
            &frame,
            &mut traps.lock().expect("no panic while held"),
        );
        if let Way::Stop(sprung) = way {
            let _ = sprung.send(());
            // Both ends stay open; a peer that waits for more waits until it is killed.
            while next(&mut from, &mut buffer).await.is_some() {}
            return;
        }
        if matches!(way, Way::Lost) {
            continue;
        }
        if let Way::Nowhere(sprung) = way {
            let _ = sprung.send(());
            continue;
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
        if let Way::OnAndTell(sprung) = way {
            let _ = sprung.send(());
        }
    }
}

/// The next line of the protocol, and the whole frame that it begins.
async fn next(from: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Option<(Bytes, Bytes)> {
    loop {
        if let Some(end) = buffer.windows(2).position(|two| two == b"\r\n") {
            let line = Bytes::copy_from_slice(&buffer[..end]);
            let has_payload = [&b"PUB "[..], b"HPUB ", b"MSG ", b"HMSG "]
                .iter()
                .any(|verb| line.starts_with(verb));
            let payload = if has_payload {
                last_number(&line)? + 2
            } else {
                0
            };
            let whole = end + 2 + payload;
            if buffer.len() >= whole {
                return Some((line, buffer.split_to(whole).freeze()));
            }
        }
        if from.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn last_number(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(line.rsplit(|byte| *byte == b' ').next()?)
        .ok()?
        .parse()
        .ok()
}
