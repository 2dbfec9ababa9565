//! Polls and votes.

use buffa::MessageField;
use whatsapp_rust::{
    wacore::poll::{compute_option_hash, encrypt_poll_vote_with_secret},
    waproto::whatsapp as wa,
};

use super::poll;

/// A poll that its readers can vote on, as a phone makes it.
pub fn open_poll(question: &str, options: &[&str], secret: [u8; 32]) -> wa::Message {
    wa::Message {
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..Default::default()
        }),
        ..poll(question, options)
    }
}

/// A poll, as its voters name it.
pub struct Ballot<'a> {
    /// The id of its message.
    pub id: &'a str,
    /// Who asked: an id with its domain.
    pub creator: &'a str,
    /// Its secret.
    pub secret: &'a [u8],
    /// Whether it is in a group, where the key names who asked.
    pub is_in_group: bool,
}

impl Ballot<'_> {
    /// The vote of `voter` for these options; none takes the vote back.
    ///
    /// # Errors
    /// When the secret is none.
    pub fn vote(&self, voter: &str, options: &[&str]) -> anyhow::Result<wa::Message> {
        let hash = |name: &&str| compute_option_hash(name).to_vec();
        let hashes: Vec<_> = options.iter().map(hash).collect();
        let sealed =
            encrypt_poll_vote_with_secret(&hashes, self.secret, self.id, self.creator, voter);
        let (payload, iv) = sealed?;
        let key = wa::MessageKey {
            id: Some(self.id.to_owned()),
            from_me: Some(self.creator == voter),
            participant: self.is_in_group.then(|| self.creator.to_owned()),
            ..Default::default()
        };
        let vote = wa::message::PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        };
        Ok(wa::Message {
            poll_update_message: MessageField::some(wa::message::PollUpdateMessage {
                poll_creation_message_key: MessageField::some(key),
                vote: MessageField::some(vote),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}
