//! So many at once for each key.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Keys that nobody uses are forgotten when there are so many.
const KEYS_MAX: usize = 1024;

/// Gives each key so many permits. Who waits gets them first come, first served.
#[derive(Debug)]
pub struct KeyedSemaphore<K> {
    each: usize,
    keys: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Eq + Hash> KeyedSemaphore<K> {
    /// So many permits for each key.
    pub fn new(each: usize) -> Self {
        Self {
            each,
            keys: Mutex::default(),
        }
    }

    /// Waits for a permit of this key.
    pub async fn acquire(&self, key: K) -> OwnedSemaphorePermit {
        let permit = self.of(key).acquire_owned().await;
        permit.expect("these semaphores are never closed")
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            // Permits and those who wait for one hold their semaphore.
            keys.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let each = self.each;
        let of_key = keys
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(each)));
        Arc::clone(of_key)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_key_has_its_permits_and_unused_keys_are_forgotten() {
        let semaphore = KeyedSemaphore::new(2);
        let mut held = Vec::new();
        for key in [0, 0, 1] {
            held.push(semaphore.acquire(key).now_or_never().expect("free"));
        }
        assert!(
            semaphore.acquire(0).now_or_never().is_none(),
            "both are taken"
        );
        for key in 2..5_000 {
            assert!(semaphore.acquire(key).now_or_never().is_some());
        }
        assert!(
            semaphore.acquire(0).now_or_never().is_none(),
            "and kept in mind"
        );
        assert!(semaphore.keys.lock().expect("no panic").len() <= KEYS_MAX);
        held.pop();
        held.pop();
        assert!(semaphore.acquire(0).now_or_never().is_some());
    }
}
