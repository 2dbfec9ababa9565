//! The format of Meta's WhatsApp Cloud API.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    BodySummary, Source, bounded,
    bounded::TooLong,
    parts::{Object, Parts, bare, object},
};
use crate::{
    model::{FormatOption, Kind},
    wire::vcard::card_phones,
};

/// The country of a user id whose country is not known: one that ISO 3166 leaves to users.
const USER_COUNTRY: &str = "ZZ.";

#[derive(Serialize)]
struct Body {
    object: &'static str,
    entry: [Entry; 1],
}

#[derive(Serialize)]
struct Entry {
    id: String,
    changes: [Change; 1],
}

#[derive(Serialize)]
struct Change {
    field: &'static str,
    value: Value,
}

pub(super) fn body(source: &Source<'_>) -> Result<Vec<u8>, TooLong> {
    let parts = Parts::of(source.message);
    let message = source.message;
    let phone = message.phone.as_str();
    let phone_id = source.options.get(FormatOption::PhoneNumberId);
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": phone, "phone_number_id": phone_id.unwrap_or(phone),
        },
    });
    let other = Party::other(&parts);
    value["contacts"] = json!([other.contact(&parts)]);
    let field = match message.kind {
        Kind::Receipt => {
            value["statuses"] = json!([status(&parts, &other)]);
            "messages"
        }
        _ if parts.is_own() => {
            value["message_echoes"] = json!([echo(&parts, &other)]);
            "smb_message_echoes"
        }
        _ => {
            value["messages"] = json!([incoming(&parts, &other)]);
            "messages"
        }
    };
    let account_id = source.options.get(FormatOption::BusinessAccountId);
    let entry = Entry {
        id: account_id.map_or_else(|| message.client_id.to_string(), str::to_owned),
        changes: [Change { field, value }],
    };
    let body = Body {
        object: "whatsapp_business_account",
        entry: [entry],
    };
    // Meta signs a body whose other characters are escaped. Libraries escape what they got before
    // they compare, so the bytes that are sent must be these, too.
    bounded::ascii_json(&body, source.bytes_max)
}

/// The other side of a conversation.
struct Party<'a> {
    /// Meta leaves it out where the user hides it. A group or a channel has its id here.
    number: Option<&'a str>,
    user_id: String,
}

impl<'a> Party<'a> {
    fn other(parts: &Parts<'a>) -> Self {
        let is_own_message = parts.is_own() && parts.message.kind != Kind::Receipt;
        let (name, lid) = if is_own_message {
            (parts.chat, None)
        } else {
            (parts.message.from.as_str(), parts.lid())
        };
        let name = bare(name);
        Self {
            number: Some(name).filter(|name| !name.ends_with("@lid")),
            user_id: user_id(lid.unwrap_or(name)),
        }
    }

    fn contact(&self, parts: &Parts<'_>) -> Value {
        let name = parts.push_name().filter(|_| !parts.is_own());
        let profile = json!({"name": name.unwrap_or_default()});
        object(json!({"profile": profile, "wa_id": self.number, "user_id": self.user_id}))
    }
}

/// An id of Meta's shape for a user: a country, a dot, letters and digits. It does not change with
/// the number, as WhatsApp's own id (LID) does not; where that is not known, it is made of the
/// number. The country is not told: ZZ.
fn user_id(name: &str) -> String {
    let own = name.split('@').next().unwrap_or_default();
    let id: String = own.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{USER_COUNTRY}{id}")
}

