//! Whether a number has an account, and by which number WhatsApp knows it.
//!
//! A message to a number without an account would leave as a copy for the own phone alone, and
//! look as if it was sent. The answer also tells the account's own form of the number, which in
//! some countries is not the one that people dial.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use whatsapp_rust::{Jid, prelude::Client};

use crate::{ingest::recent::Recent, model::Phone};

/// Answers that a session keeps; about 150 bytes each.
const ANSWERS_MAX: usize = 1024;
/// How long a number that has an account is not asked for again.
const FOUND_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one that has none is not: its owner may be about to make one.
const ABSENT_TTL: Duration = Duration::from_secs(5 * 60);
/// Within the time that a whole message may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// WhatsApp did not answer, or not about this number.
#[derive(Debug)]
pub(super) struct LookupFailed;

/// The look-ups of one session.
#[derive(Default)]
pub(super) struct Lookups(Mutex<Answers>);

impl Lookups {
    /// The account of a number; `None` when there is none.
    pub(super) async fn account(
        &self,
        client: &Client,
        phone: &Phone,
    ) -> Result<Option<Jid>, LookupFailed> {
        let jid = Jid::pn(phone.as_str());
        let is_own = client.pn().is_some_and(|own| own.user == jid.user);
        // A number with a LID has an account: WhatsApp gave it to it.
        if is_own || matches!(client.get_lid_pn_entry(&jid).await, Ok(Some(_))) {
            return Ok(Some(jid));
        }
        if let Some(answer) = self.0.lock().await.get(phone, Instant::now()) {
            return Ok(answer);
        }
        let answer = ask(client, jid).await?;
        let mut answers = self.0.lock().await;
        answers.put(phone.clone(), answer.clone(), Instant::now());
        Ok(answer)
    }
}

async fn ask(client: &Client, jid: Jid) -> Result<Option<Jid>, LookupFailed> {
    let asked = [jid];
    let contacts = client.contacts();
    let asking = contacts.is_on_whatsapp(&asked);
    let Ok(Ok(results)) = timeout(LOOKUP_TIMEOUT, asking).await else {
        // The error's text may hold the number.
        tracing::warn!("WhatsApp did not answer whether a number has an account");
        return Err(LookupFailed);
    };
    // Numbers that WhatsApp knows nothing of may be left out of its answer.
    let Some(result) = results.into_iter().next() else {
        return Ok(None);
    };
    if result.contact_error.is_some() {
        return Err(LookupFailed);
    }
    let number = result.pn_jid.unwrap_or(result.jid);
    Ok(result.is_registered.then(|| number.to_non_ad()))
}

/// What was answered lately, and when.
struct Answers(Recent<Phone, (Instant, Option<Jid>)>);

impl Default for Answers {
    fn default() -> Self {
        Self(Recent::new(ANSWERS_MAX))
    }
}

impl Answers {
    fn get(&self, phone: &Phone, now: Instant) -> Option<Option<Jid>> {
        let (at, answer) = self.0.get(phone)?;
        let ttl = if answer.is_some() {
            FOUND_TTL
        } else {
            ABSENT_TTL
        };
        (now.duration_since(*at) < ttl).then(|| answer.clone())
    }

    fn put(&mut self, phone: Phone, answer: Option<Jid>, now: Instant) {
        self.0.insert(phone, (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(number: usize) -> Phone {
        format!("49151{number:07}").parse().expect("a number")
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_an_absent_account_for_less() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let account = Some(Jid::pn("491510000001"));
        answers.put(phone(1), account.clone(), now);
        answers.put(phone(2), None, now);
        assert_eq!(answers.get(&phone(3), now), None);
        let soon = now + ABSENT_TTL - Duration::from_secs(1);
        assert_eq!(answers.get(&phone(2), soon), Some(None));
        assert_eq!(answers.get(&phone(2), now + ABSENT_TTL), None);
        assert_eq!(answers.get(&phone(1), now + ABSENT_TTL), Some(account));
        assert_eq!(answers.get(&phone(1), now + FOUND_TTL), None);
    }

    #[test]
    fn answers_are_bounded_and_a_renewed_one_outlives_its_first_place() {
        let now = Instant::now();
        let mut answers = Answers::default();
        answers.put(phone(0), None, now);
        let later = now + Duration::from_secs(1);
        answers.put(phone(0), None, later);
        for number in 1..ANSWERS_MAX {
            answers.put(phone(number), None, later);
        }
        assert_eq!(answers.get(&phone(0), later), Some(None), "renewed");
        for number in ANSWERS_MAX..3 * ANSWERS_MAX {
            answers.put(phone(number), None, later);
        }
        assert_eq!(answers.get(&phone(0), later), None);
        assert!(answers.0.len() <= ANSWERS_MAX);
    }
}
