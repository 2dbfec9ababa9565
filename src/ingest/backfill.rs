//! History on demand: messages that lie before a known one, asked of the account's phone, and
//! published where they were missed.
//!
//! The phone answers with a page of one chat at a time. WhatsApp's client fetches it; nobody hands
//! it out a second time, so a page that cannot be published is asked for again with the next
//! request.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, mpsc},
    time::{Instant, timeout, timeout_at},
};
use whatsapp_rust::{
    Jid,
    prelude::{Client, wa},
    types::{
        events::{InboundMessage, LazyHistorySync},
        message::{MessageInfo, MessageSource},
    },
    wacore::time::from_secs_or_now,
    wacore_binary::JidExt as _,
};

use super::{
    hook::Publisher,
    seen::{Anchor, Published},
};
use crate::model::{Backfill, SendOutcome, Timestamp};

/// Chats of one request.
pub(super) const CHATS_MAX: usize = 20;
/// Messages that the phone is asked for at once, as WhatsApp Web does.
const PAGE_MESSAGES: i32 = 50;
/// Pages of one chat.
const PAGES_MAX: usize = 20;
/// Messages of one request that are looked at.
const MESSAGES_MAX: usize = 2000;
/// Bytes of one page, unpacked.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the phone may take for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// One request as a whole.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// When to ask again while another request runs.
const BUSY_RETRY_SECONDS: u64 = 30;
/// Pages that wait to be looked at: there is one request at a time.
const WAITING_MAX: usize = 4;

type Pages = mpsc::Receiver<LazyHistorySync>;

/// The history of one session.
pub(super) struct History {
    /// Whoever holds it may ask.
    turn: Arc<Mutex<Pages>>,
    pages: mpsc::Sender<LazyHistorySync>,
}

impl Default for History {
    fn default() -> Self {
        let (pages, answers) = mpsc::channel(WAITING_MAX);
        Self {
            turn: Arc::new(Mutex::new(answers)),
            pages,
        }
    }
}

/// What is to be asked for.
pub(super) struct Plan {
    turn: OwnedMutexGuard<Pages>,
    since: Timestamp,
    until: Timestamp,
    chats: Vec<Anchor>,
    /// As it was at the beginning: what is published late takes the place of what is remembered.
    published: Published,
}

/// Lets the client fetch history while it lives.
struct Fetching<'a>(&'a Client);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.set_skip_history_sync(true);
    }
}

impl History {
    /// A page has come. One that nobody waits for is dropped.
    pub(super) fn page(&self, page: &LazyHistorySync) {
        let is_asked_for = page.sync_type() == wa::message::HistorySyncType::ON_DEMAND as i32;
        if is_asked_for && self.pages.try_send(page.clone()).is_err() {
            tracing::warn!("a page of history is dropped: nobody waits for it");
        }
    }

    /// What a request can fetch, and what the caller is told of that.
    pub(super) fn plan(
        &self,
        publisher: &Publisher,
        wanted: &Backfill,
    ) -> (Option<Plan>, SendOutcome) {
        let Ok(mut turn) = Arc::clone(&self.turn).try_lock_owned() else {
            let retry_after_seconds = BUSY_RETRY_SECONDS;
            return (
                None,
                SendOutcome::TooFast {
                    retry_after_seconds,
                },
            );
        };
        // Of a request before this one.
        while turn.try_recv().is_ok() {}
        let since = wanted.since.max(publisher.seen.complete_since());
        let known = publisher.seen.anchors();
        let mut unknown = wanted.chats.clone();
        unknown.retain(|chat| !known.iter().any(|anchor| anchor.shown == *chat));
        let is_wanted = |anchor: &Anchor| {
            let is_named = wanted.chats.contains(&anchor.shown);
            (wanted.chats.is_empty() || is_named) && anchor.at_ms >= since.millis()
        };
        let chats: Vec<Anchor> = known
            .into_iter()
            .filter(is_wanted)
            .take(CHATS_MAX)
            .collect();
        let outcome = SendOutcome::BackfillStarted {
            since,
            chats: chats.iter().map(|anchor| anchor.shown.clone()).collect(),
            unknown,
        };
        let plan = Plan {
            turn,
            since,
            until: wanted.until,
            chats,
            published: publisher.seen.published(),
        };
        (Some(plan), outcome)
    }
}

