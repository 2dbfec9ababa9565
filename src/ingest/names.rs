//! The people that a message names: as phone numbers, where the session knows them.

use serde_json::{Map, Value, json};
use whatsapp_rust::{Jid, prelude::Client};

use super::{
    content::Target,
    parties::{Parties, name},
};
use crate::model::Phone;

/// Fields of metadata, and fields of objects in it, that hold ids of people.
const FIELDS: [&str; 5] = ["from", "owner", "seller", "requested_from", "chat"];
const LIST: &str = "mentions";

/// Turns ids into names.
pub(super) struct Names<'a> {
    client: &'a Client,
    own: &'a Phone,
}

impl<'a> Names<'a> {
    pub(super) fn new(client: &'a Client, own: &'a Phone) -> Self {
        Self { client, own }
    }

    /// The phone number; the id with its domain where the session does not know the number. What
    /// is no id stays as it is.
    async fn of(&self, id: &str) -> String {
        let Ok(jid) = id.parse::<Jid>() else {
            return id.to_owned();
        };
        if jid.user.is_empty() {
            return id.to_owned();
        }
        let is_own = self.client.lid().is_some_and(|own| own.user == jid.user);
        if is_own && id.contains("@lid") {
            return self.own.as_str().to_owned();
        }
        name(self.client, &jid, None).await
    }

    /// Resolves the mentions, and the people in the objects of the metadata.
    pub(super) async fn resolve(&self, metadata: &mut Map<String, Value>) {
        if let Some(Value::Array(mentions)) = metadata.get_mut(LIST) {
            for mention in mentions {
                self.replace(mention).await;
            }
        }
        for value in metadata.values_mut() {
            let Value::Object(fields) = value else {
                continue;
            };
            for field in FIELDS {
                if let Some(value) = fields.get_mut(field) {
                    self.replace(value).await;
                }
            }
        }
    }

    async fn replace(&self, value: &mut Value) {
        if let Value::String(id) = value {
            *id = self.of(id).await;
        }
    }

    /// The message that another one is about: its id, and who wrote it, where that can be told.
    pub(super) async fn target(&self, target: &Target, parties: &Parties) -> Value {
        let from = match &target.participant {
            Some(id) => Some(self.of(id).await),
            None if target.is_senders_own => Some(parties.from.clone()),
            // A group's message names its author.
            None if parties.is_group() => None,
            None if parties.from == self.own.as_str() => Some(parties.chat.clone()),
            None => Some(self.own.as_str().to_owned()),
        };
        let mut shown = json!({"message_id": target.message_id});
        if let Some(from) = from {
            shown["from_me"] = (from == self.own.as_str()).into();
            shown["from"] = from.into();
        }
        shown
    }
}
