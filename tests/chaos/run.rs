//! One run: fleet, farm, load, faults, and the judgement at the end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use ledger::{
    Fault, Ledgers, Sighting, Summary, Violation,
    invariants::{self, Reach},
};
use serde_json::json;
use wahook::{
    model::{ClientId, Phone},
    wire,
};

use crate::{
    farm::{Clock, Farm, Manner},
    fleet::Fleet,
    load::{Publisher, SPOKEN},
};

/// Clients that endpoints belong to, in turn; their numbers overlap.
const CLIENTS: u64 = 4;
/// Requests under way that each webhook is registered with.
pub(crate) const IN_FLIGHT: u32 = 8;
/// The default number of tries after the first one, and the first.
const ATTEMPTS_MAX: u32 = 4;
/// Work that is not done yet.
const STREAMS: [&str; 4] = ["WA_MSG", "WA_RETRY", "WA_CHAT", "WA_RESULT"];
/// Violations that a failure shows.
const SHOWN: usize = 12;
/// From a request to the acknowledgement of its message: a result's group, two round trips, and a
/// busy machine.
const SETTLE: Duration = Duration::from_secs(2);
/// From the socket to the book, on a busy machine.
const NOTICE: Duration = Duration::from_millis(500);
/// A request is seen a while after it was let go, so what was let go over a second may be seen
/// within less. Limits are held in a window that is shorter by this, or by twice the longest stall
/// noticed (sender and receiver may stall); the fullest whole second is printed.
const LATE: Duration = Duration::from_millis(100);
/// A limit reached twice over still shows in so short a window.
const WINDOW_MIN: Duration = Duration::from_millis(500);
/// How long after a crash a limit may be reached twice over: the new owner does not know what the
/// old one had sent.
pub(crate) const AFTER_CRASH: Duration = Duration::from_secs(10);

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("no run takes so long")
}

/// `CHAOS_SEED`, or one that nobody chose.
pub(crate) fn seed() -> u64 {
    let chosen = std::env::var("CHAOS_SEED").ok();
    // Readers of JSON may keep numbers as floats.
    chosen.map_or_else(
        || rand::random::<u64>() >> 12,
        |text| text.parse().expect("CHAOS_SEED is a number"),
    )
}

/// As many as `bus.partitions` says by default.
pub(crate) const PARTITIONS: u16 = 8;

/// A registered webhook.
pub(crate) struct Endpoint {
    pub(crate) client: ClientId,
    pub(crate) phone: Phone,
}

/// A webhook to be registered: how its endpoint behaves, and its rate.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) manner: Manner,
    pub(crate) rate_per_second: u32,
    pub(crate) burst: u32,
    /// Whether its chats are to be kept in order.
    pub(crate) is_ordered: bool,
}

/// A limit that arrivals are held against.
pub(crate) struct Limit {
    pub(crate) endpoint: u32,
    /// Most that may be let go in any second.
    pub(crate) most: usize,
}

/// What may happen in a run, beyond what must always hold.
#[derive(Default)]
pub(crate) struct Expect {
    /// Duplicates for each fault; without a bound, each must still have its fault.
    pub(crate) duplicates_per_fault: Option<usize>,
    pub(crate) limits: Vec<Limit>,
    /// How long the streams may take to become empty.
    pub(crate) quiet_within: Duration,
}

pub(crate) struct Run {
    scenario: &'static str,
    pub(crate) seed: u64,
    pub(crate) farm: Farm,
    pub(crate) fleet: Fleet,
    pub(crate) publisher: Publisher,
    pub(crate) faults: Vec<Fault>,
    /// Nodes that died without a word, for the time after which limits hold again.
    pub(crate) crashes: Vec<u64>,
}

impl Run {
    /// Starts everything and registers the webhooks, each in the partition of its number modulo
    /// [`PARTITIONS`].
    pub(crate) async fn start(scenario: &'static str, deliver: usize, wanted: &[Wanted]) -> Self {
        Self::start_with(scenario, Fleet::start(deliver), wanted).await
    }

