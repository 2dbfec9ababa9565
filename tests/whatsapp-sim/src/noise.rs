//! The responder's side of the Noise handshake, and framed stanzas after it.

use anyhow::{Context, bail};
use buffa::Message as _;
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_websockets::{Message, WebSocketStream};
use wacore_binary::{
    OwnedNodeRef,
    consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, WA_CONN_HEADER},
    marshal,
    util::unpack_bytes,
};
use wacore_noise::{
    NoiseCipher, NoiseHandshake,
    framing::{FrameDecoder, encode_frame},
};
use whatsapp_rust::{wacore::libsignal::protocol::KeyPair, waproto::whatsapp as wa};

use crate::{
    Server,
    keys::{own_attr, public, rng},
    state::Out,
    watch::Seen,
};

type Socket = WebSocketStream<TcpStream>;

/// What a handshake leads to.
pub(crate) struct Secured {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// The client's static key.
    pub(crate) client: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
}

pub(crate) struct Reader {
    frames: Frames,
    cipher: NoiseCipher,
    counter: u32,
}

pub(crate) struct Writer {
    sink: SplitSink<Socket, Message>,
    cipher: NoiseCipher,
    counter: u32,
}

/// Bytes to frames.
struct Frames {
    stream: SplitStream<Socket>,
    decoder: FrameDecoder,
    is_first: bool,
}

impl Frames {
    async fn next(&mut self) -> anyhow::Result<bytes::BytesMut> {
        loop {
            if let Some(frame) = self.decoder.decode_frame() {
                return Ok(frame);
            }
            let message = self.stream.next().await.context("the client is gone")??;
            if message.is_close() {
                bail!("the client closed the connection");
            }
            if !message.is_binary() {
                continue;
            }
            let bytes = Bytes::from(message.into_payload());
            let rest = if std::mem::take(&mut self.is_first) {
                after_header(&bytes)?
            } else {
                &bytes
            };
            self.decoder.feed(rest);
        }
    }
}

/// The first bytes may be routing information; then comes the header, once.
fn after_header(bytes: &[u8]) -> anyhow::Result<&[u8]> {
    let bytes = match bytes.strip_prefix(b"ED\x00\x01") {
        Some([a, b, c, rest @ ..]) => {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            rest.get(length..).context("routing information is cut")?
        }
        _ => bytes,
    };
    bytes
        .strip_prefix(&WA_CONN_HEADER[..])
        .context("no WhatsApp header")
}

fn key(bytes: Option<Vec<u8>>) -> anyhow::Result<[u8; 32]> {
    bytes
        .unwrap_or_default()
        .try_into()
        .ok()
        .context("a key has 32 bytes")
}

fn hello(ephemeral: &[u8; 32], identity: Option<Vec<u8>>, certificate: Vec<u8>) -> Vec<u8> {
    let hello = wa::handshake_message::ServerHello {
        ephemeral: Some(ephemeral.to_vec()),
        r#static: identity,
        payload: Some(certificate),
        ..Default::default()
    };
    let server_hello = buffa::MessageField::some(hello);
    wa::HandshakeMessage {
        server_hello,
        ..Default::default()
    }
    .encode_to_vec()
}

async fn send(sink: &mut SplitSink<Socket, Message>, bytes: &[u8]) -> anyhow::Result<()> {
    sink.send(Message::binary(encode_frame(bytes, None)?))
        .await?;
    Ok(())
}

/// Does the handshake: IK when the client knows our key, XX when not.
pub(crate) async fn accept(server: &Server, socket: TcpStream) -> anyhow::Result<Secured> {
    let (_, socket) = tokio_websockets::ServerBuilder::new()
        .accept(socket)
        .await?;
    let (mut sink, stream) = socket.split();
    let mut frames = Frames {
        stream,
        decoder: FrameDecoder::new(),
        is_first: true,
    };
    let message = wa::HandshakeMessage::decode_from_slice(&frames.next().await?)?;
    let client_hello = message.client_hello.into_option().context("no hello")?;
    let theirs = key(client_hello.ephemeral)?;
    let (noise, client, payload) = match (client_hello.r#static, client_hello.payload) {
        (Some(sealed), Some(payload)) => {
            accept_known(server, &mut sink, &theirs, &sealed, &payload).await?
        }
        _ => accept_new(server, &mut sink, &mut frames, &theirs).await?,
    };
    // The server reads with the cipher that the client writes with.
    let (read, write) = noise.finish()?;
    Ok(Secured {
        reader: Reader {
            frames,
            cipher: read,
            counter: 0,
        },
        writer: Writer {
            sink,
            cipher: write,
            counter: 0,
        },
        client,
        payload: wa::ClientPayload::decode_from_slice(&payload)?,
    })
}

