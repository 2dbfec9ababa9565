//! The polls that a session has seen, and reading the votes on them.
//!
//! A vote names its poll, and the hashes of the options that it chooses, encrypted with a secret
//! that came with the poll. So a session keeps the polls that it receives and sends, beside its
//! keys: they move with it, and are erased with it. Each vote tells all that its voter chooses now,
//! so a later one replaces it, and an empty one takes it back.

mod kept;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use whatsapp_rust::{
    Jid,
    features::PollVoteCiphertext,
    prelude::Client,
    types::message::{MessageCategory, MessageInfo},
    wacore::poll::compute_option_hash,
    wacore_binary::JidExt as _,
};

use self::kept::{Kept, Poll};
use super::content::{self, Asked, Content, SealedVote, Target};
use crate::model::Timestamp;

/// Options of a vote that are shown. A poll of WhatsApp's has at most twelve.
const CHOSEN_MAX: usize = 100;
/// Between the options in a text.
const SEPARATOR: &str = ", ";

/// The polls of one session.
#[derive(Default)]
pub(super) struct Polls(Mutex<Kept>);

impl Polls {
    /// Keeps the poll in a message that came, if there is one.
    pub(super) async fn see(
        &self,
        client: &Client,
        message: &whatsapp_rust::prelude::wa::Message,
        info: &MessageInfo,
        now: Timestamp,
    ) {
        let source = &info.source;
        if info.category == MessageCategory::Peer || source.chat.is_status_broadcast() {
            return;
        }
        let Some(asked) = content::asked(message) else {
            return;
        };
        let mut creators = vec![source.sender.clone()];
        creators.extend(source.sender_alt.clone());
        if source.is_from_me {
            creators.extend(own_ids(client));
        }
        let poll = Poll::new(&info.id, &source.chat, &creators, asked);
        self.keep(client, poll, now).await;
    }

    /// Keeps a poll that is about to be sent.
    pub(super) async fn sent(
        &self,
        client: &Client,
        chat: &Jid,
        message_id: &str,
        asked: Asked,
        now: Timestamp,
    ) {
        let poll = Poll::new(message_id, chat, &own_ids(client), asked);
        self.keep(client, poll, now).await;
    }

    async fn keep(&self, client: &Client, poll: Poll, now: Timestamp) {
        let backend = client.persistence_manager().backend();
        let kept = self.0.lock().await.put(&*backend, poll, now).await;
        if kept.is_err() {
            // Its votes will be told without the names of what they choose.
            tracing::warn!("a poll could not be kept");
        }
    }

    /// A vote with what it chooses, where that can be told.
    pub(super) async fn read(
        &self,
        client: &Client,
        info: &MessageInfo,
        mut content: Content,
        now: Timestamp,
    ) -> Content {
        let vote = content.vote.take();
        let Some((vote, target)) = vote.zip(content.target.as_ref()) else {
            return content.with("poll_vote", json!({"unreadable": "malformed"}));
        };
        let told = match self.open(client, info, target, &vote, now).await {
            Ok((hashes, poll)) => told(&hashes, poll.as_ref()),
            Err(reason) => json!({"unreadable": reason}),
        };
        let names = told["options"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        content.set_text(&names.join(SEPARATOR));
        content.with("poll_vote", told)
    }

    /// The hashes of the options that a vote chooses, and the poll. Only its own poll's secret
    /// opens a vote, so that each poll of that id may be tried.
    async fn open(
        &self,
        client: &Client,
        info: &MessageInfo,
        target: &Target,
        vote: &SealedVote,
        now: Timestamp,
    ) -> Result<(Vec<Vec<u8>>, Option<Poll>), &'static str> {
        let backend = client.persistence_manager().backend();
        let id = target.message_id.as_str();
        let chat = &info.source.chat;
        let found = self.0.lock().await.find(&*backend, id, chat, now).await;
        let polls = found.map_err(|_| "unknown_poll")?;
        for poll in &polls {
            for creator in poll.creators() {
                let opened = open(client, info, vote, (id, &creator, poll.secret())).await;
                if let Some(hashes) = opened {
                    return Ok((hashes, Some(poll.clone())));
                }
            }
        }
        // The client keeps secrets for a time, too, without what was asked.
        let mut is_known = !polls.is_empty();
        for creator in creators(client, info, target) {
            let chat = chat.to_non_ad_string();
            let sender = creator.to_non_ad_string();
            let secret = backend.get_msg_secret(&chat, &sender, id).await;
            let Ok(Some(secret)) = secret else {
                continue;
            };
            is_known = true;
            if let Some(hashes) = open(client, info, vote, (id, &creator, &secret)).await {
                return Ok((hashes, None));
            }
        }
        Err(if is_known {
            "undecryptable"
        } else {
            "unknown_poll"
        })
    }
}

/// Tries a poll's secret on a vote, under each name of the voter.
async fn open(
    client: &Client,
    info: &MessageInfo,
    vote: &SealedVote,
    (id, creator, secret): (&str, &Jid, &[u8]),
) -> Option<Vec<Vec<u8>>> {
    let sealed = PollVoteCiphertext {
        enc_payload: &vote.payload,
        enc_iv: &vote.iv,
    };
    let voters = [Some(&info.source.sender), info.source.sender_alt.as_ref()];
    for voter in voters.into_iter().flatten() {
        let polls = client.polls();
        let opened = polls.decrypt_vote(sealed, secret, id, creator, voter).await;
        if opened.is_ok() {
            return opened.ok();
        }
    }
    None
}

/// Who may have asked, by what the vote says.
fn creators(client: &Client, info: &MessageInfo, target: &Target) -> Vec<Jid> {
    let source = &info.source;
    let named = target.participant.as_deref();
    let named: Option<Jid> = named.and_then(|name| name.parse().ok());
    let mut all: Vec<Jid> = named.into_iter().collect();
    if target.is_senders_own {
        all.push(source.sender.clone());
        all.extend(source.sender_alt.clone());
    } else {
        all.extend(own_ids(client));
    }
    all
}

/// The account's number and LID.
fn own_ids(client: &Client) -> Vec<Jid> {
    let both = [client.pn(), client.lid()];
    both.into_iter().flatten().collect()
}

/// What the hashes stand for.
fn told(hashes: &[Vec<u8>], poll: Option<&Poll>) -> Value {
    let known = poll.map(Poll::options).unwrap_or_default();
    let mut names = Vec::new();
    let mut unnamed = Vec::new();
    for hash in hashes.iter().take(CHOSEN_MAX) {
        let is_it = |name: &&String| compute_option_hash(name)[..] == hash[..];
        match known.iter().find(is_it) {
            Some(name) => names.push(Value::from(name.clone())),
            None => unnamed.push(Value::from(content::hex(hash))),
        }
    }
    let mut told = Map::new();
    if let Some(poll) = poll {
        told.insert("question".to_owned(), poll.question().into());
    }
    told.insert("options".to_owned(), names.into());
    if !unnamed.is_empty() {
        told.insert("option_hashes".to_owned(), unnamed.into());
    }
    if hashes.is_empty() {
        told.insert("withdrawn".to_owned(), true.into());
    }
    told.into()
}
