//! What the messages that a node has taken up hold of its loops and of its memory.
//!
//! A loop has a number of slots, and the node has a number of bytes. A message that comes while its
//! client holds as much of either as is free is [`Load::Crowding`]. If it would stay for long it is
//! parked, so that other clients find room. A quick endpoint gives it back soon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{model::ClientId, policy::Shares, telemetry};

/// Messages of one loop in memory at once.
pub(super) const SLOTS: usize = 512;

/// What a message takes beside its payload and body.
const OVERHEAD_BYTES: usize = 1024;

/// Whether a client leaves room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Fair,
    /// It holds as many slots or bytes as are free, or more.
    Crowding,
}

/// The bytes of all messages that a node has taken up.
pub(super) struct Memory {
    shares: Mutex<Shares>,
    given_back: Notify,
}

/// The slots of one loop.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    /// One for each slot whose message is not of a chat that is kept in order.
    without_chat: Arc<Semaphore>,
    shares: Arc<Mutex<Shares>>,
}

/// What one message holds, until it is dropped: once it is settled. The loop's slot is free again
/// then.
pub(super) struct TakenUp {
    /// `None`: the message is no client's.
    _counted: Option<Counted>,
    load: Load,
    of_a_chat: Option<OwnedSemaphorePermit>,
    _slot: OwnedSemaphorePermit,
}

/// What is counted for a client.
struct Counted {
    slots: Slots,
    memory: Arc<Memory>,
    client: ClientId,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            shares: Mutex::new(Shares::new(bytes_max, 0)),
            given_back: Notify::new(),
        }
    }

    /// Waits until not all is used up.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let given_back = self.given_back.notified();
            if self.shares().free() > 0 {
                return;
            }
            given_back.await;
        }
    }

    fn give_back(&self, client: ClientId, bytes: usize) {
        let was_full = {
            let mut shares = self.shares();
            let was_full = shares.free() == 0;
            shares.give_back(client, bytes);
            was_full
        };
        if was_full {
            self.given_back.notify_waiters();
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Nothing here leaves the shares half changed.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(SLOTS)),
            without_chat: Arc::new(Semaphore::new(SLOTS)),
            shares: Arc::new(Mutex::new(Shares::new(SLOTS, 0))),
        }
    }

    /// Waits for a free slot.
    pub(super) async fn acquire(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.free)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// Waits until no message has a slot.
    pub(super) async fn wait_until_all_are_free(&self) {
        // An error would mean that it is closed, which it never is.
        let _ = self.free.acquire_many(SLOTS as u32).await;
    }

    /// Waits until no message of a chat that is kept in order has a slot.
    pub(super) async fn wait_until_no_chat_waits(&self) {
        // It is never closed either.
        let _ = self.without_chat.acquire_many(SLOTS as u32).await;
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn new(slots: &Slots, memory: &Arc<Memory>, client: ClientId, bytes: usize) -> Self {
        slots.shares().force(client, 1);
        memory.shares().force(client, bytes);
        telemetry::taken_up_bytes(bytes as f64);
        Self {
            slots: slots.clone(),
            memory: Arc::clone(memory),
            client,
            bytes,
        }
    }

    /// The first message of a client never crowds, however large: else it would never be sent.
    fn load(&self) -> Load {
        let is_crowding_slots = self.slots.shares().is_crowding(self.client, 1);
        if is_crowding_slots || self.memory.shares().is_crowding(self.client, self.bytes) {
            Load::Crowding
        } else {
            Load::Fair
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.slots.shares().give_back(self.client, 1);
        self.memory.give_back(self.client, self.bytes);
        telemetry::taken_up_bytes(-(self.bytes as f64));
    }
}

impl TakenUp {
    /// Counts a message with a payload of so many bytes for its client, if it is one's. Its body is
    /// reckoned to be as large.
    pub(super) fn new(
        slots: &Slots,
        memory: &Arc<Memory>,
        client: Option<ClientId>,
        payload_bytes: usize,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let bytes = payload_bytes * 2 + OVERHEAD_BYTES;
        let counted = client.map(|client| Counted::new(slots, memory, client, bytes));
        Self {
            load: counted.as_ref().map_or(Load::Fair, Counted::load),
            _counted: counted,
            of_a_chat: None,
            _slot: slot,
        }
    }

    /// The message is of a chat that is kept in order.
    pub(super) fn is_of_a_chat(&mut self, slots: &Slots) {
        // There is one for each slot, so it is free.
        self.of_a_chat = Arc::clone(&slots.without_chat).try_acquire_owned().ok();
    }

    /// What its client held when it came.
    pub(super) fn load(&self) -> Load {
        self.load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> ClientId {
        ClientId::try_from(id).expect("in range")
    }

    struct Loop {
        slots: Slots,
        memory: Arc<Memory>,
    }

    impl Loop {
        fn new(bytes_max: usize) -> Self {
            Self {
                slots: Slots::new(),
                memory: Arc::new(Memory::new(bytes_max)),
            }
        }

        fn take(&self, id: u64, payload_bytes: usize) -> TakenUp {
            let slot = Arc::clone(&self.slots.free).try_acquire_owned();
            let slot = slot.expect("a free slot");
            TakenUp::new(
                &self.slots,
                &self.memory,
                Some(client(id)),
                payload_bytes,
                slot,
            )
        }
    }

    #[test]
    fn half_of_the_slots_are_enough_for_one_client() {
        let pull_loop = Loop::new(usize::MAX / 4);
        let held: Vec<_> = (0..SLOTS / 2).map(|_| pull_loop.take(1, 10)).collect();
        let (last, earlier) = held.split_last().expect("some");
        assert_eq!(last.load(), Load::Crowding);
        assert!(earlier.iter().all(|taken| taken.load() == Load::Fair));
        assert_eq!(pull_loop.take(2, 10).load(), Load::Fair);
        drop(held);
        assert_eq!(pull_loop.take(1, 10).load(), Load::Fair);
        assert_eq!(pull_loop.slots.free.available_permits(), SLOTS);
    }

    #[test]
    fn large_messages_crowd_long_before_the_slots_are_used_up() {
        let pull_loop = Loop::new(10 << 20);
        let held: Vec<_> = (0..10).map(|_| pull_loop.take(1, 300_000)).collect();
        let first = held.iter().position(|taken| taken.load() == Load::Crowding);
        assert_eq!(first, Some(8), "9 × 600 KB is more than half of 10 MiB");
    }

    #[test]
    fn the_first_message_of_a_client_goes_however_large_it_is() {
        let pull_loop = Loop::new(1 << 20);
        let first = pull_loop.take(1, 2 << 20);
        assert_eq!(first.load(), Load::Fair);
        assert_eq!(pull_loop.take(1, 10).load(), Load::Crowding);
        drop(first);
        assert_eq!(pull_loop.take(1, 2 << 20).load(), Load::Fair);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_up_while_all_memory_is_used() {
        let pull_loop = Loop::new(1 << 20);
        pull_loop.memory.wait_for_room().await;
        let held = pull_loop.take(1, 1 << 20);
        let memory = Arc::clone(&pull_loop.memory);
        let mut waiting = Box::pin(memory.wait_for_room());
        tokio::select! {
            biased;
            () = &mut waiting => panic!("all is used up"),
            () = tokio::task::yield_now() => {}
        }
        drop(held);
        waiting.await;
        assert_eq!(memory.shares().total(), 0);
    }
}
