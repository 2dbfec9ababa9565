//! What a handset remembers, and gives to its devices when they ask for it.

use anyhow::Context as _;
use buffa::MessageField;
use wacore_binary::{Node, NodeRef};
use whatsapp_rust::waproto::whatsapp as wa;

use crate::{
    Contact, Device, Server,
    content::{self, history_page},
    keys::{attr, child_bytes, own_attr},
};

/// A message that the handset remembers.
#[derive(Clone)]
pub struct Remembered {
    /// Its id.
    pub id: String,
    /// Who wrote it in a group: an id with its domain.
    pub participant: Option<String>,
    /// Whether the account wrote it.
    pub is_from_me: bool,
    /// When, in seconds since 1970.
    pub at: u64,
    /// What it says.
    pub text: String,
}

impl Server {
    /// The handset of every account has these messages in a chat, the oldest first.
    pub fn remember(&self, chat: &str, messages: Vec<Remembered>) {
        self.state().histories.insert(chat.to_owned(), messages);
    }

    /// For which chats handsets were asked for history.
    pub fn asked_for_history(&self) -> Vec<String> {
        self.state().asked_for_history.clone()
    }
}

/// A device asks its handset for something.
pub(crate) async fn answer(device: &Device, stanza: Node) -> anyhow::Result<()> {
    let handset = Contact::handset(&device.server, device.number()).context("no handset")?;
    let asked = handset.open(device, &stanza).await?;
    let protocol = asked.protocol_message.as_option().context("no request")?;
    let request = &protocol.peer_data_operation_request_message;
    let wanted = request.history_sync_on_demand_request.as_option();
    let wanted = wanted.context("another request")?;
    let page = page(&device.server, wanted)?;
    let message = history_page(&own_attr(&stanza, "id"), page)?;
    handset.send_peer(device, message).await?;
    Ok(())
}

type Wanted = wa::message::peer_data_operation_request_message::HistorySyncOnDemandRequest;

/// The newest messages before the one that is named.
fn page(server: &Server, wanted: &Wanted) -> anyhow::Result<wa::Conversation> {
    let chat = wanted.chat_jid.clone().context("no chat")?;
    let mut state = server.state();
    state.asked_for_history.push(chat.clone());
    let all = state.histories.get(&chat).cloned().unwrap_or_default();
    let named = wanted.oldest_msg_id.as_deref();
    let end = all.iter().position(|one| Some(one.id.as_str()) == named);
    let end = end.context("the handset does not know the named message")?;
    let count = usize::try_from(wanted.on_demand_msg_count.unwrap_or_default())?;
    let shown = &all[end.saturating_sub(count)..end];
    Ok(wa::Conversation {
        messages: shown.iter().rev().map(|one| old(&chat, one)).collect(),
        id: chat,
        ..Default::default()
    })
}

fn old(chat: &str, one: &Remembered) -> wa::HistorySyncMsg {
    let key = wa::MessageKey {
        remote_jid: Some(chat.to_owned()),
        from_me: Some(one.is_from_me),
        id: Some(one.id.clone()),
        participant: one.participant.clone(),
    };
    let message = wa::WebMessageInfo {
        key: MessageField::some(key),
        message: MessageField::some(content::text(&one.text)),
        message_timestamp: Some(one.at),
        participant: one.participant.clone(),
        ..Default::default()
    };
    wa::HistorySyncMsg {
        message: MessageField::some(message),
        ..Default::default()
    }
}

/// Whether a device writes to its own handset.
pub(crate) fn is_for_handset(stanza: &NodeRef<'_>) -> bool {
    attr(stanza, "category") == "peer" && !child_bytes(stanza, "enc").is_empty()
}
