//! Polls and votes, as Evolution API writes them.

use serde_json::{Value, json};

use super::{
    super::parts::{Parts, is_scalar, object},
    target_key,
};

pub(super) fn poll(parts: &Parts<'_>) -> Value {
    let poll = parts.object("poll");
    let options: Vec<_> = poll
        .list("options")
        .iter()
        .filter(|name| is_scalar(name))
        .map(|name| json!({"optionName": name}))
        .collect();
    object(json!({
        "name": parts.content(),
        "options": options,
        "selectableOptionsCount": poll.get("selectable"),
    }))
}

/// A vote with the names of what it chooses. One that cannot be read has no vote in it.
pub(super) fn vote(parts: &Parts<'_>) -> Value {
    let vote = parts.object("poll_vote");
    let names = vote.list("options").iter();
    let names: Vec<_> = names.filter(|name| is_scalar(name)).collect();
    let is_read = vote.get("unreadable").is_none();
    object(json!({
        "pollCreationMessageKey": target_key(parts, parts.object("target").text("message_id")),
        "vote": is_read.then(|| json!({"selectedOptions": names})),
        "senderTimestampMs": parts.message.timestamp.millis().to_string(),
    }))
}

/// The options that a vote in a body names, in a line.
pub(super) fn chosen(content: &Value) -> Option<String> {
    let options = content.pointer("/vote/selectedOptions")?.as_array()?;
    let names: Vec<_> = options.iter().filter_map(Value::as_str).collect();
    Some(names.join(", "))
}