    /// The same with this fleet.
    pub(crate) async fn start_with(
        scenario: &'static str,
        fleet: impl Future<Output = Fleet>,
        wanted: &[Wanted],
    ) -> Self {
        let seed = seed();
        // Shown when the run fails, wherever it does.
        println!("{scenario}: CHAOS_SEED={seed}");
        let manners: Vec<_> = wanted.iter().map(|one| one.manner).collect();
        let farm = Farm::start(seed, &manners).await;
        let fleet = fleet.await;
        let endpoints: Vec<Endpoint> = (0..wanted.len()).map(place).collect();
        for client in 1..=CLIENTS {
            let caller = fleet.app.client(client).await;
            for (number, (endpoint, wanted)) in (0..).zip(endpoints.iter().zip(wanted)) {
                if endpoint.client.get() == client {
                    let body = json!({
                        "phone_number": endpoint.phone.as_str(), "webhook_url": farm.url(number),
                        "rate_per_second": wanted.rate_per_second, "burst": wanted.burst,
                        "in_flight": IN_FLIGHT,
                        "ordering": if wanted.is_ordered { "chat" } else { "none" },
                    });
                    caller.register_with(body).await;
                }
            }
        }
        let bus = fleet.app.nats.connect().await;
        assert_eq!(bus.partition_count(), PARTITIONS);
        let publisher = Publisher::new(bus, farm.clock(), Arc::new(endpoints));
        Self {
            scenario,
            seed,
            farm,
            fleet,
            publisher,
            faults: Vec::new(),
            crashes: Vec::new(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.farm.clock()
    }

    /// Notes a kill that is about to be made.
    pub(crate) fn fault(&mut self) {
        let at = self.clock().now();
        self.faults.push(Fault { at, until: at });
    }

    /// Notes the death of a deliver node that is about to come.
    pub(crate) fn crash(&mut self) {
        self.crashes.push(self.clock().now());
        self.fault();
    }

    /// Waits until the streams are empty, prints the summary, and judges.
    ///
    /// # Panics
    /// When something does not hold; seed, violations and logs are told.
    pub(crate) async fn end(self, expect: &Expect, more: &[(&str, serde_json::Value)]) -> Ledgers {
        let left = self.quiet(expect.quiet_within).await;
        self.fleet.keep_logs();
        let ledgers = self.books().await;
        let reach = Reach {
            settle: micros(SETTLE),
            notice: micros(NOTICE),
        };
        self.print_summary(&ledgers, reach, more);

        let second = micros(Duration::from_secs(1));
        let after_crash = |at: u64| {
            self.crashes
                .iter()
                .any(|crash| at + second > *crash && at < *crash + micros(AFTER_CRASH))
        };
        let under_way = |one: &Sighting| {
            if after_crash(one.at) {
                2 * IN_FLIGHT
            } else {
                IN_FLIGHT
            }
        };
        let mut violations = [
            invariants::no_loss(&ledgers),
            invariants::no_crossing(&ledgers),
            invariants::bounded_duplicates(
                &ledgers,
                expect.duplicates_per_fault.unwrap_or(usize::MAX),
                reach,
            ),
            invariants::sameness(&ledgers),
            invariants::record(&ledgers),
            invariants::durability(&ledgers, left),
            invariants::bounds(&ledgers, ATTEMPTS_MAX, under_way),
        ]
        .concat();
        let late = LATE
            .max(self.farm.stall() * 2)
            .min(Duration::from_secs(1) - WINDOW_MIN);
        let window = Duration::from_secs(1) - late;
        for Limit { endpoint, most } in &expect.limits {
            let most = |begin| if after_crash(begin) { 2 * most } else { *most };
            violations.extend(invariants::rate(&ledgers, *endpoint, micros(window), most));
        }
        violations.extend(self.silence());
        if !violations.is_empty() {
            panic!("{}", self.report(&violations, &ledgers));
        }
        ledgers
    }

    fn print_summary(&self, ledgers: &Ledgers, reach: Reach, more: &[(&str, serde_json::Value)]) {
        let (per_fault, unexplained) = invariants::by_fault(ledgers, reach);
        let per_fault_max = per_fault.iter().max().copied().unwrap_or(0);
        let stall = u64::try_from(self.farm.stall().as_millis()).unwrap_or(u64::MAX);
        let mut summary = Summary::of(self.scenario, self.seed, ledgers)
            .with("duplicates_most_per_kill", per_fault_max)
            .with("duplicates_unexplained", unexplained.len())
            .with("stall_ms", stall);
        for (name, value) in more {
            summary = summary.with(name, value.clone());
        }
        // Straight to the terminal: the line belongs to the record of passing runs, too.
        let _ = writeln!(std::io::stdout(), "{summary}");
    }

    /// Texts, numbers and addresses of this run in the logs of its nodes.
    fn silence(&self) -> Vec<Violation> {
        let phones = self
            .publisher
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.phone.as_str().to_owned());
        let secrets: Vec<_> = phones
            .chain([SPOKEN.to_owned(), self.farm.address()])
            .collect();
        let logs = self.fleet.logs();
        assert!(logs.len() >= 2, "record and deliver write logs");
        invariants::silence(
            logs.iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
            &secrets,
        )
    }

    fn report(&self, violations: &[Violation], ledgers: &Ledgers) -> String {
        let mut text = format!(
            "{} with CHAOS_SEED={}: {} violations\n",
            self.scenario,
            self.seed,
            violations.len()
        );
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for violation in violations {
            let name = violation.to_string();
            *kinds
                .entry(name.split('(').next().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        let _ = writeln!(text, "{kinds:?}; faults at {:?}", ledgers.faults);
        let sightings = ledgers.by_id();
        for violation in violations.iter().take(SHOWN) {
            let _ = writeln!(text, "  {violation}");
            if let Violation::Lost(id, _)
            | Violation::Unrecorded(id, _)
            | Violation::AttemptsDiffer(id, ..) = violation
            {
                let _ = writeln!(
                    text,
                    "    seen {:?}, audit {:?}",
                    sightings.get(id),
                    ledgers.recorded.get(id)
                );
            }
        }
        text + &self.fleet.last_words()
    }

    /// Waits until no work is left in the streams; how much is, when that takes too long.
    async fn quiet(&self, within: Duration) -> u64 {
        self.worked_off(0, within).await
    }

    /// Waits until so little work is left; how much is, when that takes too long.
    pub(crate) async fn worked_off(&self, waiting_max: u64, within: Duration) -> u64 {
        let end = Instant::now() + within;
        loop {
            let mut left = 0;
            for stream in STREAMS {
                left += self.fleet.app.nats.messages(stream).await;
            }
            if left <= waiting_max || Instant::now() > end {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// Client and number of an endpoint, in the partition of its place.
fn place(number: usize) -> Endpoint {
    let client = ClientId::try_from(1 + number as u64 % CLIENTS).expect("in range");
    let partition = u16::try_from(number % usize::from(PARTITIONS)).expect("small");
    // A round of partitions has its own numbers, the clients of a round share them.
    let first = 100_000 * (number / usize::from(PARTITIONS)) as u64;
    let phones = (first..).map(|rest| format!("4915{rest:09}").parse::<Phone>().expect("digits"));
    let phone = phones
        .into_iter()
        .find(|phone| wire::partition(client, phone, PARTITIONS) == partition);
    Endpoint {
        client,
        phone: phone.expect("every partition has numbers"),
    }
}
