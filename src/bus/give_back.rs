//! Giving messages back to the server.

use std::time::Duration;

use async_nats::{
    RequestErrorKind,
    jetstream::{self, AckKind},
};
use tokio::time::{sleep, timeout};

/// Between two tries to give a message back that nobody heard of.
pub(super) const NAK_PAUSE: Duration = Duration::from_millis(200);
/// How long the server may take to say that it has heard of the first NAK of many.
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// What became of giving a message back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nak {
    Confirmed,
    /// The consumer has no leader, so it can be done again.
    Unheard,
    /// No answer came. Done again, it could give back what another node has by now.
    Unknown,
}

/// Gives a message back, with the server's word on it. async-nats takes any answer for a
/// confirmation, also the one that nobody listens.
pub(super) async fn confirm_nak(message: &jetstream::Message, after: Option<Duration>) -> Nak {
    let Some(reply) = message.reply.clone() else {
        return Nak::Unknown;
    };
    let kind = AckKind::Nak(after).into();
    match message.context.client().request(reply, kind).await {
        Ok(_) => Nak::Confirmed,
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Nak::Unheard,
        Err(error) => {
            tracing::debug!(%error, "no word on a message that was given back");
            Nak::Unknown
        }
    }
}

/// In the order of their stream.
pub(super) fn sort(messages: &mut [jetstream::Message]) {
    messages.sort_by_key(|message| message.info().map_or(0, |info| info.stream_sequence));
}

/// Gives messages back in the order of their stream. Whether the server has confirmed it; while
/// their consumer has no leader, it is done again, since a lost NAK costs `ack_wait`.
pub(super) async fn nak_in_order(mut messages: Vec<jetstream::Message>) -> bool {
    sort(&mut messages);
    loop {
        match nak_all(&messages).await {
            Nak::Confirmed => return true,
            Nak::Unknown => return false,
            Nak::Unheard => sleep(NAK_PAUSE).await,
        }
    }
}

/// The server handles the acknowledgements of a consumer in the order in which they come. So its
/// word on the first one says that there is a leader, and that on the last one stands for all.
/// Without a word all are sent, too: it may be on its way.
async fn nak_all(messages: &[jetstream::Message]) -> Nak {
    let Some((first, others)) = messages.split_first() else {
        return Nak::Confirmed;
    };
    let heard = timeout(HEARD_WITHIN, confirm_nak(first, None)).await;
    let heard = heard.unwrap_or(Nak::Unknown);
    let Some((last, between)) = others.split_last().filter(|_| heard != Nak::Unheard) else {
        return heard;
    };
    for message in between {
        if message.ack_with(AckKind::Nak(None)).await.is_err() {
            return Nak::Unknown;
        }
    }
    confirm_nak(last, None).await
}
