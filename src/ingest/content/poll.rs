//! Polls, and the votes on them.

use serde_json::json;
use whatsapp_rust::prelude::wa;

use super::{
    model::{Content, LIST_MAX, SealedVote, object, short},
    peel::Peeled,
    target::Target,
};
use crate::model::Kind;

/// Bytes of the secret that the votes of a poll are encrypted with.
const SECRET_BYTES: usize = 32;

/// What is needed to read the votes of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct Asked {
    pub(in crate::ingest) secret: [u8; SECRET_BYTES],
    pub(in crate::ingest) question: String,
    pub(in crate::ingest) options: Vec<String>,
}

fn creation(base: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    let polls = [
        &base.poll_creation_message,
        &base.poll_creation_message_v2,
        &base.poll_creation_message_v3,
        &base.poll_creation_message_v5,
        &base.poll_creation_message_v6,
    ];
    polls.into_iter().find_map(|poll| poll.as_option())
}

/// The poll in a message, with its secret.
pub(in crate::ingest) fn asked(message: &wa::Message) -> Option<Asked> {
    let base = Peeled::of(message).base;
    let poll = creation(base)?;
    let secret = |message: &wa::Message| {
        let info = message.message_context_info.as_option()?;
        info.message_secret.as_deref()?.try_into().ok()
    };
    let options = poll.options.iter().take(LIST_MAX);
    Some(Asked {
        secret: secret(message).or_else(|| secret(base))?,
        question: poll.name.clone().unwrap_or_default(),
        options: options
            .filter_map(|option| option.option_name.clone())
            .collect(),
    })
}

pub(super) fn poll(base: &wa::Message) -> Option<Content> {
    let poll = creation(base)?;
    let options: Vec<_> = poll
        .options
        .iter()
        .take(LIST_MAX)
        .map(|option| short(option.option_name.as_ref()))
        .collect();
    let shown = json!({"options": options, "selectable": poll.selectable_options_count});
    Some(Content::new(Kind::Poll, poll.name.as_deref()).with("poll", object(shown)))
}

/// Votes, and the results of polls in channels.
pub(super) fn vote(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.poll_update_message.as_option() {
        let mut content = Content::new(Kind::PollVote, None);
        content.vote = m.vote.as_option().and_then(|vote| {
            Some(SealedVote {
                payload: vote.enc_payload.clone()?,
                iv: vote.enc_iv.clone()?,
            })
        });
        return Some(content.about(Target::of(m.poll_creation_message_key.as_option())));
    }
    let results = [
        &base.poll_result_snapshot_message,
        &base.poll_result_snapshot_message_v3,
    ];
    let m = results.into_iter().find_map(|result| result.as_option())?;
    let option = |vote: &wa::message::poll_result_snapshot_message::PollVote| {
        let name = short(vote.option_name.as_ref());
        object(json!({"name": name, "votes": vote.option_vote_count}))
    };
    let options: Vec<_> = m.poll_votes.iter().take(LIST_MAX).map(option).collect();
    let content = Content::new(Kind::PollResult, m.name.as_deref());
    Some(content.with("poll", json!({"options": options})))
}