fn incoming(parts: &Parts<'_>, sender: &Party<'_>) -> Value {
    let mut shown = object(json!({
        "from": sender.number, "from_user_id": sender.user_id, "id": parts.message.message_id,
        "timestamp": parts.message.timestamp.seconds().to_string(),
    }));
    if parts.is_group() {
        shown["group_id"] = parts.chat.into();
    }
    if let Some(replaces) = parts.scalar("replaces_unavailable") {
        shown["replaces_unavailable"] = replaces.clone();
    }
    // Meta has no votes: one is shown as an answer to its poll.
    let quoted = match parts.message.kind {
        Kind::PollVote => parts.object("target"),
        _ => parts.object("quoted"),
    };
    let mut context = object(json!({
        "from": quoted.text("from"), "id": quoted.text("message_id"),
        "forwarded": parts.scalar("forwarded"),
    }));
    if matches!(parts.message.kind, Kind::ButtonReply | Kind::ListReply) && context == json!({}) {
        // Meta always has one here, and libraries read it.
        context = json!({"from": parts.message.phone, "id": ""});
    }
    if context != json!({}) {
        shown["context"] = context;
    }
    let referral = parts.object("referral");
    if referral
        .get("source_id")
        .or(referral.get("source_url"))
        .is_some()
    {
        shown["referral"] = ad(referral);
    }
    with_content(shown, parts)
}

fn echo(parts: &Parts<'_>, receiver: &Party<'_>) -> Value {
    let shown = json!({
        "from": bare(&parts.message.from), "to": bare(parts.chat),
        "to_user_id": receiver.user_id, "id": parts.message.message_id,
        "timestamp": parts.message.timestamp.seconds().to_string(),
    });
    with_content(shown, parts)
}

fn status(parts: &Parts<'_>, receiver: &Party<'_>) -> Value {
    let status = match parts.message.content.as_str() {
        "server" => "sent",
        other => other,
    };
    let mut shown = object(json!({
        "id": parts.message.message_id, "status": status,
        "timestamp": parts.message.timestamp.seconds().to_string(),
        "recipient_id": receiver.number, "recipient_user_id": receiver.user_id,
    }));
    if status == "failed" {
        shown["errors"] = json!([failure(parts)]);
    }
    shown
}

/// Meta's code of errors that it has no other for; what WhatsApp said beside it.
fn failure(parts: &Parts<'_>) -> Value {
    let title = "Something went wrong";
    let mut failure = json!({"code": 131_000, "title": title, "message": title});
    let error = parts.message.metadata.get("error");
    if let Some(reason) = error.and_then(|error| error["reason"].as_str()) {
        let code = error.and_then(|error| error["code"].as_str());
        let details = format!("{reason} ({})", code.unwrap_or_default());
        failure["error_data"] = json!({"details": details});
    }
    failure
}

/// The advertisement that somebody came from.
fn ad(referral: Object<'_>) -> Value {
    object(json!({
        "source_url": referral.get("source_url"),
        "source_id": referral.get("source_id"),
        "source_type": referral.get("source_type"),
        "headline": referral.get("headline"),
        "body": referral.get("body"),
        "image_url": referral.get("image_url"),
        "ctwa_clid": referral.get("ctwa_clid"),
    }))
}

/// Adds the type, and the content in a field of that name.
fn with_content(mut shown: Value, parts: &Parts<'_>) -> Value {
    let (kind, content) = content(parts);
    let field = if kind == "unsupported" {
        "errors"
    } else {
        kind
    };
    shown["type"] = kind.into();
    shown[field] = content;
    shown
}

/// A file with one field of its own.
fn file(parts: &Parts<'_>, name: &str, value: Option<&Value>) -> Value {
    let media = parts.object("media");
    object(json!({
        "id": media.get("id"),
        "mime_type": media.get("mime_type"),
        "sha256": media.sha256_base64(),
        "caption": parts.content(),
        name: value,
    }))
}

