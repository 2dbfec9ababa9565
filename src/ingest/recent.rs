//! The newest of what came, up to a number.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Values by their keys. The oldest make room for new ones.
pub(super) struct Recent<K, V> {
    max: usize,
    values: HashMap<K, V>,
    /// Each key once, the oldest first.
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.values.get(key)
    }

    pub(super) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.values.get_mut(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    /// It becomes the newest, in place of an earlier value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_some() {
            self.order.retain(|known| *known != key);
        } else if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.values.len(), self.order.len());
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_a_renewed_one_is_new() {
        let mut recent = Recent::new(2);
        for key in ["a", "b", "a", "c"] {
            recent.insert(key.to_owned(), key.len());
        }
        assert_eq!(recent.get("b"), None);
        assert_eq!((recent.get("a"), recent.get("c")), (Some(&1), Some(&1)));
        assert_eq!(recent.len(), 2);
    }
}
