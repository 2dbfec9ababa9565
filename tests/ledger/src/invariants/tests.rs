//! Each invariant sees what it is for, and nothing in books that are right.

use super::*;
use crate::{Dead, Recorded, Summary};

const REACH: Reach = Reach {
    settle: 100,
    notice: 10,
};

fn seen(id: u64, at: u64, status: u16) -> Sighting {
    Sighting {
        endpoint: 1,
        id,
        same: id * 7,
        at,
        status,
        under_way: 1,
    }
}

/// Message 1 taken at once, 2 at its second attempt, 3 given up.
fn good() -> Ledgers {
    let mut ledgers = Ledgers::default();
    for id in 1..=3 {
        ledgers.offered.insert(id, 1);
        ledgers.accepted.insert(
            id,
            Accepted {
                at: id,
                endpoint: 1,
            },
        );
    }
    ledgers.sightings = vec![
        seen(1, 1_000, 200),
        seen(2, 1_000, 500),
        seen(2, 2_000, 204),
        seen(3, 1_000, 400),
    ];
    ledgers.dead.insert(
        3,
        Dead {
            reason: "the endpoint answered 400".to_owned(),
        },
    );
    let record = |fate, attempts| Recorded {
        fate,
        attempts,
        answered: attempts,
    };
    ledgers.recorded = [
        (1, record(Fate::Delivered, 1)),
        (2, record(Fate::Delivered, 2)),
        (3, record(Fate::Failed, 1)),
    ]
    .into();
    ledgers
}

fn all(ledgers: &Ledgers) -> Vec<Violation> {
    [
        no_loss(ledgers),
        no_crossing(ledgers),
        bounded_duplicates(ledgers, 1, REACH),
        sameness(ledgers),
        record(ledgers),
        durability(ledgers, 0),
        bounds(ledgers, 2, |_| 1),
        rate(ledgers, 1, 1_000, |_| 3),
    ]
    .concat()
}

/// What the good books come to after a change.
fn after(change: impl FnOnce(&mut Ledgers)) -> Vec<Violation> {
    let mut ledgers = good();
    change(&mut ledgers);
    all(&ledgers)
}

#[test]
fn good_books_have_no_fault() {
    assert_eq!(all(&good()), []);
}

#[test]
fn what_no_endpoint_took_is_lost_unless_it_is_dead() {
    let found = after(|ledgers| ledgers.sightings[2].status = 503);
    assert!(
        matches!(
            found[..],
            [
                Violation::Lost(2, _),
                Violation::Misrecorded(2, Fate::Delivered)
            ]
        ),
        "{found:?}"
    );
    let found = after(|ledgers| ledgers.dead.clear());
    assert!(
        matches!(
            found[..],
            [
                Violation::Lost(3, _),
                Violation::Misrecorded(3, Fate::Failed)
            ]
        ),
        "{found:?}"
    );
    let found = after(|ledgers| {
        ledgers
            .dead
            .values_mut()
            .for_each(|dead| dead.reason.clear())
    });
    assert!(matches!(found[..], [Violation::Lost(3, _)]), "{found:?}");
    // The caller went away before the answer: not taken.
    assert!(!after(|ledgers| ledgers.sightings[0].status = 0).is_empty());
}

#[test]
fn what_comes_to_another_or_from_nowhere_is_seen() {
    let found = after(|ledgers| _ = ledgers.offered.insert(1, 2));
    assert!(
        matches!(
            found[..],
            [Violation::Crossed(Sighting {
                id: 1,
                endpoint: 1,
                ..
            })]
        ),
        "{found:?}"
    );
    let found = after(|ledgers| ledgers.sightings.push(seen(9, 5_000, 200)));
    assert!(
        matches!(found[..], [Violation::Stranger(Sighting { id: 9, .. })]),
        "{found:?}"
    );
}

#[test]
fn a_duplicate_needs_a_fault_while_its_first_attempt_was_unsettled() {
    let again = |faults: &[(u64, u64)]| {
        let mut ledgers = good();
        ledgers.sightings.push(seen(1, 5_000, 200));
        ledgers.faults = faults
            .iter()
            .map(|(at, until)| Fault {
                at: *at,
                until: *until,
            })
            .collect();
        bounded_duplicates(&ledgers, 1, REACH)
    };
    assert_eq!(again(&[(1_050, 1_050)]), []);
    assert_eq!(
        again(&[(995, 995)]),
        [],
        "sent just before, seen just after"
    );
    assert_eq!(again(&[(500, 4_000)]), [], "a pause that covers it");
    assert!(matches!(
        again(&[])[..],
        [Violation::Unexplained(Duplicate {
            id: 1,
            before: 1_000,
            again: 5_000
        })]
    ));
    assert!(
        matches!(again(&[(1_200, 1_200)])[..], [Violation::Unexplained(_)]),
        "it was settled by then"
    );
    assert_eq!(
        again(&[(900, 900)]),
        [],
        "accepted before, first seen after: it was put off"
    );
    assert!(
        matches!(again(&[(0, 0)])[..], [Violation::Unexplained(_)]),
        "a fault before it was accepted"
    );
    assert!(
        matches!(again(&[(5_050, 5_050)])[..], [Violation::Unexplained(_)]),
        "a fault after both"
    );
}

