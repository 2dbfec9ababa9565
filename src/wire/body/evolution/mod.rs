//! The format of Evolution API.

mod business;
mod polls;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    BodySummary, Source, bounded,
    bounded::TooLong,
    parts::{Object, Parts, bare, jid, merged, object},
};
use crate::model::{FormatOption, Kind};

const DOMAIN: &str = "s.whatsapp.net";

#[derive(Serialize)]
struct Body<'a> {
    event: &'static str,
    instance: &'a str,
    data: Value,
    destination: &'a str,
    date_time: String,
    sender: String,
    server_url: &'a str,
    apikey: String,
}

pub(super) fn body(source: &Source<'_>) -> Result<Vec<u8>, TooLong> {
    let parts = Parts::of(source.message);
    let (event, data) = data(&parts, source);
    let phone = source.message.phone.as_str();
    let body = Body {
        event,
        instance: source.options.get(FormatOption::Instance).unwrap_or(phone),
        data,
        // Without the query, which may hold a key.
        destination: source.url.split(['?', '#']).next().unwrap_or_default(),
        date_time: source.at.to_string(),
        sender: jid(phone, DOMAIN),
        server_url: source
            .options
            .get(FormatOption::ServerUrl)
            .unwrap_or_default(),
        // Receivers tell instances apart by it. It is not a credential.
        apikey: source.event.webhook.to_string(),
    };
    bounded::json(&body, source.bytes_max)
}

fn data(parts: &Parts<'_>, source: &Source<'_>) -> (&'static str, Value) {
    let message = parts.message;
    let participant = parts.is_group().then(|| jid(&message.from, DOMAIN));
    let remote = jid(parts.chat, DOMAIN);
    let instance = source.event.webhook.to_string();
    match message.kind {
        Kind::Receipt => {
            let status = match message.content.as_str() {
                "delivered" => "DELIVERY_ACK",
                "read" => "READ",
                "played" => "PLAYED",
                "failed" => "ERROR",
                _ => "SERVER_ACK",
            };
            let data = json!({
                "keyId": message.message_id, "remoteJid": remote, "fromMe": true,
                "participant": participant,
                "status": status, "instanceId": instance,
            });
            ("messages.update", object(data))
        }
        Kind::Revoke => {
            let id = parts.text("revoked_message_id");
            let target = Author::of(parts);
            let data = json!({
                "id": id,
                "remoteJid": remote,
                "fromMe": target.is_own.unwrap_or(parts.is_own()),
                "participant": target.participant.or(participant),
            });
            ("messages.delete", object(data))
        }
        // The protocol message itself: its key is that of the edited message.
        Kind::Edit => ("messages.edited", edit(parts)),
        _ => {
            let key = key(parts, remote, participant);
            let (kind, content) = content(parts);
            let mut data = json!({
                "key": key, "pushName": push_name(parts),
                "status": if parts.is_own() { "SERVER_ACK" } else { "DELIVERY_ACK" },
                "message": content, "contextInfo": context(parts), "messageType": kind,
                "messageTimestamp": message.timestamp.seconds(), "instanceId": instance,
                "source": "unknown",
            });
            if let Some(replaces) = parts.scalar("replaces_unavailable") {
                data["replacesUnavailable"] = replaces.clone();
            }
            ("messages.upsert", data)
        }
    }
}

/// The key of this message. Where both are known, the name that shows the number and the one that
/// does not stand side by side.
fn key(parts: &Parts<'_>, remote: String, participant: Option<String>) -> Value {
    let lid = parts.lid().filter(|lid| *lid != parts.message.from);
    let alternative = |name: &str| {
        let is_sender = jid(&parts.message.from, DOMAIN) == name;
        lid.filter(|_| is_sender).map(str::to_owned)
    };
    let is_lid = participant.as_deref().unwrap_or(&remote).ends_with("@lid");
    object(json!({
        "remoteJidAlt": alternative(&remote),
        "participantAlt": participant.as_deref().and_then(alternative),
        "remoteJid": remote, "fromMe": parts.is_own(), "id": parts.message.message_id,
        "participant": participant,
        "addressingMode": if is_lid { "lid" } else { "pn" },
    }))
}

