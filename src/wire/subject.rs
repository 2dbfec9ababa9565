//! Subjects, partitions and dedupe ids. `partitions` is how many there are, `partition` the number
//! of one.

use sha2::{Digest, Sha256};

use crate::model::{ClientId, Delivery, EventId, Message, Phone, SessionId};

/// The partition of a client's phone number, as the server's `partition(partitions,1,2)` computes
/// it: FNV-1a 32 over the bytes of both tokens without a separator (`nats-server`,
/// `server/subject_transform.go`).
pub fn partition(client: ClientId, phone: &Phone, partitions: u16) -> u16 {
    let client = client.to_string();
    let hash = client
        .bytes()
        .chain(phone.as_str().bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    u16::try_from(hash % u32::from(partitions)).expect("less than their number")
}

/// Where a message is published; the stream stores it under its partition.
pub fn message(client: ClientId, phone: &Phone) -> String {
    format!("wa.msg.{client}.{}", phone.as_str())
}

/// Where a due retry appears.
pub fn retry(partitions: u16, client: ClientId, phone: &Phone) -> String {
    format!(
        "wa.retry.{}.{client}.{}",
        partition(client, phone, partitions),
        phone.as_str()
    )
}

/// The filter for all new messages of a partition.
pub fn messages_in(partition: u16) -> String {
    format!("wa.msg.{partition}.>")
}

/// The filter for all due retries of a partition.
pub fn retries_in(partition: u16) -> String {
    format!("wa.retry.{partition}.>")
}

/// Where a delivery waits for its time. One subject per event: parking it again replaces the
/// earlier schedule.
pub fn park(client: ClientId, event: EventId) -> String {
    format!("wa.park.{client}.{}", event.0.simple())
}

/// Where the messages of a paused or disabled webhook wait.
pub fn hold(client: ClientId, phone: &Phone) -> String {
    format!("wa.hold.{client}.{}", phone.as_str())
}

/// All of those of a client.
pub fn holds_of(client: ClientId) -> String {
    format!("wa.hold.{client}.*")
}

/// Where a message waits for those before it in its chat. One subject per event: it is in line
/// once.
pub fn chat(partitions: u16, delivery: &Delivery) -> String {
    let Delivery {
        client_id: client,
        phone,
        chat,
        event_id,
        ..
    } = delivery;
    format!(
        "{}.{chat}.{}",
        lines(partitions, *client, phone),
        event_id.0.simple()
    )
}

/// All that wait in a chat.
pub fn chat_queue(partitions: u16, client: ClientId, phone: &Phone, chat: &str) -> String {
    format!("{}.{chat}.*", lines(partitions, client, phone))
}

/// An event's place, whatever its chat.
pub fn queued_in_any_chat(
    partitions: u16,
    client: ClientId,
    phone: &Phone,
    event: EventId,
) -> String {
    format!(
        "{}.*.{}",
        lines(partitions, client, phone),
        event.0.simple()
    )
}

/// All that wait in chats of a number.
pub fn chat_queues_of(partitions: u16, client: ClientId, phone: &Phone) -> String {
    format!("{}.>", lines(partitions, client, phone))
}

/// All that wait in chats of a partition.
pub fn chat_queues_in(partition: u16) -> String {
    format!("wa.chat.{partition}.>")
}

fn lines(partitions: u16, client: ClientId, phone: &Phone) -> String {
    format!(
        "wa.chat.{}.{client}.{}",
        partition(client, phone, partitions),
        phone.as_str()
    )
}

/// Who waits where, as the subject tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// Whose it is.
    pub client_id: ClientId,
    /// The number that it came to.
    pub phone: Phone,
    /// Stands for the chat.
    pub chat: String,
    /// What waits.
    pub event_id: EventId,
}

impl QueueEntry {
    /// From a subject of [`chat`].
    pub fn parse(subject: &str) -> Option<Self> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let [_, _, _, client, phone, chat, event] = tokens[..] else {
            return None;
        };
        let event_id = EventId(event.parse().ok()?);
        Some(Self {
            client_id: client.parse().ok()?,
            phone: phone.parse().ok()?,
            chat: chat.to_owned(),
            event_id,
        })
    }
}

/// Where it is asked whether an attempt is on record.
pub const RECORDED: &str = "wa.ask.recorded";

/// Where what was given up lies.
pub fn dead_letter(client: ClientId, phone: &Phone) -> String {
    format!("wa.dlq.{client}.{}", phone.as_str())
}

/// Where the bytes go that nobody can read, by the stream they came from.
pub fn undecodable(stream: &str) -> String {
    format!("wa.undecodable.{stream}")
}

/// All that was given up of a client's.
pub fn dead_letters_of(client: ClientId) -> String {
    format!("wa.dlq.{client}.*")
}

/// Where the node that runs a session takes requests to send.
pub fn send(client: ClientId, session: SessionId) -> String {
    format!("wa.send.{client}.{session}")
}

/// Where the results of a partition go.
pub fn result(partition: u16) -> String {
    format!("wa.result.{partition}")
}

/// `Nats-Msg-Id` of a message: the same for every publish of it, whoever publishes. Stream-wide,
/// hence with the client.
pub fn message_dedupe_id(message: &Message) -> String {
    let client = message.client_id.to_string();
    dedupe_id(&[
        client.as_str(),
        message.phone.as_str(),
        &message.chat,
        &message.from,
        message.message_id.as_str(),
        message.kind.as_str(),
    ])
}

/// 32 hex digits that stand for these parts. Each counts with its length: no two lists give the
/// same bytes.
pub fn dedupe_id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
