//! Watching a bucket.

use tokio::sync::watch;

use super::{
    Error,
    bucket::{Bucket, Codec},
    freshness::Revision,
    key_feed::{Change, KeyFeed},
};

/// What a bucket holds, and then each change.
///
/// It ends with an error when there is a new connection, or when its consumer is silent. The user
/// watches again at once, and gets all that the bucket holds then. A deleted key may have no
/// marker, so what is known and missing from the new snapshot is gone.
pub(super) struct Watch<T, C> {
    bucket: Bucket<T, C>,
    feed: KeyFeed,
    connections: watch::Receiver<u64>,
    /// The number of the connection that it is for.
    connection: u64,
    /// The bucket's newest revision just before this began.
    last_revision: Revision,
    snapshot: Snapshot,
}

/// How much of the bucket's content at the beginning was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    Partly,
    Wholly,
    /// Wholly, and [`Update::CaughtUp`] has said so.
    Reported,
}

/// One step of a watch.
pub(super) enum Update<T> {
    /// A key has this value.
    Put(Change, Result<T, Error>),
    /// A key was deleted.
    Deleted(Change),
    /// All that the bucket held when the watch began was given.
    CaughtUp,
}

impl<T, C: Codec<T>> Bucket<T, C> {
    /// Watches all keys whose name matches this filter: first what there is, then each change.
    pub(super) async fn watch(&self, filter: &str) -> Result<Watch<T, C>, Error> {
        Watch::open(self.clone(), filter).await
    }
}

impl<T, C: Codec<T>> Watch<T, C> {
    async fn open(bucket: Bucket<T, C>, filter: &str) -> Result<Self, Error> {
        let mut connections = bucket.connections();
        // The client may report its first connection late.
        let connection = (*connections.borrow()).max(1);
        let opening = async {
            let store = bucket.store().await?;
            let info = store.stream.get_info().await?;
            Ok::<_, Error>((info, KeyFeed::open(bucket.context(), &store, filter).await?))
        };
        let (info, feed) = tokio::select! {
            biased;
            // No answer of the earlier connection will come.
            () = newer_connection(&mut connections, connection) => return Err(connection_lost()),
            opened = opening => opened?,
        };
        let snapshot = if info.state.messages == 0 {
            Snapshot::Wholly
        } else {
            Snapshot::Partly
        };
        Ok(Self {
            bucket,
            feed,
            connections,
            connection,
            last_revision: Revision::of(&info),
            snapshot,
        })
    }

    /// The bucket's newest revision just before this began.
    pub(super) fn last_revision(&self) -> Revision {
        self.last_revision
    }

    /// The next step. Nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Update<T>, Error> {
        if self.snapshot == Snapshot::Wholly {
            self.snapshot = Snapshot::Reported;
            return Ok(Update::CaughtUp);
        }
        let fed = tokio::select! {
            biased;
            () = newer_connection(&mut self.connections, self.connection) => {
                return Err(connection_lost());
            }
            fed = self.feed.next() => fed?,
        };
        if fed.pending == 0 && self.snapshot == Snapshot::Partly {
            self.snapshot = Snapshot::Wholly;
        }
        Ok(match fed.value {
            Some(value) => Update::Put(fed.change, self.bucket.decode(&value)),
            None => Update::Deleted(fed.change),
        })
    }
}

/// Returns once there is a later connection than this one.
async fn newer_connection(connections: &mut watch::Receiver<u64>, connection: u64) {
    if connections
        .wait_for(|count| *count > connection)
        .await
        .is_err()
    {
        // The connection was closed for good: the watch itself ends.
        std::future::pending().await
    }
}

fn connection_lost() -> Error {
    Error::Closed("the connection of a watch")
}
