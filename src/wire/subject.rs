//! Subjects, partitions and dedupe ids. `partitions` is their number, `partition` is the index of
//! one.

use sha2::{Digest, Sha256};

use crate::model::{ChatKey, ClientId, Delivery, EventId, Message, Phone, Quota, SessionId, hex};

/// The partition of a client's phone number, as the server's `partition(partitions,1,2)` computes
/// it: FNV-1a 32 over the bytes of both tokens without a separator (`nats-server`,
/// `server/subject_transform.go`).
///
/// # Examples
///
/// ```
/// use wahook::{model::{ClientId, Phone}, wire::partition};
///
/// let client = ClientId::try_from(1)?;
/// let phone: Phone = "4915112345678".parse()?;
/// assert!(partition(client, &phone, 8) < 8);
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
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

/// The subject that a message is published to. The stream stores it under its partition.
///
/// # Examples
///
/// ```
/// use wahook::{model::ClientId, wire::subject};
///
/// let client = ClientId::try_from(1)?;
/// assert_eq!(subject::message(client, &"4915112345678".parse()?), "wa.msg.1.4915112345678");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
pub fn message(client: ClientId, phone: &Phone) -> String {
    format!("wa.msg.{client}.{}", phone.as_str())
}

/// The subject under which WA_MSG has a message of this partition.
pub fn stored_message(partition: u16, client: ClientId, phone: &Phone) -> String {
    format!("wa.msg.{partition}.{client}.{}", phone.as_str())
}

/// The subject that the scheduler publishes a due retry to.
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

/// The subject on which a delivery is scheduled for later. There is one per event, so a new
/// schedule replaces the earlier one.
pub fn park(client: ClientId, event: EventId) -> String {
    format!("wa.park.{client}.{}", event.0.simple())
}

/// The subject of the log of a session's keys.
pub fn session_keys(session: SessionId) -> String {
    format!("wa.keys.{session}")
}

/// The filter for the logs of all sessions' keys.
pub const ALL_SESSION_KEYS: &str = "wa.keys.*";

/// The session whose keys a log has.
pub fn session_of(log: &str) -> Option<SessionId> {
    log.strip_prefix("wa.keys.")?.parse().ok()
}

/// The filter for all parts of snapshots of a session's keys.
pub fn session_key_parts(session: SessionId) -> String {
    format!("{}.part.*", session_keys(session))
}

/// The subject of one part of the snapshot that the record of this epoch and number is. No two
/// owners of a session write the same one.
pub fn session_key_part(session: SessionId, epoch: u64, number: u64, part: u16) -> String {
    format!("{}.part.{epoch}-{number}-{part}", session_keys(session))
}

/// The subject of the held deliveries of a paused or disabled webhook.
pub fn hold(client: ClientId, phone: &Phone) -> String {
    format!("wa.hold.{client}.{}", phone.as_str())
}

/// The filter for all held deliveries of a client.
pub fn holds_of(client: ClientId) -> String {
    format!("wa.hold.{client}.*")
}

/// The subject of a delivery in its chat queue; `None` when it has no chat key. There is one per
/// event, so an event is in the queue once.
pub fn queued(partitions: u16, delivery: &Delivery) -> Option<String> {
    let Delivery {
        client_id: client,
        phone,
        chat_key,
        event_id,
        ..
    } = delivery;
    let chat_key = chat_key.as_ref()?;
    Some(format!(
        "{}.{chat_key}.{}",
        chat_queues(partitions, *client, phone),
        event_id.0.simple()
    ))
}

/// The filter for a chat queue.
pub fn chat_queue(partitions: u16, client: ClientId, phone: &Phone, chat_key: &ChatKey) -> String {
    format!("{}.{chat_key}.*", chat_queues(partitions, client, phone))
}

/// The filter for one event in the queue of any chat.
pub fn queued_in_any_chat(
    partitions: u16,
    client: ClientId,
    phone: &Phone,
    event: EventId,
) -> String {
    format!(
        "{}.*.{}",
        chat_queues(partitions, client, phone),
        event.0.simple()
    )
}

/// The filter for all chat queues of a number.
pub fn chat_queues_of(partitions: u16, client: ClientId, phone: &Phone) -> String {
    format!("{}.>", chat_queues(partitions, client, phone))
}

/// The filter for all chat queues of a partition.
pub fn chat_queues_in(partition: u16) -> String {
    format!("wa.chat.{partition}.>")
}

fn chat_queues(partitions: u16, client: ClientId, phone: &Phone) -> String {
    format!(
        "wa.chat.{}.{client}.{}",
        partition(client, phone, partitions),
        phone.as_str()
    )
}

