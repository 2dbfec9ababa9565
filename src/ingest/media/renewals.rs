//! Asking the account's phone to upload files again that WhatsApp has no more.
//!
//! The phone may take longer than the caller waits. So the answer is kept, for the next one who
//! wants the file, and while the phone is asked nobody else asks it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use whatsapp_rust::{
    Jid,
    features::{MediaRetryResult, MediaReuploadRequest},
    prelude::Client,
};

use super::Reference;
use crate::{
    ingest::recent::Recent,
    model::{ClientId, SendOutcome},
    wire,
};

/// Answers that a session keeps; some 300 bytes each.
const ANSWERS_MAX: usize = 256;
/// Files that one session's phone is asked for at once.
const ASKED_MAX: usize = 4;
/// How long the phone may take. It uploads the whole file.
pub(in crate::ingest) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a phone that has not the file is not asked again, or that was not there.
const ABSENT_TTL: Duration = Duration::from_secs(60);
/// When to ask again for a file that the phone is asked for.
const RETRY_AFTER_SECONDS: u64 = 5;

#[derive(Clone)]
enum Answer {
    /// It is there now.
    Path(String),
    Asked(Instant),
    Absent(Instant),
}

/// What one session knows of its phone's files.
pub(in crate::ingest) struct Renewals(Mutex<Recent<String, Answer>>);

impl Default for Renewals {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(ANSWERS_MAX)))
    }
}

/// The phone is asked; it is not any more once this is dropped, whatever came of it.
struct Asking<'a> {
    renewals: &'a Renewals,
    key: String,
    answer: Answer,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let answer = self.answer.clone();
        self.renewals.lock().insert(self.key.clone(), answer);
    }
}

impl Renewals {
    /// The id of the file where it is now. `id` is the one that webhooks show.
    pub(in crate::ingest) async fn renew(
        &self,
        client: &Client,
        owner: ClientId,
        secret: &[u8; 32],
        id: &str,
    ) -> SendOutcome {
        let Some(file) = Reference::unseal(secret, owner, id) else {
            return SendOutcome::MediaGone;
        };
        let renewed = |path| SendOutcome::MediaRenewed {
            media_id: file.moved_to(path).seal(secret, owner),
        };
        let mut asking = match self.begin(id) {
            Ok(asking) => asking,
            Err(Answer::Path(path)) => return renewed(path),
            Err(Answer::Absent(_)) => return SendOutcome::MediaGone,
            Err(Answer::Asked(_)) => {
                let retry_after_seconds = RETRY_AFTER_SECONDS;
                return SendOutcome::TooFast {
                    retry_after_seconds,
                };
            }
        };
        match ask(client, &file).await {
            Some(path) => {
                asking.answer = Answer::Path(path.clone());
                renewed(path)
            }
            None => SendOutcome::MediaGone,
        }
    }

    /// What is known of the file, or the right to ask for it.
    fn begin(&self, id: &str) -> Result<Asking<'_>, Answer> {
        let now = Instant::now();
        let key = wire::dedupe_id(&["media", id]);
        let mut known = self.lock();
        let is_asked = |answer: &Answer| matches!(answer, Answer::Asked(until) if *until > now);
        match known.get(&key) {
            Some(Answer::Absent(until) | Answer::Asked(until)) if *until <= now => {}
            Some(answer) => return Err(answer.clone()),
            None => {}
        }
        if known.values().filter(|answer| is_asked(answer)).count() >= ASKED_MAX {
            return Err(Answer::Asked(now));
        }
        known.insert(key.clone(), Answer::Asked(now + ANSWER_TIMEOUT));
        drop(known);
        Ok(Asking {
            renewals: self,
            key,
            answer: Answer::Absent(now + ABSENT_TTL),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Recent<String, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the phone has put the file.
async fn ask(client: &Client, file: &Reference) -> Option<String> {
    let origin = file.origin()?;
    let chat: Jid = origin.chat.parse().ok()?;
    let participant: Option<Jid> = match &origin.participant {
        Some(name) => Some(name.parse().ok()?),
        None => None,
    };
    let request = MediaReuploadRequest {
        msg_id: &origin.message_id,
        chat_jid: &chat,
        media_key: file.key(),
        is_from_me: origin.is_from_me,
        participant: participant.as_ref(),
    };
    let reupload = client.media_reupload();
    match timeout(ANSWER_TIMEOUT, reupload.request(&request)).await {
        Ok(Ok(MediaRetryResult::Success { direct_path })) => Some(direct_path),
        Ok(Ok(_)) => {
            tracing::info!("the phone does not have a file any more");
            None
        }
        Ok(Err(_)) | Err(_) => {
            tracing::info!("the phone did not answer when it was asked for a file");
            None
        }
    }
}
