//! The webhooks that a node knows without asking the server.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::freshness::Revision;
use crate::model::{ClientId, Phone, Timestamp, Webhook, WebhookId};

pub(super) type Key = (ClientId, Phone);

#[derive(Default)]
pub(super) struct Cache {
    by_key: HashMap<Key, (u64, Arc<Webhook>)>,
    by_id: HashMap<WebhookId, Key>,
    /// The newest revision that the watch has brought.
    seen: u64,
    /// When the bucket was made that the revisions are of.
    bucket_created_at: Option<Timestamp>,
    /// The snapshot that the watch is bringing.
    snapshot: Option<Snapshot>,
}

/// What the bucket holds when a watch begins.
struct Snapshot {
    /// The bucket's newest revision just before.
    last_revision: u64,
    keys: HashSet<Key>,
}

impl Cache {
    pub(super) fn by_phone(&self, key: &Key) -> Option<Arc<Webhook>> {
        self.by_key.get(key).map(|(_, webhook)| Arc::clone(webhook))
    }

    pub(super) fn by_id(&self, client: ClientId, id: WebhookId) -> Option<Arc<Webhook>> {
        let key = self.by_id.get(&id).filter(|key| key.0 == client)?;
        self.by_phone(key)
    }

    /// All webhooks of all clients.
    pub(super) fn all(&self) -> Vec<Arc<Webhook>> {
        let webhooks = self.by_key.values();
        webhooks.map(|(_, webhook)| Arc::clone(webhook)).collect()
    }

    /// All webhooks of a client but its operational one.
    pub(super) fn list(&self, client: ClientId) -> Vec<Arc<Webhook>> {
        self.by_key
            .iter()
            .filter(|(key, _)| key.0 == client && !key.1.is_operational())
            .map(|(_, (_, webhook))| Arc::clone(webhook))
            .collect()
    }

    /// Up to `limit` webhooks of a client after this number, by phone number, without its
    /// operational one. The cost grows with all webhooks, but only `limit` of them are sorted.
    pub(super) fn page(
        &self,
        client: ClientId,
        after: Option<&Phone>,
        limit: usize,
    ) -> Vec<Arc<Webhook>> {
        let mut found: Vec<(&Phone, &Arc<Webhook>)> = self
            .by_key
            .iter()
            .filter(|(key, _)| key.0 == client && !key.1.is_operational())
            .filter(|(key, _)| after.is_none_or(|after| key.1 > *after))
            .map(|((_, phone), (_, webhook))| (phone, webhook))
            .collect();
        if limit < found.len() {
            found.select_nth_unstable_by_key(limit, |(phone, _)| *phone);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|(phone, _)| *phone);
        found
            .into_iter()
            .map(|(_, webhook)| Arc::clone(webhook))
            .collect()
    }

    /// Takes in an answer of the server. It may be older than what the watch has brought. Then a
    /// webhook that is missing here was deleted since.
    pub(super) fn learn(&mut self, key: Key, revision: u64, webhook: Arc<Webhook>) {
        if self.seen < revision || self.by_key.contains_key(&key) {
            self.insert(key, revision, webhook);
        }
    }

    /// Takes in a value that the watch brought.
    pub(super) fn put(&mut self, key: Key, revision: u64, webhook: Arc<Webhook>) {
        self.note(&key, revision);
        self.insert(key, revision, webhook);
    }

    /// Takes in a value that the watch brought and that cannot be read. The next one to need it
    /// asks the server, and waits until it can be read.
    pub(super) fn put_unreadable(&mut self, key: &Key, revision: u64) {
        self.note(key, revision);
        self.remove(key, revision);
    }

    /// Takes in a deletion that the watch brought.
    pub(super) fn deleted(&mut self, key: &Key, revision: u64) {
        self.saw(revision);
        self.remove(key, revision);
    }

    /// The watch brought something of this revision.
    pub(super) fn saw(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
    }