fn content(parts: &Parts<'_>) -> (&'static str, Value) {
    let text = parts.content();
    let caption = text.map(Value::from);
    let media = parts.object("media");
    match parts.message.kind {
        Kind::Text | Kind::Test => ("text", json!({"body": parts.message.content})),
        Kind::Image => ("image", file(parts, "caption", caption.as_ref())),
        Kind::Video => ("video", file(parts, "caption", caption.as_ref())),
        Kind::Audio => ("audio", file(parts, "voice", media.get("voice"))),
        Kind::Document => ("document", file(parts, "filename", media.get("file_name"))),
        Kind::Sticker => ("sticker", file(parts, "animated", media.get("animated"))),
        Kind::Location => ("location", location(parts.object("location"))),
        Kind::Contact => (
            "contacts",
            parts.list("contacts").iter().map(contact).collect(),
        ),
        Kind::Reaction => {
            let id = parts.object("reaction").text("message_id");
            ("reaction", object(json!({"message_id": id, "emoji": text})))
        }
        Kind::ButtonReply => {
            let reply = object(json!({"id": parts.object("button").get("id"), "title": text}));
            (
                "interactive",
                json!({"type": "button_reply", "button_reply": reply}),
            )
        }
        Kind::ListReply => ("interactive", list_reply(parts.object("list"), text)),
        Kind::Edit => {
            let edited = json!({"type": "text", "text": {"body": parts.message.content}});
            (
                "edit",
                json!({"original_message_id": parts.text("edited_message_id"), "message": edited}),
            )
        }
        Kind::Revoke => (
            "revoke",
            json!({"original_message_id": parts.text("revoked_message_id")}),
        ),
        Kind::FlowReply => ("interactive", flow_reply(parts.object("flow"), text)),
        // Neither catalogue nor items are told, and readers want to see both.
        Kind::Order => (
            "order",
            object(json!({"catalog_id": "", "text": text, "product_items": []})),
        ),
        // Polls have choices that a text would lose. Meta does not deliver them either.
        Kind::Poll => ("unsupported", json!([unsupported()])),
        // Other kinds have no name here, but most have a text.
        _ => match text {
            Some(text) => ("text", json!({"body": text})),
            None => ("unsupported", json!([unsupported()])),
        },
    }
}

fn location(place: Object<'_>) -> Value {
    object(json!({
        "latitude": place.get("latitude"),
        "longitude": place.get("longitude"),
        "name": place.get("name"),
        "address": place.get("address"),
        "url": place.get("url"),
    }))
}

fn unsupported() -> Value {
    json!({
        "code": 131_051,
        "title": "Message type unknown",
        "message": "Message type unknown",
        "error_data": {"details": "Message type is currently not supported."},
    })
}

fn list_reply(list: Object<'_>, text: Option<&str>) -> Value {
    let reply =
        json!({"id": list.get("row_id"), "title": text, "description": list.get("description")});
    json!({"type": "list_reply", "list_reply": object(reply)})
}

fn flow_reply(flow: Object<'_>, text: Option<&str>) -> Value {
    let reply = json!({
        "name": flow.get("name"), "body": text, "response_json": flow.get("response_json"),
    });
    json!({"type": "nfm_reply", "nfm_reply": object(reply)})
}

/// The name and the numbers of a contact card.
fn contact(contact: &Value) -> Value {
    let name = contact
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let card = contact
        .get("vcard")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let phones = card_phones(card);
    json!({"name": {"formatted_name": name}, "phones": phones})
}

pub(super) fn summary(body: &Value) -> Option<BodySummary> {
    let value = body.pointer("/entry/0/changes/0/value")?;
    let phone = value
        .pointer("/metadata/display_phone_number")?
        .as_str()?
        .to_owned();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let hidden = |value: &Value, name: &str| {
        let id = value.get(name)?.as_str()?.strip_prefix(USER_COUNTRY)?;
        Some(format!("{id}@lid"))
    };
    if let Some(status) = value.pointer("/statuses/0") {
        return Some(BodySummary {
            from: text(status, "recipient_id").or_else(|| hidden(status, "recipient_user_id"))?,
            to: phone,
            content: text(status, "status")?,
        });
    }
    let message = value
        .pointer("/messages/0")
        .or_else(|| value.pointer("/message_echoes/0"))?;
    // An unsupported message has no content.
    let content = message
        .get(message.get("type")?.as_str()?)
        .unwrap_or(&Value::Null);
    let names = [
        "/body",
        "/caption",
        "/emoji",
        "/name",
        "/button_reply/title",
        "/list_reply/title",
        "/nfm_reply/body",
        "/text",
        "/message/text/body",
    ];
    let shown = names
        .iter()
        .find_map(|name| content.pointer(name).and_then(Value::as_str));
    let to = text(message, "to").unwrap_or(phone);
    Some(BodySummary {
        from: text(message, "from").or_else(|| hidden(message, "from_user_id"))?,
        to,
        content: shown.unwrap_or_default().to_owned(),
    })
}