/// An entry of a chat queue, as its subject says.
///
/// # Examples
///
/// ```
/// use wahook::wire::subject::QueueEntry;
///
/// let subject = "wa.chat.3.1.4915112345678.chat.00000000000080008000000000000001";
/// let entry = QueueEntry::parse(subject).expect("seven tokens");
/// assert_eq!(entry.phone.as_str(), "4915112345678");
/// assert_eq!(QueueEntry::parse("wa.chat.3"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// The client that owns the webhook.
    pub client_id: ClientId,
    /// The number that received the message.
    pub phone: Phone,
    /// The chat.
    pub chat_key: ChatKey,
    /// The event in the queue.
    pub event_id: EventId,
}

impl QueueEntry {
    /// Parses a subject made by [`queued`].
    pub fn parse(subject: &str) -> Option<Self> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let [_, _, _, client, phone, chat, event] = tokens[..] else {
            return None;
        };
        let event_id = EventId(event.parse().ok()?);
        Some(Self {
            client_id: client.parse().ok()?,
            phone: phone.parse().ok()?,
            chat_key: chat.to_owned().try_into().ok()?,
            event_id,
        })
    }
}

/// The subject of requests that ask whether an attempt is recorded.
pub const RECORDED: &str = "wa.ask.recorded";

/// The subject of the dead letters of a number.
pub fn dead_letter(client: ClientId, phone: &Phone) -> String {
    format!("wa.dlq.{client}.{}", phone.as_str())
}

/// The subject for unreadable payloads of a stream.
pub fn undecodable(stream: &str) -> String {
    format!("wa.undecodable.{stream}")
}

/// The filter for all dead letters of a client.
pub fn dead_letters_of(client: ClientId) -> String {
    format!("wa.dlq.{client}.*")
}

/// The counter of what a client has stored.
pub fn usage(quota: Quota, client: ClientId) -> String {
    format!("wa.usage.{}.{client}", quota.as_str())
}

/// Which counter this is the subject of.
pub fn parse_usage(subject: &str) -> Option<(Quota, ClientId)> {
    let (name, client) = subject.strip_prefix("wa.usage.")?.split_once('.')?;
    let quota = Quota::ALL
        .into_iter()
        .find(|quota| quota.as_str() == name)?;
    Some((quota, client.parse().ok()?))
}

/// Whose a stored message of this subject is, and what it counts for; `None` for what belongs to no
/// client.
///
/// # Examples
///
/// ```
/// use wahook::{model::Quota, wire::subject};
///
/// let (client, quotas) = subject::counted("wa.retry.3.7.4915112345678").expect("a client's");
/// assert_eq!((client.get(), quotas), (7, &[Quota::Waiting, Quota::Retries][..]));
/// assert_eq!(subject::counted("wa.result.3"), None);
/// ```
pub fn counted(subject: &str) -> Option<(ClientId, &'static [Quota])> {
    const NEW: &[Quota] = &[Quota::Waiting];
    const RETRIES: &[Quota] = &[Quota::Waiting, Quota::Retries];
    const QUEUED: &[Quota] = &[Quota::Waiting, Quota::ChatQueues];
    const HELD: &[Quota] = &[Quota::Waiting, Quota::Held];
    let tokens: Vec<&str> = subject.split('.').collect();
    let (client, quotas) = match tokens[..] {
        // As published, and with the partition, as stored.
        ["wa", "msg", client, _] | ["wa", "msg", _, client, _] => (client, NEW),
        ["wa", "park", client, _] | ["wa", "retry", _, client, _] => (client, RETRIES),
        ["wa", "hold", client, _] => (client, HELD),
        ["wa", "chat", _, client, _, _, _] => (client, QUEUED),
        ["wa", "dlq", client, _] => (client, &[Quota::DeadLetters][..]),
        _ => return None,
    };
    Some((client.parse().ok()?, quotas))
}

/// The subject on which the node that runs a session receives requests to send.
pub fn send(client: ClientId, session: SessionId) -> String {
    format!("wa.send.{client}.{session}")
}

/// The subject for the results of a partition.
pub fn result(partition: u16) -> String {
    format!("wa.result.{partition}")
}

/// The `Nats-Msg-Id` of a message: the same for every publish of it by any node. Ids are unique in
/// the whole stream, so the client is a part of it.
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

/// A hash over these parts in 32 hex digits. The length of each part is hashed too, so that no two
/// lists give the same bytes.
///
/// # Examples
///
/// ```
/// use wahook::wire::dedupe_id;
///
/// assert_ne!(dedupe_id(&["ab", "c"]), dedupe_id(&["a", "bc"]));
/// ```
pub fn dedupe_id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}
