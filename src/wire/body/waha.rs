//! The format of WAHA.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    BodySummary, Source,
    bounded::{TooLong, json, json_bytes},
    native,
    parts::{Object, Parts, bare, is_scalar, jid, merged, object},
};
use crate::model::{FormatOption, Kind};

const DOMAIN: &str = "c.us";
/// The engine of WAHA's that is most like this: no browser. Receivers know a closed list of names.
const ENGINE: &str = "NOWEB";
/// The body of a longer message does not hold its native form, so that the body still fits into the
/// stream.
const NATIVE_FORM_BYTES_MAX: usize = 256 * 1024;

#[derive(Serialize)]
struct Body<'a> {
    id: String,
    timestamp: i64,
    event: &'static str,
    session: String,
    metadata: Map<String, Value>,
    me: Value,
    payload: Payload<'a>,
    engine: &'static str,
    environment: Value,
}

#[derive(Serialize)]
struct Payload<'a> {
    /// WAHA has the data of its engine here; wahook has its native form.
    _data: Option<native::Body<'a>>,
    #[serde(flatten)]
    fields: Value,
}

pub(super) fn body(source: &Source<'_>) -> Result<Vec<u8>, TooLong> {
    let parts = Parts::of(source.message);
    let (event, fields) = payload(&parts);
    let is_any = source.options.get(FormatOption::MessageEvent) == Some("message.any");
    let event = if is_any && event == "message" {
        "message.any"
    } else {
        event
    };
    let session = source.options.get(FormatOption::Session);
    let native = native::Body::from(source.message);
    let native_bytes_max = NATIVE_FORM_BYTES_MAX.min(source.bytes_max / 8);
    let is_short = json_bytes(&native, native_bytes_max).is_ok();
    let phone = source.message.phone.as_str();
    let body = Body {
        id: source.event.to_string(),
        timestamp: source.at.millis(),
        event,
        session: session.unwrap_or(phone).to_owned(),
        metadata: Map::new(),
        me: json!({
            "id": jid(phone, DOMAIN), "pushName": "", "jid": jid(phone, "s.whatsapp.net"),
        }),
        payload: Payload {
            _data: is_short.then_some(native),
            fields,
        },
        engine: ENGINE,
        environment: json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engine": ENGINE,
            "tier": "CORE",
            "browser": "",
            "platform": concat!("wahook/", env!("CARGO_PKG_VERSION")),
            "worker": {"id": "wahook"},
        }),
    };
    json(&body, source.bytes_max)
}

/// Who wrote a message: the linked account itself, or somebody else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    Account,
    Other,
}

impl Author {
    fn of(parts: &Parts<'_>) -> Self {
        if parts.is_own() {
            Self::Account
        } else {
            Self::Other
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Account => Self::Other,
            Self::Other => Self::Account,
        }
    }

    fn is_account(self) -> bool {
        self == Self::Account
    }
}

/// `{fromMe}_{chat}_{id}`, in groups followed by the sender.
fn id(parts: &Parts<'_>, author: Author, message_id: &str) -> String {
    id_from(parts, author, message_id, &parts.message.from)
}

/// The id of a message of this chat by `from`.
fn id_from(parts: &Parts<'_>, author: Author, message_id: &str, from: &str) -> String {
    let from_me = author.is_account();
    let chat = jid(parts.chat, DOMAIN);
    let sender = if parts.is_group() {
        format!("_{}", jid(from, DOMAIN))
    } else {
        String::new()
    };
    format!("{from_me}_{chat}_{message_id}{sender}")
}

/// Who wrote the message that this one is about. Other gateways do not tell; most reactions are to
/// messages of the other side.
fn target_author(parts: &Parts<'_>, reactor: Author) -> Author {
    let target = parts.object("target");
    match target.get("from_me").and_then(Value::as_bool) {
        Some(true) => Author::Account,
        Some(false) => Author::Other,
        None => reactor.opposite(),
    }
}

/// The id of the message that was reacted to or voted on.
fn target_id(parts: &Parts<'_>, reactor: Author, message_id: &str) -> String {
    let target = parts.object("target");
    let author = target_author(parts, reactor);
    let from = target.text("from").unwrap_or(&parts.message.from);
    id_from(parts, author, message_id, from)
}

/// The sender in a group. WAHA's own types have a text here in every conversation.
fn participant(parts: &Parts<'_>) -> String {
    if parts.is_group() {
        jid(&parts.message.from, DOMAIN)
    } else {
        String::new()
    }
}

fn payload(parts: &Parts<'_>) -> (&'static str, Value) {
    let message = parts.message;
    let chat = jid(parts.chat, DOMAIN);
    let sender = jid(&message.from, DOMAIN);
    let author = Author::of(parts);
    let participant = participant(parts);
    let (from, to) = match (author, parts.is_group()) {
        (Author::Account, _) => (sender, chat),
        (Author::Other, true) => (chat, jid(message.phone.as_str(), DOMAIN)),
        (Author::Other, false) => (sender, jid(&message.to, DOMAIN)),
    };
    let head = json!({
        "id": id(parts, author, message.message_id.as_str()),
        "timestamp": message.timestamp.seconds(),
        "from": from, "fromMe": author.is_account(), "to": to, "participant": participant,
        "source": "app",
    });
    match message.kind {
        Kind::Receipt => ("message.ack", ack(parts)),
        Kind::Reaction => {
            let reaction = parts.object("reaction");
            let id = reaction.text("message_id").unwrap_or_default();
            let target = target_id(parts, author, id);
            let reaction = json!({"text": message.content, "messageId": target});
            let reaction = json!({"reaction": reaction});
            ("message.reaction", merged(head, reaction))
        }
        Kind::PollVote if parts.object("poll_vote").is_there() => vote(parts, author, &head),
        Kind::Edit => {
            let edited = json!({"editedMessageId": parts.text("edited_message_id")});
            let whole = merged(head, content(parts, author));
            ("message.edited", merged(whole, edited))
        }
        Kind::Revoke => {
            let revoked = parts.text("revoked_message_id");
            let after = merged(head, content(parts, author));
            (
                "message.revoked",
                json!({"after": after, "before": null, "revokedMessageId": revoked}),
            )
        }
        _ => (
            match author {
                Author::Account => "message.any",
                Author::Other => "message",
            },
            merged(head, content(parts, author)),
        ),
    }
}

