//! Work that takes a processor for milliseconds.

use std::{hash::Hash, thread::available_parallelism};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::block_in_place,
};

use super::KeyedSemaphore;

/// Work on fewer bytes is over in a fraction of a millisecond.
const HEAVY_BYTES: usize = 64 << 10;

/// Keeps work on many bytes from delaying all other work: it leaves half of the processors free,
/// and the runtime's other tasks do not wait behind it. Owners take turns, one piece of work each,
/// so that the one with much does not keep the others waiting.
#[derive(Debug)]
pub struct HeavyWork<K> {
    owners: KeyedSemaphore<K>,
    processors: Semaphore,
}

impl<K: Eq + Hash> Default for HeavyWork<K> {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            owners: KeyedSemaphore::new(1),
            processors: Semaphore::new((processors / 2).max(1)),
        }
    }
}

impl<K: Eq + Hash> HeavyWork<K> {
    /// Does work on so many bytes; work on few of them at once.
    pub async fn run<T>(&self, owner: K, bytes: usize, work: impl FnOnce() -> T) -> T {
        if bytes < HEAVY_BYTES {
            return work();
        }
        // One of each owner waits for a processor, so these come in turn.
        let _turn = self.owners.acquire(owner).await;
        let _processor = self.processors.acquire().await;
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => block_in_place(work),
            // There is no other thread to go on.
            _ => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use tokio::task::JoinSet;

    use super::*;

    fn one_processor() -> Arc<HeavyWork<u8>> {
        Arc::new(HeavyWork {
            processors: Semaphore::new(1),
            ..HeavyWork::default()
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn small_work_goes_on_while_much_heavy_work_is_done() {
        let heavy = one_processor();
        let at_once = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for owner in 0..8 {
            let heavy = Arc::clone(&heavy);
            let at_once = Arc::clone(&at_once);
            tasks.spawn(async move {
                let work = || {
                    assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    thread::sleep(Duration::from_millis(50));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                };
                heavy.run(owner, HEAVY_BYTES, work).await;
            });
        }
        tokio::task::yield_now().await;
        let started = Instant::now();
        heavy.run(0, HEAVY_BYTES - 1, || ()).await;
        assert!(
            started.elapsed() < Duration::from_millis(200),
            "small work waits for none"
        );
        while let Some(done) = tasks.join_next().await {
            done.expect("no panic");
        }
    }

    #[tokio::test]
    async fn owners_take_turns() {
        let heavy = one_processor();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let hold = heavy.processors.acquire().await.expect("never closed");
        for owner in [1, 1, 1, 1, 2] {
            let heavy = Arc::clone(&heavy);
            let order = Arc::clone(&order);
            tasks.spawn(async move {
                let note = || order.lock().expect("no panic").push(owner);
                heavy.run(owner, HEAVY_BYTES, note).await;
            });
        }
        tokio::task::yield_now().await;
        drop(hold);
        tasks.join_all().await;
        let order = order.lock().expect("no panic").clone();
        assert_eq!(
            order[..2],
            [1, 2],
            "the second owner waits for one of the first: {order:?}"
        );
    }
}