impl Plan {
    /// Asks for it, and publishes what was missed.
    pub(super) async fn carry_out(mut self, client: &Arc<Client>, publisher: &Publisher) {
        let deadline = Instant::now() + TIME_MAX;
        client.set_skip_history_sync(false);
        let _fetching = Fetching(client);
        let mut looked_at = 0;
        let mut published = 0;
        for anchor in std::mem::take(&mut self.chats) {
            let filling = self.fill(client, publisher, anchor, MESSAGES_MAX - looked_at);
            match timeout_at(deadline, filling).await {
                Ok(Ok((looked, new))) => {
                    looked_at += looked;
                    published += new;
                }
                // The text may hold ids.
                Ok(Err(_)) => tracing::warn!("a chat's history could not be fetched whole"),
                Err(_) => break,
            }
            if looked_at >= MESSAGES_MAX {
                break;
            }
        }
        tracing::info!(
            count = published,
            "history was asked for, and what was missed is published"
        );
    }

    /// One chat: how many messages were looked at, and how many of them published.
    async fn fill(
        &mut self,
        client: &Arc<Client>,
        publisher: &Publisher,
        mut anchor: Anchor,
        messages_max: usize,
    ) -> anyhow::Result<(usize, usize)> {
        let mut looked_at = 0;
        let mut published = 0;
        for _ in 0..PAGES_MAX {
            let page = self.page(client, &anchor).await?;
            let is_last = page.rows < usize::try_from(PAGE_MESSAGES).unwrap_or_default();
            looked_at += page.rows;
            let span = self.since.millis()..=self.until.millis();
            for message in &page.messages {
                let at = message.info.timestamp.timestamp_millis();
                if span.contains(&at)
                    && publisher
                        .publish_late(client, message, &mut self.published)
                        .await?
                {
                    published += 1;
                }
            }
            let Some(oldest) = page.oldest else {
                break;
            };
            let is_further = oldest.at_ms <= anchor.at_ms && oldest.id != anchor.message_id;
            let is_before = oldest.at_ms < self.since.millis();
            if is_last || is_before || !is_further || looked_at >= messages_max {
                break;
            }
            anchor.message_id = oldest.id;
            anchor.is_from_me = oldest.is_from_me;
            anchor.at_ms = oldest.at_ms;
        }
        Ok((looked_at, published))
    }

    /// The messages before the anchor.
    async fn page(&mut self, client: &Arc<Client>, anchor: &Anchor) -> anyhow::Result<Page> {
        let chat: Jid = anchor.chat.parse().context("the id of a chat")?;
        let asking = client.fetch_message_history(
            &chat,
            &anchor.message_id,
            anchor.is_from_me,
            anchor.at_ms,
            PAGE_MESSAGES,
        );
        let asked = timeout(PAGE_TIMEOUT, asking)
            .await
            .context("asking the phone")??;
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            let page = timeout_at(deadline, self.turn.recv()).await;
            let Some(page) = page.context("the phone's answer")? else {
                bail!("the session ends");
            };
            // An answer to a page that was given up may come late.
            let of = page.peer_data_request_session_id();
            if of.is_some_and(|of| of != asked) {
                continue;
            }
            ensure!(
                page.decompressed_size() <= PAGE_BYTES_MAX,
                "a page is too large"
            );
            let history = page.get().context("a page that cannot be read")?;
            let answers = of.map_or(Answers::Unknown, |_| Answers::This);
            return Ok(Page::new(client, &chat, history, answers));
        }
    }
}