/// A vote has an event of its own, and another where it cannot be read.
fn vote(parts: &Parts<'_>, author: Author, head: &Value) -> (&'static str, Value) {
    let is_read = parts.object("poll_vote").get("unreadable").is_none();
    let target = parts.object("target");
    let poll_author = target_author(parts, author);
    let asked_by = match poll_author {
        Author::Account => parts.message.phone.as_str(),
        Author::Other => target.text("from").unwrap_or(parts.chat),
    };
    let to = if parts.is_group() || poll_author.is_account() {
        parts.chat
    } else {
        parts.message.phone.as_str()
    };
    let id = target.text("message_id").unwrap_or_default();
    let options = parts.object("poll_vote").list("options");
    let options: Vec<_> = options.iter().filter(|name| is_scalar(name)).collect();
    let voter = jid(&parts.message.from, DOMAIN);
    let payload = json!({
        "vote": {
            "id": head["id"], "to": head["to"], "from": voter, "fromMe": head["fromMe"],
            "participant": head["participant"], "selectedOptions": options,
            "timestamp": head["timestamp"],
        },
        "poll": {
            "id": target_id(parts, author, id), "to": jid(to, DOMAIN),
            "from": jid(asked_by, DOMAIN), "fromMe": poll_author.is_account(),
        },
    });
    let event = if is_read {
        "poll.vote"
    } else {
        "poll.vote.failed"
    };
    (event, payload)
}

fn content(parts: &Parts<'_>, author: Author) -> Value {
    let media = parts.object("media");
    let url = media.media_path();
    let shown = media.is_there().then(|| {
        json!({
            "url": url, "mimetype": media.get("mime_type"),
            "filename": media.get("file_name"),
            "s3": null, "error": null,
        })
    });
    let cards: Vec<_> = parts
        .list("contacts")
        .iter()
        .filter_map(|contact| Object::of(contact).get("vcard"))
        .collect();
    let (ack, name) = match author {
        Author::Account => (1, "SERVER"),
        Author::Other => (2, "DEVICE"),
    };
    let mut content = json!({
        "body": parts.message.content, "hasMedia": media.is_there(),
        "media": shown, "mediaUrl": url.unwrap_or_default(), "ack": ack,
        "ackName": name, "vCards": cards, "replyTo": reply_to(parts.object("quoted")),
    });
    let place = parts.object("location");
    if place.is_there() {
        content["location"] = location(place);
    }
    content
}

/// The message that this one answers.
fn reply_to(quoted: Object<'_>) -> Option<Value> {
    let id = quoted.text("message_id")?;
    let has_media = matches!(
        quoted.text("type"),
        Some("image" | "video" | "audio" | "document" | "sticker")
    );
    Some(json!({
        "id": id, "participant": quoted.text("from").map(|from| jid(from, DOMAIN)),
        "body": quoted.text("content"), "hasMedia": has_media,
    }))
}

fn location(place: Object<'_>) -> Value {
    let text = |key| {
        place.get(key).map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    object(json!({
        "latitude": text("latitude").unwrap_or_default(),
        "longitude": text("longitude").unwrap_or_default(),
        "live": place.get("live").is_some(),
        "name": text("name"), "address": text("address"), "url": text("url"),
        "description": text("name"),
    }))
}

fn ack(parts: &Parts<'_>) -> Value {
    let message = parts.message;
    let (ack, name) = match message.content.as_str() {
        "failed" => (-1, "ERROR"),
        "server" => (1, "SERVER"),
        "delivered" => (2, "DEVICE"),
        "read" => (3, "READ"),
        "played" => (4, "PLAYED"),
        _ => (0, "PENDING"),
    };
    json!({
        "id": id(parts, Author::Account, message.message_id.as_str()),
        "from": jid(parts.chat, DOMAIN), "to": jid(message.phone.as_str(), DOMAIN),
        "participant": participant(parts), "fromMe": true, "ack": ack, "ackName": name,
    })
}

/// What the audit shows of a body. The metadata of the native form is passed over.
#[derive(Deserialize)]
struct Shown {
    payload: ShownPayload,
}

#[derive(Deserialize)]
struct ShownPayload {
    _data: Option<native::Summary>,
    after: Option<Head>,
    vote: Option<Head>,
    participant: Option<String>,
    from: Option<String>,
    to: Option<String>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    participant: Option<String>,
    from: Option<String>,
    to: Option<String>,
    body: Option<String>,
}

pub(super) fn summary(body: &[u8]) -> Option<BodySummary> {
    let payload = serde_json::from_slice::<Shown>(body).ok()?.payload;
    if let Some(native) = payload._data {
        return Some(native.into());
    }
    let head = payload.after.or(payload.vote).unwrap_or(Head {
        participant: payload.participant,
        from: payload.from,
        to: payload.to,
        body: payload.body,
    });
    let participant = head.participant.filter(|name| !name.is_empty());
    let from = participant.or(head.from)?;
    Some(BodySummary {
        from: bare(&from).to_owned(),
        to: bare(&head.to.unwrap_or_default()).to_owned(),
        content: head.body.unwrap_or_default(),
    })
}
