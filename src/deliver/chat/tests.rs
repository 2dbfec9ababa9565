//! A model check of the order of chats: many random interleavings of what can happen to the
//! messages of a chat, with a fake of the bus behind `ChatQueues`.
//!
//! Each run has a seed. It decides how long each step takes, in virtual time, and so which step of
//! which message comes next; and which steps fail. The same seed repeats the run. Two environment
//! variables: `CHAT_MODEL_RUNS`, and `CHAT_MODEL_SEED` of the first run.

mod node;
mod queues;
mod world;

use std::{env, sync::Arc, time::Duration};

use tokio::{runtime::Builder, time::timeout};

use self::{
    node::Node,
    world::{CHATS, MESSAGES, World},
};

/// Runs of each mix of faults.
const RUNS: u64 = 400;
/// Virtual time in which everything must be done. The longest waits are those for redeliveries.
const RUN_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What goes wrong in a run. The share is of all steps where it can.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Percent of attempts that fail.
    attempts: u64,
    /// Percent of messages whose limiter has no place.
    postponed: u64,
    /// Percent of calls to the bus that fail, half of them after they took effect.
    bus: u64,
    /// Percent of tasks that stop while they hold a slot.
    tasks: u64,
    /// Percent of messages that find no room in the stream of chat queues.
    full: u64,
    /// Times that the partition goes to another node.
    handovers: u64,
}

impl Faults {
    /// Whether the order is promised. It is not while the stream of chat queues is full.
    fn keep_order(self) -> bool {
        self.full == 0
    }

    /// Whether a queue may stall until the sweep finds it. When a call has its effect and its
    /// answer is lost, a redelivered copy can join the queue after its message is done.
    fn may_need_sweep(self) -> bool {
        self.bus > 0
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Runs the model with one seed; what went wrong.
fn run(seed: u64, faults: Faults) -> Result<(), String> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(World::new(seed, faults));
        let all = async {
            for _ in 0..faults.handovers {
                let node = Node::start(&world);
                world.pause_until_handover().await;
                node.hand_over().await;
            }
            let _node = Node::start(&world);
            world.all_settled().await;
        };
        let is_done = timeout(RUN_TIMEOUT, all).await.is_ok();
        world.judge(is_done)
    })
}

/// Many runs with these faults.
fn check(faults: Faults) {
    let first = number("CHAT_MODEL_SEED").unwrap_or(1);
    for seed in first..first + number("CHAT_MODEL_RUNS").unwrap_or(RUNS) {
        if let Err(what) = run(seed, faults) {
            panic!("CHAT_MODEL_SEED={seed} {faults:?}: {what}");
        }
    }
}

#[test]
fn model_without_faults_keeps_the_order() {
    check(Faults::default());
}

#[test]
fn model_with_failed_and_postponed_attempts_keeps_the_order() {
    check(Faults {
        attempts: 40,
        postponed: 20,
        ..Faults::default()
    });
}

#[test]
fn model_with_a_failing_bus_keeps_the_order() {
    check(Faults {
        attempts: 30,
        bus: 10,
        ..Faults::default()
    });
}

#[test]
fn model_with_tasks_that_stop_keeps_the_order() {
    check(Faults {
        attempts: 30,
        postponed: 10,
        tasks: 25,
        ..Faults::default()
    });
}

#[test]
fn model_with_handovers_keeps_the_order() {
    check(Faults {
        attempts: 30,
        postponed: 10,
        handovers: 3,
        ..Faults::default()
    });
}

#[test]
fn model_with_handovers_while_the_bus_fails_keeps_the_order() {
    check(Faults {
        attempts: 30,
        bus: 10,
        handovers: 3,
        ..Faults::default()
    });
}

#[test]
fn model_with_a_full_stream_loses_and_stalls_nothing() {
    check(Faults {
        attempts: 40,
        postponed: 20,
        full: 50,
        ..Faults::default()
    });
}

#[test]
fn model_with_all_faults_loses_and_stalls_nothing() {
    check(Faults {
        attempts: 30,
        postponed: 15,
        bus: 5,
        tasks: 10,
        full: 20,
        handovers: 2,
    });
}

#[test]
fn the_model_finds_what_is_out_of_order() {
    let world = World::new(1, Faults::default());
    drop(world.begin_attempt(0, 1));
    let found = world.judge(true).expect_err("the first message waits");
    assert!(found.contains("before message 0"), "{found}");
    const { assert!(CHATS > 1 && MESSAGES > 2) };
}
