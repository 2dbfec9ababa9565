//! Which node owns which partition.

use sha2::{Digest, Sha256};

/// The owner of each partition, as an index into `nodes`; the same on every node that sees the same
/// nodes, whatever their order. No node gets more than its even share, rounded up, and a node that
/// comes or goes moves few partitions beyond its own, mostly: rendezvous hashing with bounded
/// loads. Empty without nodes.
pub fn owners(nodes: &[String], partitions: u16) -> Vec<usize> {
    let share = usize::from(partitions).div_ceil(nodes.len().max(1));
    let mut load = vec![0; nodes.len()];
    let own = |partition| {
        let free = (0..nodes.len()).filter(|node| load[*node] < share);
        let owner = free.max_by_key(|node| (score(&nodes[*node], partition), &nodes[*node]))?;
        load[owner] += 1;
        Some(owner)
    };
    (0..partitions).map_while(own).collect()
}

/// Versions of wahook that run side by side must agree on it.
fn score(node: &str, partition: u16) -> [u8; 32] {
    Sha256::new()
        .chain_update(partition.to_be_bytes())
        .chain_update(node)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(names: &[&str], partitions: u16) -> Vec<String> {
        let nodes: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        owners(&nodes, partitions)
            .into_iter()
            .map(|owner| nodes[owner].clone())
            .collect()
    }

    #[test]
    fn the_order_of_nodes_does_not_matter() {
        assert_eq!(named(&["a", "b", "c"], 16), named(&["c", "a", "b"], 16));
    }

    #[test]
    fn one_node_owns_all_and_none_own_nothing() {
        assert_eq!(named(&["a"], 3), ["a"; 3]);
        assert_eq!(owners(&[], 16), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn shares_are_even_and_every_partition_has_an_owner(seed: u64, count in 1_usize..9) {
            let nodes: Vec<String> = (0..count).map(|number| format!("{seed}-{number}")).collect();
            let owners = owners(&nodes, 16);
            prop_assert_eq!(owners.len(), 16);
            for node in 0..count {
                let load = owners.iter().filter(|owner| **owner == node).count();
                prop_assert!(load <= 16_usize.div_ceil(count));
            }
        }

        #[test]
        fn a_node_that_comes_leaves_some_where_they_are(seed: u64, count in 1_usize..9) {
            let nodes: Vec<String> = (0..=count).map(|number| format!("{seed}-{number}")).collect();
            let before = owners(&nodes[..count], 16);
            let after = owners(&nodes, 16);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            // Its own share, and what the smaller shares of the others push on; seldom more than
            // half.
            prop_assert!(moved <= 12, "{} moved", moved);
        }
    }
}
