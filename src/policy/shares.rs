//! How clients share something that can run out: requests in flight, slots, memory.
//!
//! A client that is alone may take all. While there is plenty, everyone may take more. Once little
//! is left, a client that holds more than its even share gets no more (max-min fairness: what one
//! does not need is for the others). Beyond all that is a reserve, from which each client gets a
//! small amount while it holds less than that. So a client that comes in never waits until another
//! gives something back.

use std::collections::HashMap;

use crate::model::{ClientId, Priority};

/// What is kept for clients that compete, and the size of the reserve: one of so many parts.
const RESERVE_PARTS: usize = 4;

/// Whether a client may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It has it now.
    Granted,
    /// It may have it as soon as others give something back.
    Later,
    /// It holds more than its share while others need theirs.
    OverShare,
}

/// What clients hold of one resource.
///
/// # Examples
///
/// ```
/// use wahook::{model::{ClientId, Priority}, policy::{Decision, Shares}};
///
/// let greedy = ClientId::try_from(1)?;
/// let newcomer = ClientId::try_from(2)?;
/// let mut shares = Shares::new(100, 4);
/// for _ in 0..100 {
///     assert_eq!(shares.take(greedy, 1, Priority::Normal), Decision::Granted);
/// }
/// assert_eq!(shares.take(newcomer, 1, Priority::Normal), Decision::Granted);
/// assert_eq!(shares.take(greedy, 1, Priority::Normal), Decision::OverShare);
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Shares {
    capacity: usize,
    guaranteed: usize,
    held: HashMap<ClientId, usize>,
    total: usize,
}

impl Shares {
    /// `capacity` units in all. `guaranteed`: what each client gets from a reserve of a quarter
    /// more while it holds less.
    pub fn new(capacity: usize, guaranteed: usize) -> Self {
        Self {
            capacity,
            guaranteed,
            held: HashMap::new(),
            total: 0,
        }
    }

    /// Takes `amount` units for a client if it may have them. Those of low priority leave half of
    /// all to normal priority, and the reserve.
    pub fn take(&mut self, client: ClientId, amount: usize, priority: Priority) -> Decision {
        let decision = self.decide(client, amount, priority);
        if decision == Decision::Granted {
            self.force(client, amount);
        }
        decision
    }

    fn decide(&self, client: ClientId, amount: usize, priority: Priority) -> Decision {
        let fits = |limit: usize| {
            if self.total.saturating_add(amount) <= limit {
                Decision::Granted
            } else {
                Decision::Later
            }
        };
        let held = self.held(client);
        let after = held.saturating_add(amount);
        let low_limit = self.capacity / 2;
        let part = self.capacity / RESERVE_PARTS;
        match priority {
            Priority::Low if after > self.share(client) => match fits(low_limit) {
                Decision::Later => Decision::OverShare,
                granted => granted,
            },
            Priority::Low => fits(low_limit),
            Priority::Normal if after <= self.guaranteed => fits(self.capacity + part),
            Priority::Normal if self.others(client) == 0 => fits(self.capacity),
            Priority::Normal if after <= self.share(client) => fits(self.capacity),
            Priority::Normal => match fits(self.capacity - part) {
                Decision::Later => Decision::OverShare,
                granted => granted,
            },
        }
    }

    /// Takes `amount` units for a client, whether there are any left or not.
    pub fn force(&mut self, client: ClientId, amount: usize) {
        *self.held.entry(client).or_default() += amount;
        self.total += amount;
    }

    /// Gives back what the client took.
    pub fn give_back(&mut self, client: ClientId, amount: usize) {
        self.total = self.total.saturating_sub(amount);
        if let Some(held) = self.held.get_mut(&client) {
            *held = held.saturating_sub(amount);
            if *held == 0 {
                self.held.remove(&client);
            }
        }
    }

    /// Whether a client that just took `newest` holds as much as is free, or more; never if that
    /// is all that it holds. A client that stays below this leaves the same amount to others, and
    /// two of them leave each other a third.
    pub fn is_crowding(&self, client: ClientId, newest: usize) -> bool {
        let held = self.held(client);
        held > newest && held >= self.free()
    }

    /// What all clients hold.
    pub fn total(&self) -> usize {
        self.total
    }

