//! What is done to the fleet, and what must hold then.

mod broker;
mod cluster;
mod drain;
mod kills;
mod limits;
mod moves;
mod order;
mod pause;

use crate::{farm::Manner, run::Wanted};

/// No limit that these runs reach.
const UNLIMITED: u32 = 5_000;

/// Two endpoints per partition: most answer well, some fail at first, two refuse everything.
fn mixed() -> Vec<Wanted> {
    let manner = |number| match number {
        5 | 22 => Manner::Refusing,
        number if number % 4 == 0 => Manner::Flaky {
            within_ms: 40,
            percent: 15,
        },
        _ => Manner::Well { within_ms: 40 },
    };
    (0..32)
        .map(|number| Wanted {
            manner: manner(number),
            rate_per_second: UNLIMITED,
            burst: UNLIMITED,
            is_ordered: false,
        })
        .collect()
}

fn all(wanted: &[Wanted]) -> Vec<u32> {
    (0..).take(wanted.len()).collect()
}