/// As Evolution API has it: a word for oneself, and the number of somebody without a name.
fn push_name<'a>(parts: &Parts<'a>) -> &'a str {
    if parts.is_own() {
        return "Você";
    }
    let number = || {
        bare(&parts.message.from)
            .split('@')
            .next()
            .unwrap_or_default()
    };
    parts.push_name().unwrap_or_else(number)
}

fn edit(parts: &Parts<'_>) -> Value {
    let edited = json!({"conversation": parts.message.content});
    json!({
        "key": target_key(parts, parts.text("edited_message_id")),
        "type": "MESSAGE_EDIT",
        "editedMessage": edited,
        "timestampMs": parts.message.timestamp.millis().to_string(),
    })
}

/// Who wrote the message that this one is about, as far as it is told.
struct Author {
    is_own: Option<bool>,
    /// In groups.
    participant: Option<String>,
}

impl Author {
    fn of(parts: &Parts<'_>) -> Self {
        let target = parts.object("target");
        let from = target.text("from").filter(|_| parts.is_group());
        Self {
            is_own: target.get("from_me").and_then(Value::as_bool),
            participant: from.map(|from| jid(from, DOMAIN)),
        }
    }
}

/// The key of the message that this one is about.
fn target_key(parts: &Parts<'_>, id: Option<&str>) -> Value {
    let author = Author::of(parts);
    object(json!({
        "remoteJid": jid(parts.chat, DOMAIN),
        "fromMe": author.is_own,
        "id": id,
        "participant": author.participant,
    }))
}

fn context(parts: &Parts<'_>) -> Value {
    let quoted = parts.object("quoted");
    let mentions: Vec<_> = parts
        .list("mentions")
        .iter()
        .filter_map(Value::as_str)
        .map(|name| jid(name, DOMAIN))
        .collect();
    let context = object(json!({
        "stanzaId": quoted.text("message_id"),
        "participant": quoted.text("from").map(|from| jid(from, DOMAIN)),
        "quotedMessage": quoted.text("content").map(|text| json!({"conversation": text})),
        "mentionedJid": Some(mentions).filter(|mentions| !mentions.is_empty()),
        "isForwarded": parts.scalar("forwarded"),
    }));
    if context.as_object().is_some_and(|fields| fields.is_empty()) {
        Value::Null
    } else {
        context
    }
}

/// The message as Baileys writes it: one field, whose name is the type. The keys of media are left
/// out; `mediaUrl` leads to the file.
fn content(parts: &Parts<'_>) -> (&'static str, Value) {
    let (kind, content) = file_content(parts).unwrap_or_else(|| other_content(parts));
    let mut message = json!({kind: content});
    if let Some(path) = parts.object("media").media_path() {
        message["mediaUrl"] = path.into();
    }
    (kind, message)
}

fn file_content(parts: &Parts<'_>) -> Option<(&'static str, Value)> {
    let media = parts.object("media");
    let (kind, own) = match parts.message.kind {
        Kind::Image => ("imageMessage", json!({})),
        Kind::Video => ("videoMessage", json!({"gifPlayback": media.get("gif")})),
        Kind::Audio => ("audioMessage", json!({"ptt": media.get("voice")})),
        Kind::Document => (
            "documentMessage",
            json!({"fileName": media.get("file_name"), "pageCount": media.get("pages")}),
        ),
        Kind::Sticker => (
            "stickerMessage",
            json!({"isAnimated": media.get("animated")}),
        ),
        _ => return None,
    };
    let common = json!({
        "caption": parts.content(),
        "mimetype": media.get("mime_type"),
        "fileSha256": media.sha256_base64(),
        "fileLength": media.get("size"),
        "width": media.get("width"),
        "height": media.get("height"),
        "seconds": media.get("seconds"),
    });
    Some((kind, object(merged(common, own))))
}

