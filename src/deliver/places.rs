//! The requests that this node has in flight, shared between clients.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    model::{ClientId, Priority},
    policy::{Decision, Shares},
    telemetry,
};

/// Requests that each client may have in flight however many others have.
const GUARANTEED: usize = 16;
/// Waiters that are looked at when a place is given back: the cost of a place stays flat.
const LOOKED_AT_MAX: usize = 64;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All are taken.
    NoneFree,
    /// The client has more than its share.
    OverShare,
}

/// All places of a node.
pub(super) struct Places(Mutex<State>);

struct State {
    shares: Shares,
    /// Each holds a slot of its loop, which bounds how many there are.
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    client: ClientId,
    place: oneshot::Sender<RequestPlace>,
}

/// A place, until it is dropped.
pub(super) struct RequestPlace {
    places: Arc<Places>,
    client: ClientId,
}

impl Places {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self(Mutex::new(State {
            shares: Shares::new(in_flight_max, GUARANTEED),
            waiters: VecDeque::new(),
        }))
    }

    /// A place for a request of this client. Normal priority waits for up to `wait`, unless the
    /// client has more than its share.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: ClientId,
        priority: Priority,
        wait: Duration,
    ) -> Result<RequestPlace, Refusal> {
        let waiting = {
            let mut state = self.state();
            match state.shares.take(client, 1, priority) {
                Decision::Granted => return Ok(self.place(client)),
                Decision::OverShare => return Err(Refusal::OverShare),
                Decision::Later if priority == Priority::Low => return Err(Refusal::NoneFree),
                Decision::Later => {
                    let (place, waiting) = oneshot::channel();
                    state.waiters.push_back(Waiter { client, place });
                    waiting
                }
            }
        };
        match timeout(wait, waiting).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Refusal::OverShare),
            Err(_) => Err(Refusal::NoneFree),
        }
    }

    fn place(self: &Arc<Self>, client: ClientId) -> RequestPlace {
        telemetry::places(1);
        RequestPlace {
            places: Arc::clone(self),
            client,
        }
    }

    /// Passes a place on to the first waiter that may have one.
    fn give_back(self: &Arc<Self>, client: ClientId) {
        let next = {
            let mut state = self.state();
            state.shares.give_back(client, 1);
            state.next()
        };
        if let Some(waiter) = next {
            let place = self.place(waiter.client);
            // One that gave up waiting drops the place, which passes it on.
            let _ = waiter.place.send(place);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first waiter that may have a place; it is counted as taken. Waiters that have more than
    /// their share by now are sent away.
    fn next(&mut self) -> Option<Waiter> {
        let mut kept = VecDeque::new();
        let mut found = None;
        for _ in 0..LOOKED_AT_MAX {
            let Some(waiter) = self.waiters.pop_front() else {
                break;
            };
            if waiter.place.is_closed() {
                continue;
            }
            match self.shares.take(waiter.client, 1, Priority::Normal) {
                Decision::Granted => {
                    found = Some(waiter);
                    break;
                }
                Decision::OverShare => drop(waiter),
                Decision::Later => kept.push_back(waiter),
            }
        }
        while let Some(waiter) = kept.pop_back() {
            self.waiters.push_front(waiter);
        }
        found
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        telemetry::places(-1);
        self.places.give_back(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Priority = Priority::Normal;
    const WAIT: Duration = Duration::from_secs(2);

    fn client(id: u64) -> ClientId {
        ClientId::try_from(id).expect("in range")
    }

    async fn take(places: &Arc<Places>, id: u64) -> Result<RequestPlace, Refusal> {
        places.take(client(id), NORMAL, WAIT).await
    }

    async fn take_many(places: &Arc<Places>, id: u64, count: usize) -> Vec<RequestPlace> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(take(places, id).await.expect("a place"));
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_for_nobody_and_the_greedy_one_is_refused_at_once() {
        let places = Arc::new(Places::new(64));
        let _greedy = take_many(&places, 1, 64).await;
        let start = tokio::time::Instant::now();
        let newcomer = take_many(&places, 2, 16).await;
        assert_eq!(take(&places, 1).await.err(), Some(Refusal::OverShare));
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(newcomer);
        assert_eq!(
            take(&places, 1).await.err(),
            Some(Refusal::NoneFree),
            "alone again, it waits for its own"
        );
        assert_eq!(start.elapsed(), WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_given_back_goes_to_the_one_below_its_share() {
        let places = Arc::new(Places::new(32));
        let mut greedy = take_many(&places, 1, 32).await;
        let also_greedy = Box::pin(take(&places, 1));
        let second = async {
            // From the reserve, and then in the line behind client 1.
            let held = take_many(&places, 2, 8).await;
            (held, take(&places, 2).await)
        };
        let given_back = async {
            tokio::time::sleep(WAIT / 2).await;
            greedy.truncate(20);
        };
        let (also_greedy, (_held, next), ()) = tokio::join!(also_greedy, second, given_back);
        assert_eq!(also_greedy.err(), Some(Refusal::OverShare));
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_for_one_that_gave_up_is_passed_on() {
        let places = Arc::new(Places::new(1));
        let only = take(&places, 1).await.expect("free");
        let early = places.take(client(1), NORMAL, WAIT / 4);
        let late = take(&places, 1);
        let given_back = async {
            tokio::time::sleep(WAIT / 2).await;
            drop(only);
        };
        let (early, late, ()) = tokio::join!(early, late, given_back);
        assert_eq!(early.err(), Some(Refusal::NoneFree));
        assert!(late.is_ok());
        drop(late);
        assert_eq!(places.state().shares.total(), 0);
        assert!(places.state().waiters.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn low_priority_waits_for_no_place() {
        let places = Arc::new(Places::new(4));
        let _half = take_many(&places, 1, 2).await;
        let start = tokio::time::Instant::now();
        let low = places.take(client(2), Priority::Low, WAIT).await;
        assert_eq!(low.err(), Some(Refusal::NoneFree));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
