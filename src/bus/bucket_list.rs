//! Lists of what a bucket has.

use std::collections::{BTreeSet, HashSet};

use async_nats::jetstream::kv;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::{
    Error,
    bucket::{Bucket, Codec, Entry},
};

/// Values that are read at once for a list.
const READS_AT_ONCE: usize = 16;

impl<T, C: Codec<T>> Bucket<T, C> {
    /// All keys that have a value.
    pub(super) async fn keys(&self) -> Result<Vec<String>, Error> {
        let store = self.store().await?;
        let mut keys: Vec<String> = store.keys().await?.try_collect().await?;
        let known: HashSet<String> = keys.iter().cloned().collect();
        // Deleted, or missed by the client: see `names`.
        let others = names(&store, ">").await?;
        let others = others.into_iter().filter(|key| !known.contains(key));
        let found: Vec<_> = self.entries(&store, others).try_collect().await?;
        keys.extend(found.into_iter().map(|(key, _)| key));
        Ok(keys)
    }

    /// All values whose key matches this filter, with their keys. Their order says nothing.
    pub(super) async fn list(&self, filter: &str) -> Result<Vec<(String, Entry<T>)>, Error> {
        let store = self.store().await?;
        let names = names(&store, filter).await?;
        self.entries(&store, names).try_collect().await
    }

    /// Those of these keys that have a value, in this order.
    fn entries<'a>(
        &'a self,
        store: &'a kv::Store,
        keys: impl IntoIterator<Item = String> + 'a,
    ) -> impl Stream<Item = Result<(String, Entry<T>), Error>> + 'a {
        let reads = keys.into_iter().map(async |key| {
            let entry = self.entry_in(store, &key).await?;
            Ok::<_, Error>(entry.map(|entry| (key, entry)))
        });
        let entries = stream::iter(reads).buffered(READS_AT_ONCE);
        entries.try_filter_map(async |entry| Ok(entry))
    }

    /// Up to `limit` values whose key matches this filter and comes after `after`, by their keys.
    pub(super) async fn page(
        &self,
        filter: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry<T>)>, Error> {
        let store = self.store().await?;
        let names = names(&store, filter).await?;
        let behind = names
            .into_iter()
            .filter(|key| after.is_none_or(|after| key.as_str() > after));
        self.entries(&store, behind).take(limit).try_collect().await
    }
}

/// The names of all keys that match this filter, deleted ones among them.
///
/// They come from the stream's own list of subjects. The client's `keys()` reads a consumer until
/// nothing is pending there. A key that is written meanwhile leaves its place in the stream before
/// the new one counts as pending, so the end may come without it.
async fn names(store: &kv::Store, filter: &str) -> Result<Vec<String>, Error> {
    let filter = format!("{}{filter}", store.prefix);
    let subjects = store.stream.info_builder().subjects(filter).fetch().await?;
    let subjects: Vec<(String, usize)> = subjects.try_collect().await?;
    // The list comes in pages; a key that is added between two of them may stand in both.
    let names: BTreeSet<String> = subjects
        .into_iter()
        .filter_map(|(subject, _)| subject.strip_prefix(&store.prefix).map(str::to_owned))
        .collect();
    Ok(names.into_iter().collect())
}