fn other_content(parts: &Parts<'_>) -> (&'static str, Value) {
    let text = parts.content();
    match parts.message.kind {
        Kind::Location => {
            let place = parts.object("location");
            let place = json!({
                "degreesLatitude": place.get("latitude"),
                "degreesLongitude": place.get("longitude"),
                "name": place.get("name"), "address": place.get("address"), "url": place.get("url"),
            });
            ("locationMessage", object(place))
        }
        Kind::Contact => contacts(parts),
        Kind::Reaction => {
            let key = target_key(parts, parts.object("reaction").text("message_id"));
            (
                "reactionMessage",
                json!({"key": key, "text": parts.message.content}),
            )
        }
        Kind::Poll => ("pollCreationMessage", polls::poll(parts)),
        Kind::PollVote if parts.object("poll_vote").is_there() => {
            ("pollUpdateMessage", polls::vote(parts))
        }
        Kind::ButtonReply => {
            let id = parts.object("button").get("id");
            (
                "buttonsResponseMessage",
                object(json!({"selectedButtonId": id, "selectedDisplayText": text})),
            )
        }
        Kind::ListReply => {
            let list = parts.object("list");
            let reply = json!({"selectedRowId": list.get("row_id")});
            let list = json!({
                "title": text,
                "description": list.get("description"),
                "singleSelectReply": object(reply),
            });
            ("listResponseMessage", object(list))
        }
        Kind::Unavailable if text.is_none() => {
            ("placeholderMessage", json!({"type": "MASK_LINKED_DEVICES"}))
        }
        Kind::Order => {
            let order = parts.object("order");
            let order = json!({
                "orderId": order.get("id"), "token": order.get("token"), "message": text,
                "orderTitle": order.get("title"), "itemCount": order.get("item_count"),
            });
            ("orderMessage", object(order))
        }
        _ => business::content(parts)
            .unwrap_or_else(|| ("conversation", parts.message.content.clone().into())),
    }
}

fn contacts(parts: &Parts<'_>) -> (&'static str, Value) {
    let card = |contact: &Value| {
        let contact = Object::of(contact);
        object(json!({"displayName": contact.get("name"), "vcard": contact.get("vcard")}))
    };
    match parts.list("contacts") {
        [contact] => ("contactMessage", card(contact)),
        contacts => {
            let cards: Vec<_> = contacts.iter().map(card).collect();
            (
                "contactsArrayMessage",
                object(json!({"displayName": parts.content(), "contacts": cards})),
            )
        }
    }
}

pub(super) fn summary(body: &Value) -> Option<BodySummary> {
    let data = body.get("data")?;
    let key = data.get("key").unwrap_or(data);
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let chat = text(key, "remoteJid")?;
    let phone = bare(body.get("sender")?.as_str()?).to_owned();
    let own = key
        .get("fromMe")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    let is_receipt = body
        .get("event")
        .is_some_and(|event| event == "messages.update");
    let other = text(key, "participant").unwrap_or_else(|| chat.clone());
    let (from, to) = if own && !is_receipt {
        (phone, chat)
    } else {
        (other, phone)
    };
    let content = match data
        .get("status")
        .and_then(Value::as_str)
        .filter(|_| is_receipt)
    {
        Some(status) => status.to_lowercase(),
        None => {
            let edited = data.pointer("/editedMessage/conversation");
            let edited = edited.and_then(Value::as_str).map(str::to_owned);
            let sent = || data.get("message").and_then(first_text);
            edited.or_else(sent).unwrap_or_default()
        }
    };
    Some(BodySummary {
        from: bare(&from).to_owned(),
        to: bare(&to).to_owned(),
        content,
    })
}

fn first_text(message: &Value) -> Option<String> {
    let (_, content) = message
        .as_object()?
        .iter()
        .find(|(name, _)| *name != "mediaUrl")?;
    if let Some(text) = content.as_str() {
        return Some(text.to_owned());
    }
    let names = [
        "caption",
        "text",
        "name",
        "displayName",
        "selectedDisplayText",
        "contentText",
        "description",
        "message",
        "title",
    ];
    let pointers = ["/hydratedTemplate/hydratedContentText", "/body/text"];
    let deep = || {
        pointers
            .iter()
            .find_map(|pointer| content.pointer(pointer)?.as_str())
    };
    let named = names
        .iter()
        .find_map(|name| content.get(name).and_then(Value::as_str));
    let named = named.or_else(deep).map(str::to_owned);
    named.or_else(|| polls::chosen(content))
}
