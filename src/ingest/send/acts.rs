//! What a session does beside sending messages.

use whatsapp_rust::{ChatStateType, Jid, prelude::Client, wacore_binary::JidExt as _};

use super::{Known, Lookups, message::address, receiver, refused};
use crate::{
    ingest::context::Context,
    model::{ClientId, FoundContact, Phone, ReadMark, SendOutcome, SessionAct, TypingState},
};

/// Whether WhatsApp is asked about a number. Many such questions look like somebody who searches
/// for victims, so they count like messages.
pub(in crate::ingest) fn is_lookup(act: &SessionAct) -> bool {
    matches!(act, SessionAct::FindNumber(_) | SessionAct::FindLid(_))
}

/// Does it. `owner` is whose session it is.
pub(in crate::ingest) async fn act(
    owner: ClientId,
    client: &Client,
    context: &Context,
    known: &Known,
    wanted: &SessionAct,
) -> SendOutcome {
    if !client.is_logged_in() {
        return SendOutcome::NotConnected;
    }
    let lookups = &known.lookups;
    match wanted {
        SessionAct::RenewMedia { media_id } => {
            let secret = &context.media_secret;
            known.renewals.renew(client, owner, secret, media_id).await
        }
        SessionAct::MarkRead(mark) => mark_read(client, lookups, mark).await,
        SessionAct::ShowTyping { to, state } => show_typing(client, lookups, to, *state).await,
        SessionAct::FindNumber(phone) => find_number(client, lookups, phone).await,
        SessionAct::FindLid(lid) => find_lid(client, lid).await,
        // It takes longer than the caller waits: the session does it.
        SessionAct::Backfill(_) => SendOutcome::Refused,
    }
}

async fn mark_read(client: &Client, lookups: &Lookups, mark: &ReadMark) -> SendOutcome {
    let chat = match receiver(client, lookups, &mark.chat).await {
        Ok(chat) => chat,
        Err(outcome) => return outcome,
    };
    let author: Option<Jid> = mark
        .from
        .as_deref()
        .and_then(|from| address(from).parse().ok());
    let author = author.filter(|_| chat.is_group());
    let ids: Vec<&str> = mark.message_ids.iter().map(String::as_str).collect();
    match client.mark_as_read(&chat, author.as_ref(), &ids).await {
        Ok(()) => SendOutcome::Sent,
        Err(_) => refused(),
    }
}

async fn show_typing(
    client: &Client,
    lookups: &Lookups,
    to: &str,
    state: TypingState,
) -> SendOutcome {
    let to = match receiver(client, lookups, to).await {
        Ok(to) => to,
        Err(outcome) => return outcome,
    };
    let state = match state {
        TypingState::Composing => ChatStateType::Composing,
        TypingState::Recording => ChatStateType::Recording,
        TypingState::Paused => ChatStateType::Paused,
    };
    match client.chatstate().send(&to, state).await {
        Ok(()) => SendOutcome::Sent,
        Err(_) => refused(),
    }
}

async fn find_number(client: &Client, lookups: &Lookups, phone: &Phone) -> SendOutcome {
    let account = match lookups.account(client, phone).await {
        Ok(Some(account)) => account,
        Ok(None) => return SendOutcome::NotOnWhatsApp,
        Err(_) => return SendOutcome::LookupFailed,
    };
    let known = client.get_lid_pn_entry(&account).await.ok().flatten();
    let lid = known.map(|entry| format!("{}@lid", entry.lid));
    SendOutcome::Found(FoundContact {
        phone_number: Some(account.user.to_string()),
        lid,
    })
}

/// WhatsApp tells the number behind a LID by itself, with messages and groups; it is not asked.
async fn find_lid(client: &Client, lid: &str) -> SendOutcome {
    let Ok(jid) = lid.parse::<Jid>() else {
        return SendOutcome::NotOnWhatsApp;
    };
    let known = client.get_lid_pn_entry(&jid).await.ok().flatten();
    SendOutcome::Found(FoundContact {
        phone_number: known.map(|entry| entry.phone_number.to_string()),
        lid: Some(lid.to_owned()),
    })
}