/// The handshake so far, the client's static key, and the payload of its login.
type Accepted = (NoiseHandshake, [u8; 32], Vec<u8>);

/// IK: the client knows the server's key.
async fn accept_known(
    server: &Server,
    sink: &mut SplitSink<Socket, Message>,
    theirs: &[u8; 32],
    sealed: &[u8],
    payload: &[u8],
) -> anyhow::Result<Accepted> {
    let ephemeral = KeyPair::generate(&mut rng());
    let ours = public(&ephemeral.public_key);
    let identity = &server.0.identity;
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(&public(&identity.public_key));
    noise.authenticate(theirs);
    noise.mix_shared_secret(identity.private_key.serialize(), theirs)?;
    let client = key(Some(noise.decrypt(sealed)?))?;
    noise.mix_shared_secret(identity.private_key.serialize(), &client)?;
    let payload = noise.decrypt(payload)?;
    noise.authenticate(&ours);
    noise.mix_shared_secret(ephemeral.private_key.serialize(), theirs)?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client)?;
    let certificate = noise.encrypt(&server.0.certificate)?;
    send(sink, &hello(&ours, None, certificate)).await?;
    Ok((noise, client, payload))
}

/// XX: the client does not know the server's key yet.
async fn accept_new(
    server: &Server,
    sink: &mut SplitSink<Socket, Message>,
    frames: &mut Frames,
    theirs: &[u8; 32],
) -> anyhow::Result<Accepted> {
    let ephemeral = KeyPair::generate(&mut rng());
    let ours = public(&ephemeral.public_key);
    let identity = &server.0.identity;
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER)?;
    noise.authenticate(theirs);
    noise.authenticate(&ours);
    noise.mix_shared_secret(ephemeral.private_key.serialize(), theirs)?;
    let sealed = noise.encrypt(&public(&identity.public_key))?;
    noise.mix_shared_secret(identity.private_key.serialize(), theirs)?;
    let certificate = noise.encrypt(&server.0.certificate)?;
    send(sink, &hello(&ours, Some(sealed), certificate)).await?;
    let message = wa::HandshakeMessage::decode_from_slice(&frames.next().await?)?;
    let finish = message.client_finish.into_option().context("no finish")?;
    let client = key(Some(noise.decrypt(&finish.r#static.unwrap_or_default())?))?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client)?;
    let payload = noise.decrypt(&finish.payload.unwrap_or_default())?;
    Ok((noise, client, payload))
}

impl Reader {
    pub(crate) async fn next(&mut self) -> anyhow::Result<OwnedNodeRef> {
        let mut frame = self.frames.next().await?;
        self.cipher
            .decrypt_in_place_with_counter(self.counter, &mut frame)?;
        self.counter += 1;
        Ok(OwnedNodeRef::new(unpack_bytes(frame)?)?)
    }
}

impl Writer {
    /// Writes until a `Close` or `Abort` comes, or until all senders are gone.
    pub(crate) async fn run(mut self, mut stanzas: mpsc::Receiver<Out>, server: Server) {
        while let Some(out) = stanzas.recv().await {
            let Out::Stanza(stanza) = out else {
                if matches!(out, Out::Close) {
                    let _ = self.sink.close().await;
                }
                return;
            };
            let Ok(mut bytes) = marshal(&stanza) else {
                return;
            };
            if self
                .cipher
                .encrypt_in_place_with_counter(self.counter, &mut bytes)
                .is_err()
            {
                return;
            }
            self.counter += 1;
            if send(&mut self.sink, &bytes).await.is_err() {
                return;
            }
            if stanza.tag == "message" {
                server
                    .seen(Seen::Sent {
                        id: own_attr(&stanza, "id"),
                    })
                    .await;
            }
        }
    }
}
