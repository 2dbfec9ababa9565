//! Which node owns which partition.

use sha2::{Digest, Sha256};

/// The owner of each partition, as an index into `nodes`. Empty without nodes.
///
/// This is rendezvous hashing with bounded loads. Every node that sees the same nodes computes the
/// same owners, in whatever order it sees them. No node owns more than its even share, rounded up.
/// A partition goes to the node with the highest score that is not full, so a node that joins or
/// leaves moves few partitions between the others.
///
/// # Examples
///
/// ```
/// let nodes = ["a".to_owned(), "b".to_owned()];
/// let owners = wahook::policy::owners(&nodes, 8);
/// assert_eq!(owners.iter().filter(|owner| **owner == 0).count(), 4);
/// ```
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

/// All versions of wahook that run at the same time must compute the same score.
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
    fn owners_do_not_depend_on_the_order_of_nodes() {
        assert_eq!(named(&["a", "b", "c"], 16), named(&["c", "a", "b"], 16));
    }

    #[test]
    fn single_node_owns_all_and_no_node_owns_nothing() {
        assert_eq!(named(&["a"], 3), ["a"; 3]);
        assert_eq!(owners(&[], 16), Vec::<usize>::new());
    }

    /// How many partitions each node owns.
    fn loads(owners: &[usize], count: usize) -> Vec<usize> {
        let mut loads = vec![0; count];
        for owner in owners {
            loads[*owner] += 1;
        }
        loads
    }

    fn seeded(seed: u64, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("{seed}-{number}"))
            .collect()
    }

    proptest! {
        #[test]
        fn every_partition_has_an_owner_and_no_node_exceeds_its_share(
            seed: u64,
            count in 1_usize..17,
            partitions in 1_u16..65,
        ) {
            let owners = owners(&seeded(seed, count), partitions);
            let share = usize::from(partitions).div_ceil(count);
            prop_assert_eq!(owners.len(), usize::from(partitions));
            prop_assert!(loads(&owners, count).into_iter().all(|load| load <= share));
        }

        #[test]
        fn partition_keeps_its_first_choice_unless_that_node_is_full(
            seed: u64,
            count in 1_usize..17,
            partitions in 1_u16..65,
        ) {
            let nodes = seeded(seed, count);
            let owners = owners(&nodes, partitions);
            let share = usize::from(partitions).div_ceil(count);
            for (partition, owner) in (0..partitions).zip(&owners) {
                let earlier = loads(&owners[..usize::from(partition)], count);
                for node in (0..count).filter(|node| earlier[*node] < share) {
                    let chosen = score(&nodes[*owner], partition);
                    prop_assert!(score(&nodes[node], partition) <= chosen);
                }
            }
        }
    }

    /// The mean over many fleets of what moves between the old nodes. Modulo hashing would move
    /// most of it.
    #[test]
    fn new_node_moves_few_partitions_between_the_others() {
        const FLEETS: u64 = 200;
        for count in 1..9 {
            let moved: usize = (0..FLEETS)
                .map(|seed| {
                    let nodes = seeded(seed, count + 1);
                    let before = owners(&nodes[..count], 16);
                    let after = owners(&nodes, 16);
                    let pairs = before.iter().zip(&after);
                    pairs
                        .filter(|(before, after)| before != after && **after != count)
                        .count()
                })
                .sum();
            assert!(
                moved < 4 * FLEETS as usize,
                "{moved} moves with {count} nodes"
            );
        }
    }
}
