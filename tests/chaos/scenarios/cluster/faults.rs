//! What is done to three servers and to the processes on them.

use std::time::Duration;

use async_nats::jetstream::Context;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    fleet::End,
    run::Run,
    support::{app::eventually, cluster::Cluster},
};

const SERVERS: usize = 3;
/// How long one server or two are away.
const AWAY: Duration = Duration::from_secs(8);
/// How long a server hangs: longer than its clients stay with it.
const HANGS: Duration = Duration::from_secs(10);
/// Between two changes of the nodes that deliver.
const CHANGE_INTERVAL: Duration = Duration::from_secs(10);
/// Rounds in which each stream and each consumer gets another leader.
const STEP_DOWNS: usize = 3;

/// Which leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Stream(&'static str),
    /// The one that makes streams and consumers.
    All,
}

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Api,
    Deliver,
    Record,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    LeaderKilled(Of),
    TwoAway,
    AllEnd(End),
    RollingRestart,
    StepDowns,
    LameDuck,
    Hangs,
    Process(Role, End),
    NodesComeAndGo,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 17] = [
        Self::LeaderKilled(Of::Stream("WA_MSG")),
        Self::Process(Role::Deliver, End::Term),
        Self::StepDowns,
        Self::Process(Role::Deliver, End::Kill),
        // So many of them are quick enough for every day.
        Self::LeaderKilled(Of::Stream("WA_RETRY")),
        Self::LeaderKilled(Of::Stream("WA_RESULT")),
        Self::LeaderKilled(Of::Stream("KV_wa_webhooks")),
        Self::LeaderKilled(Of::All),
        Self::TwoAway,
        Self::AllEnd(End::Term),
        Self::AllEnd(End::Kill),
        Self::RollingRestart,
        Self::LameDuck,
        Self::Hangs,
        Self::Process(Role::Api, End::Kill),
        Self::Process(Role::Record, End::Kill),
        Self::NodesComeAndGo,
    ];

    /// How many of them are run every day.
    pub(super) const QUICK: usize = 4;

    /// Whether the order of chats is promised: no node that delivers is killed.
    pub(super) fn keeps_order(self) -> bool {
        self != Self::Process(Role::Deliver, End::Kill)
    }

    /// Whether partitions are handed over by nodes that leave in order.
    pub(super) fn is_clean_handover(self) -> bool {
        matches!(self, Self::Process(_, End::Term) | Self::NodesComeAndGo)
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::LeaderKilled(Of::Stream(stream)) => format!("leader of {stream} killed"),
            Self::LeaderKilled(Of::All) => "leader of all killed".to_owned(),
            Self::TwoAway => "two of three killed".to_owned(),
            Self::AllEnd(end) => format!("all three servers, {end:?}"),
            Self::RollingRestart => "rolling restart of servers".to_owned(),
            Self::StepDowns => format!("{STEP_DOWNS} step-downs of each leader"),
            Self::LameDuck => "lame duck".to_owned(),
            Self::Hangs => "server hangs".to_owned(),
            Self::Process(role, end) => format!("{role:?}, {end:?}"),
            Self::NodesComeAndGo => "nodes join and leave".to_owned(),
        }
    }

    /// Does it, and returns when all is as before.
    pub(super) async fn happen(self, run: &mut Run) {
        match self {
            Self::LeaderKilled(of) => {
                let leader = leader(run, of).await;
                away(run, &[leader], End::Kill, AWAY).await;
            }
            Self::TwoAway => away(run, &[0, 1], End::Kill, AWAY).await,
            Self::AllEnd(end) => away(run, &[0, 1, 2], end, Duration::ZERO).await,
            Self::RollingRestart => {
                for server in 0..SERVERS {
                    away(run, &[server], End::Term, Duration::ZERO).await;
                }
            }
            Self::StepDowns => {
                let operator = run.fleet.app.nats.jetstream().await;
                for _ in 0..STEP_DOWNS {
                    step_down_all(&operator).await;
                    sleep(Duration::from_secs(2)).await;
                }
            }
            Self::LameDuck => lame_duck(run).await,
            Self::Hangs => hang(run).await,
            Self::Process(Role::Api, end) => run.fleet.replace_api(end).await,
            Self::Process(Role::Record, end) => run.fleet.replace_record(end).await,
            Self::Process(Role::Deliver, end) => replace_deliver(run, end).await,
            Self::NodesComeAndGo => {
                for _ in 0..2 {
                    run.fleet.join().await;
                    sleep(CHANGE_INTERVAL).await;
                    assert_eq!(run.fleet.terminate(0).await, Some(0), "a clean end");
                    sleep(CHANGE_INTERVAL).await;
                }
            }
        }
        all_healthy(run).await;
    }
}

async fn all_healthy(run: &mut Run) {
    for server in 0..SERVERS {
        run.fleet.three().healthy(server).await;
    }
}

async fn leader(run: &mut Run, of: Of) -> usize {
    let Of::Stream(stream) = of else {
        return run.fleet.three().meta_leader().await;
    };
    let operator = run.fleet.app.nats.jetstream().await;
    eventually("the stream has a leader", async || {
        let info: Value = operator
            .request(format!("STREAM.INFO.{stream}"), &())
            .await
            .ok()?;
        info["cluster"]["leader"].as_str().map(Cluster::number)
    })
    .await
}

/// Servers end and come back.
async fn away(run: &mut Run, servers: &[usize], end: End, time: Duration) {
    let three = run.fleet.three();
    for server in servers {
        match end {
            End::Kill => three.kill(*server).await,
            End::Term => three.terminate(*server).await,
        }
    }
    sleep(time).await;
    for server in servers {
        three.start_again(*server);
    }
    for server in servers {
        three.healthy(*server).await;
    }
}

async fn lame_duck(run: &mut Run) {
    let three = run.fleet.three();
    three.signal(0, "USR2").await;
    three.ended(0).await;
    three.start_again(0);
}

/// The server with the most clients.
async fn hang(run: &mut Run) {
    let three = run.fleet.three();
    let clients = three.clients().await;
    let server = (0..SERVERS).max_by_key(|server| clients[*server]);
    let server = server.expect("three of them");
    three.signal(server, "STOP").await;
    sleep(HANGS).await;
    three.signal(server, "CONT").await;
}

async fn replace_deliver(run: &mut Run, end: End) {
    let place = run.fleet.delivering(run.seed).await;
    match end {
        End::Kill => run.fleet.kill_and_restart(place).await,
        End::Term => {
            let code = run.fleet.terminate(place).await;
            assert_eq!(code, Some(0), "a clean end\n{}", run.fleet.last_words());
            run.fleet.join().await;
        }
    }
}

/// Each stream and each of its consumers gets another leader.
async fn step_down_all(operator: &Context) {
    for stream in [
        "WA_MSG",
        "WA_RETRY",
        "WA_RESULT",
        "WA_CHAT",
        "KV_wa_webhooks",
    ] {
        let names: Result<Value, _> = operator
            .request(format!("CONSUMER.NAMES.{stream}"), &())
            .await;
        let names = names.unwrap_or_default();
        let named = names["consumers"].as_array().into_iter().flatten();
        let consumers = named
            .filter_map(Value::as_str)
            .map(|name| format!("CONSUMER.LEADER.STEPDOWN.{stream}.{name}"));
        let streams = std::iter::once(format!("STREAM.LEADER.STEPDOWN.{stream}"));
        for subject in consumers.chain(streams) {
            // A leader that is just being elected cannot step down.
            let _: Result<Value, _> = operator.request(subject, &json!({})).await;
        }
    }
}