    fn note(&mut self, key: &Key, revision: u64) {
        self.saw(revision);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.keys.insert(key.clone());
        }
    }

    /// A watch began: what it does not bring until [`end_snapshot`](Self::end_snapshot) is gone.
    pub(super) fn begin_snapshot(&mut self, newest: Revision) {
        let last_revision = newest.number;
        let created_at = Some(newest.bucket_created_at);
        let is_another = self.bucket_created_at.replace(newest.bucket_created_at) != created_at;
        if is_another || last_revision < self.seen {
            // The bucket was made again, or the server lost its newest revisions: they are counted
            // again, so any value it brings is newer than what is known.
            self.seen = 0;
            self.by_key
                .values_mut()
                .for_each(|(revision, _)| *revision = 0);
        }
        self.snapshot = Some(Snapshot {
            last_revision,
            keys: HashSet::new(),
        });
    }

    /// The watch brought all that there was: forgets webhooks that were deleted unseen.
    pub(super) fn end_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        self.seen = self.seen.max(snapshot.last_revision);
        let gone: Vec<Key> = self
            .by_key
            .iter()
            // One with a later revision was registered since.
            .filter(|(_, (revision, _))| *revision <= snapshot.last_revision)
            .map(|(key, _)| key.clone())
            .filter(|key| !snapshot.keys.contains(key))
            .collect();
        for key in gone {
            self.drop_key(&key);
        }
    }

    /// The newest revision that the watch has brought; `None` while it brings a snapshot, and
    /// before the first one.
    pub(super) fn seen(&self) -> Option<Revision> {
        let created_at = self.bucket_created_at.filter(|_| self.snapshot.is_none())?;
        Some(Revision {
            bucket_created_at: created_at,
            number: self.seen,
        })
    }

    fn insert(&mut self, key: Key, revision: u64, webhook: Arc<Webhook>) {
        let known = self.by_key.get(&key);
        if known.is_some_and(|(known, _)| *known >= revision) {
            return;
        }
        self.by_id.insert(webhook.id, key.clone());
        let id = webhook.id;
        if let Some((_, before)) = self.by_key.insert(key, (revision, webhook))
            && before.id != id
        {
            self.by_id.remove(&before.id);
        }
    }

    /// Forgets what is known of a key from before this revision.
    pub(super) fn remove(&mut self, key: &Key, revision: u64) {
        let known = self.by_key.get(key);
        if known.is_some_and(|(known, _)| *known < revision) {
            self.drop_key(key);
        }
    }

    fn drop_key(&mut self, key: &Key) {
        if let Some((_, webhook)) = self.by_key.remove(key) {
            self.by_id.remove(&webhook.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::Timestamp;

    fn client() -> ClientId {
        1.try_into().expect("in range")
    }

    fn webhook(phone: &str, id: u128) -> (Key, Arc<Webhook>) {
        let phone: Phone = phone.parse().expect("valid");
        let key = (client(), phone.clone());
        let webhook = Webhook::new(
            WebhookId(Uuid::from_u128(id)),
            client(),
            phone,
            "https://example.com/".to_owned(),
            Timestamp::EPOCH,
        );
        (key, Arc::new(webhook))
    }

    /// Of the first bucket.
    fn revision(number: u64) -> Revision {
        Revision {
            bucket_created_at: Timestamp::EPOCH,
            number,
        }
    }

    #[test]
    fn an_answer_from_before_a_deletion_brings_no_webhook_back() {
        let (key, webhook) = webhook("4915112345678", 7);
        let mut cache = Cache::default();
        // Asked before the watch brought it: worth keeping.
        cache.learn(key.clone(), 5, Arc::clone(&webhook));
        assert!(cache.by_phone(&key).is_some());
        cache.put(key.clone(), 5, Arc::clone(&webhook));
        cache.learn(key.clone(), 6, Arc::clone(&webhook));
        assert_eq!(cache.by_key[&key].0, 6, "newer than the watch");
        cache.deleted(&key, 7);
        // The answer was on its way when the deletion came.
        cache.learn(key.clone(), 6, Arc::clone(&webhook));
        assert!(
            cache.by_key.is_empty() && cache.by_id.is_empty(),
            "a deleted webhook came back"
        );
        // Registered again.
        cache.learn(key.clone(), 8, Arc::clone(&webhook));
        assert!(cache.by_phone(&key).is_some() && cache.by_id(client(), webhook.id).is_some());
    }

    #[test]
    fn a_snapshot_drops_what_was_deleted_unseen_and_keeps_what_was_registered_since() {
        let (kept_key, kept) = webhook("4915100000001", 1);
        let (gone_key, gone) = webhook("4915100000002", 2);
        let (new_key, new) = webhook("4915100000003", 3);
        let mut cache = Cache::default();
        cache.put(kept_key.clone(), 1, Arc::clone(&kept));
        cache.put(gone_key.clone(), 2, Arc::clone(&gone));
        // The second was deleted without a marker while no watch ran.
        cache.begin_snapshot(revision(3));
        cache.learn(new_key.clone(), 4, new);
        cache.put(kept_key.clone(), 1, kept);
        cache.end_snapshot();
        assert!(cache.by_phone(&kept_key).is_some());
        assert!(cache.by_phone(&gone_key).is_none(), "it was deleted");
        assert!(cache.by_id(client(), gone.id).is_none(), "it was deleted");
        assert!(
            cache.by_phone(&new_key).is_some(),
            "newer than the snapshot"
        );
        // An answer from before the deletion.
        cache.learn(gone_key.clone(), 2, gone);
        assert!(cache.by_phone(&gone_key).is_none(), "it came back");
    }

    #[test]
    fn a_snapshot_of_a_server_that_lost_revisions_replaces_newer_ones() {
        let (key, before) = webhook("4915100000001", 1);
        let (_, after) = webhook("4915100000001", 2);
        let (lost_key, lost) = webhook("4915100000002", 3);
        let mut cache = Cache::default();
        cache.put(key.clone(), 8, before);
        cache.put(lost_key.clone(), 9, lost);
        cache.begin_snapshot(revision(2));
        cache.put(key.clone(), 2, Arc::clone(&after));
        cache.end_snapshot();
        assert_eq!(cache.by_phone(&key), Some(after));
        assert_eq!(cache.by_phone(&lost_key), None);
        assert_eq!(cache.seen(), Some(revision(2)));
    }

    #[test]
    fn a_snapshot_of_a_bucket_that_was_made_again_replaces_all_whatever_its_revisions() {
        for (known, newest) in [(8, 9), (8, 8), (8, 1)] {
            let (key, before) = webhook("4915100000001", 1);
            let (_, after) = webhook("4915100000001", 2);
            let (lost_key, lost) = webhook("4915100000002", 3);
            let mut cache = Cache::default();
            cache.begin_snapshot(revision(known));
            cache.put(lost_key.clone(), known - 1, lost);
            cache.put(key.clone(), known, before);
            cache.end_snapshot();
            let second = Revision {
                bucket_created_at: Timestamp::from_millis(1),
                number: newest,
            };
            cache.begin_snapshot(second);
            cache.put(key.clone(), newest, Arc::clone(&after));
            cache.end_snapshot();
            assert_eq!(cache.by_phone(&key), Some(after), "{known}, {newest}");
            assert_eq!(cache.by_phone(&lost_key), None, "{known}, {newest}");
            assert_eq!(cache.seen(), Some(second));
        }
    }
}