    /// What is left of the capacity.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.total)
    }

    fn held(&self, client: ClientId) -> usize {
        self.held.get(&client).copied().unwrap_or_default()
    }

    fn others(&self, client: ClientId) -> usize {
        self.held.len() - usize::from(self.held.contains_key(&client))
    }

    /// An even part for each client that holds something, and this one.
    fn share(&self, client: ClientId) -> usize {
        self.capacity / (self.others(client) + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NORMAL: Priority = Priority::Normal;
    const LOW: Priority = Priority::Low;

    fn client(id: u64) -> ClientId {
        ClientId::try_from(id).expect("in range")
    }

    /// How many units in a row a client gets, and what it is told then.
    fn take_all(shares: &mut Shares, id: u64, priority: Priority) -> (usize, Decision) {
        let mut count = 0;
        loop {
            match shares.take(client(id), 1, priority) {
                Decision::Granted => count += 1,
                refused => return (count, refused),
            }
        }
    }

    #[test]
    fn a_client_alone_takes_all_and_then_waits_for_its_own() {
        let mut shares = Shares::new(1024, 16);
        assert_eq!(take_all(&mut shares, 1, NORMAL), (1024, Decision::Later));
        assert_eq!(shares.free(), 0);
    }

    #[test]
    fn newcomers_get_their_minimum_at_once_when_all_is_taken() {
        let mut shares = Shares::new(1024, 16);
        take_all(&mut shares, 1, NORMAL);
        for newcomer in 2..18 {
            assert_eq!(
                take_all(&mut shares, newcomer, NORMAL),
                (16, Decision::Later),
                "client {newcomer}"
            );
        }
        assert_eq!(
            take_all(&mut shares, 18, NORMAL),
            (0, Decision::Later),
            "the reserve is used up"
        );
        let over = shares.take(client(1), 1, NORMAL);
        assert_eq!(over, Decision::OverShare);
    }

    #[test]
    fn what_the_greedy_one_gives_back_goes_to_the_others_until_shares_are_even() {
        let mut shares = Shares::new(100, 4);
        take_all(&mut shares, 1, NORMAL);
        take_all(&mut shares, 2, NORMAL);
        for _ in 0..50 {
            shares.give_back(client(1), 1);
            let greedy = shares.take(client(1), 1, NORMAL);
            assert_eq!(greedy, Decision::OverShare);
            shares.take(client(2), 1, NORMAL);
        }
        assert_eq!((shares.held(client(1)), shares.held(client(2))), (50, 50));
    }

    #[test]
    fn while_there_is_plenty_a_large_client_keeps_more_than_an_even_part() {
        let mut shares = Shares::new(1000, 10);
        for small in 2..12 {
            assert_eq!(shares.take(client(small), 1, NORMAL), Decision::Granted);
        }
        // An even part would be 90.
        let large = take_all(&mut shares, 1, NORMAL);
        assert_eq!(large, (740, Decision::OverShare));
        // The others double what they hold, and double it again.
        for small in 2..12 {
            shares.force(client(small), 30);
        }
        assert_eq!(shares.take(client(1), 1, NORMAL), Decision::OverShare);
    }

    #[test]
    fn low_priority_leaves_half_and_the_reserve() {
        let mut shares = Shares::new(100, 4);
        assert_eq!(take_all(&mut shares, 1, LOW), (50, Decision::Later));
        assert_eq!(take_all(&mut shares, 2, LOW), (0, Decision::Later));
        assert_eq!(take_all(&mut shares, 2, NORMAL), (50, Decision::OverShare));
        let mut live = Shares::new(100, 4);
        take_all(&mut live, 1, NORMAL);
        assert_eq!(live.take(client(2), 1, LOW), Decision::Later);
    }

    #[test]
    fn a_client_crowds_when_it_holds_as_much_as_is_free() {
        let mut shares = Shares::new(512, 0);
        shares.force(client(1), 255);
        assert!(!shares.is_crowding(client(1), 1));
        shares.force(client(1), 1);
        assert!(shares.is_crowding(client(1), 1));
        assert!(!shares.is_crowding(client(2), 0));
        shares.force(client(2), 85);
        assert!(!shares.is_crowding(client(2), 1), "171 are free");
        shares.force(client(2), 43);
        assert!(shares.is_crowding(client(2), 1), "128 are free");
        shares.force(client(3), 128);
        assert!(!shares.is_crowding(client(3), 128), "its first");
    }

    #[test]
    fn one_that_is_larger_than_all_fits_nowhere_unless_forced() {
        let mut shares = Shares::new(10, 1);
        assert_eq!(shares.take(client(1), 11, NORMAL), Decision::Later);
        shares.force(client(1), 11);
        assert_eq!((shares.total(), shares.free()), (11, 0));
        shares.give_back(client(1), 11);
        assert_eq!((shares.total(), shares.free()), (0, 10));
        assert!(shares.held.is_empty(), "idle clients take no memory");
    }

    proptest! {
        #[test]
        fn never_more_than_capacity_and_reserve_and_no_low_beyond_half(
            capacity in 1_usize..200,
            guaranteed in 0_usize..20,
            steps in prop::collection::vec((1_u64..6, any::<bool>(), any::<bool>()), 0..600),
        ) {
            let mut shares = Shares::new(capacity, guaranteed);
            for (id, takes, is_low) in steps {
                let holder = client(id);
                let priority = if is_low { LOW } else { NORMAL };
                let before = shares.total();
                if takes {
                    let granted = shares.take(holder, 1, priority) == Decision::Granted;
                    prop_assert!(!(granted && is_low) || before < capacity / 2);
                } else if shares.held(holder) > 0 {
                    shares.give_back(holder, 1);
                }
                prop_assert!(shares.total() <= capacity + capacity / 4);
                prop_assert_eq!(shares.held.values().sum::<usize>(), shares.total());
            }
        }

        /// A client that holds less than its minimum is refused only when the reserve is used up.
        #[test]
        fn a_newcomer_is_granted_whatever_one_other_does(taken in 0_usize..2_000) {
            let mut shares = Shares::new(1024, 16);
            for _ in 0..taken {
                shares.take(client(1), 1, NORMAL);
            }
            prop_assert_eq!(take_all(&mut shares, 2, NORMAL).0 >= 16, true);
        }
    }
}