impl Publisher {
    /// Publishes a message of the past, unless it was published before. Whether it was new.
    async fn publish_late(
        &self,
        client: &Client,
        inbound: &InboundMessage,
        published: &mut Published,
    ) -> anyhow::Result<bool> {
        if published.has(&inbound.info) || self.seen.has(&inbound.info) {
            return Ok(false);
        }
        let Some((mut message, dedupe_id)) = self.message(client, inbound).await? else {
            return Ok(false);
        };
        message.metadata.insert("late".to_owned(), true.into());
        let publishing = self.publish_wanted(message, &dedupe_id);
        timeout(self.publish_timeout, publishing).await??;
        self.seen.note_late(&inbound.info);
        published.add(&inbound.info);
        Ok(true)
    }
}

/// What the phone gave of one chat.
struct Page {
    /// The messages that can be published, the oldest first.
    messages: Vec<InboundMessage>,
    /// All that the phone gave: among them are calls, and notes on who joined.
    rows: usize,
    oldest: Option<Row>,
}

/// Where the next page begins.
#[derive(Clone)]
struct Row {
    id: String,
    is_from_me: bool,
    at_ms: i64,
}

impl Page {
    fn new(client: &Client, chat: &Jid, history: &wa::HistorySync, answers: Answers) -> Self {
        let is_asked_for = |one: &&wa::Conversation| {
            let id: Option<Jid> = one.id.parse().ok();
            // A person's chat may be named by the number or by the LID.
            let may_be = |id: &Jid| answers == Answers::This && !id.is_group() && !chat.is_group();
            id.is_some_and(|id| id.user == chat.user || may_be(&id))
        };
        let conversations = history.conversations.iter().filter(is_asked_for);
        let all = conversations.flat_map(|conversation| &conversation.messages);
        let mut rows: Vec<&wa::WebMessageInfo> =
            all.filter_map(|one| one.message.as_option()).collect();
        // The phone gives the newest first, and times have whole seconds.
        rows.reverse();
        rows.sort_by_key(|row| row.message_timestamp);
        Self {
            messages: rows
                .iter()
                .filter_map(|row| inbound(client, chat, row))
                .collect(),
            rows: rows.len(),
            oldest: rows.iter().find_map(|row| Row::of(row)),
        }
    }
}

impl Row {
    fn of(row: &wa::WebMessageInfo) -> Option<Self> {
        let key = row.key.as_option()?;
        let seconds = i64::try_from(row.message_timestamp?).ok()?;
        Some(Self {
            id: key.id.clone().filter(|id| !id.is_empty())?,
            is_from_me: key.from_me.unwrap_or_default(),
            at_ms: from_secs_or_now(seconds).timestamp_millis(),
        })
    }
}

/// What a page answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// The request that waits for it.
    This,
    /// The phone does not say.
    Unknown,
}

/// A message as it would have come.
fn inbound(client: &Client, chat: &Jid, old: &wa::WebMessageInfo) -> Option<InboundMessage> {
    let key = old.key.as_option()?;
    let is_from_me = key.from_me.unwrap_or_default();
    let participant = key.participant.as_ref().or(old.participant.as_ref());
    let sender = match participant.and_then(|name| name.parse::<Jid>().ok()) {
        Some(sender) => sender,
        None if is_from_me => client.pn()?.to_non_ad(),
        None if chat.is_group() => return None,
        None => chat.clone(),
    };
    let seconds = i64::try_from(old.message_timestamp?).ok()?;
    let info = MessageInfo {
        id: key.id.clone().filter(|id| !id.is_empty())?,
        source: MessageSource {
            chat: chat.clone(),
            sender,
            is_from_me,
            is_group: chat.is_group(),
            ..MessageSource::default()
        },
        timestamp: from_secs_or_now(seconds),
        push_name: old.push_name.clone().unwrap_or_default(),
        ..MessageInfo::default()
    };
    let message = old.message.as_option()?.clone();
    let inbound = InboundMessage::builder()
        .message(Arc::from(message))
        .info(Arc::new(info));
    Some(inbound.build())
}