#[test]
fn duplicates_are_laid_to_their_faults_and_bounded() {
    let mut ledgers = good();
    ledgers.faults = vec![
        Fault {
            at: 1_050,
            until: 1_050,
        },
        Fault {
            at: 2_050,
            until: 2_050,
        },
    ];
    ledgers
        .sightings
        .extend([seen(1, 3_000, 200), seen(2, 3_000, 200)]);
    assert_eq!(by_fault(&ledgers, REACH), (vec![1, 1], vec![]));
    assert_eq!(bounded_duplicates(&ledgers, 0, REACH).len(), 2);
    assert_eq!(bounded_duplicates(&ledgers, 1, REACH), []);
    // The first attempt failed and was parked, its acknowledgement was lost: both copies live.
    ledgers.faults.truncate(1);
    assert_eq!(by_fault(&ledgers, REACH), (vec![2], vec![]));
}

#[test]
fn of_two_kills_the_nearer_one_is_it() {
    let mut ledgers = good();
    ledgers.sightings.push(seen(1, 3_000, 200));
    for (faults, counts) in [
        ([1_001, 1_090], [1, 0]),
        ([995, 1_002], [0, 1]),
        ([1_020, 1_020], [0, 1]),
    ] {
        ledgers.faults = faults.map(|at| Fault { at, until: at }).into();
        assert_eq!(
            by_fault(&ledgers, REACH),
            (counts.to_vec(), vec![]),
            "{faults:?}"
        );
    }
}

#[test]
fn changed_bytes_are_seen() {
    assert!(matches!(
        after(|ledgers| ledgers.sightings[2].same += 1)[..],
        [Violation::Changed(Sighting { id: 2, .. })]
    ));
}

#[test]
fn the_audit_must_tell_the_end_and_the_truth() {
    let found = after(|ledgers| _ = ledgers.recorded.remove(&1));
    assert_eq!(found, [Violation::Unrecorded(1, None)]);
    let open = Recorded {
        fate: Fate::Open,
        attempts: 1,
        answered: 1,
    };
    let found = after(|ledgers| _ = ledgers.recorded.insert(1, open));
    assert_eq!(found, [Violation::Unrecorded(1, Some(Fate::Open))]);
    let fewer = Recorded {
        fate: Fate::Delivered,
        attempts: 2,
        answered: 1,
    };
    assert_eq!(
        after(|ledgers| _ = ledgers.recorded.insert(2, fewer)),
        [Violation::AttemptsDiffer(2, 1, 2)]
    );
    let found = after(|ledgers| {
        ledgers.recorded.insert(2, fewer);
        ledgers.faults = vec![Fault {
            at: 1_050,
            until: 1_050,
        }];
    });
    assert_eq!(found, [], "a killed node could not write it down");
    assert_eq!(durability(&good(), 4), [Violation::Unsettled(4)]);
}

#[test]
fn bounds_hold_for_attempts_requests_and_windows() {
    assert_eq!(
        bounds(&good(), 1, |_| 1),
        [Violation::TooManyAttempts(2, 2)]
    );
    assert_eq!(bounds(&good(), 2, |one| u32::from(one.id != 1)).len(), 1);
    assert_eq!(
        rate(&good(), 1, 1_000, |_| 2),
        [Violation::TooFast(1, 1_000, 3, 2)]
    );
    assert_eq!(rate(&good(), 2, 1_000, |_| 0), []);
}

#[test]
fn a_log_that_speaks_is_heard() {
    let logs = [("a.log", "delivered"), ("b.log", "posting grüße")];
    let found = silence(logs, &["grüße".to_owned(), "4915100000001".to_owned()]);
    assert_eq!(
        found,
        [Violation::Spoke("b.log".to_owned(), "grüße".to_owned())]
    );
}

#[test]
fn the_summary_is_one_line_of_json() {
    let mut ledgers = good();
    ledgers.faults = vec![Fault {
        at: 500,
        until: 500,
    }];
    let line = Summary::of("kills", 7, &ledgers)
        .with("nodes", 2)
        .to_string();
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(!line.contains('\n'));
    assert_eq!(
        (
            &value["seed"],
            &value["acked"],
            &value["lost"],
            &value["kills"]
        ),
        (&7.into(), &3.into(), &0.into(), &1.into())
    );
    assert_eq!(
        (&value["p99_ms"], &value["recovered_s"], &value["nodes"]),
        (&1.0.into(), &0.0.into(), &2.into())
    );
}
