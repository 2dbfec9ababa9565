//! What `/readyz` says.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::Bus,
    store::Store,
    tasks::{TaskKind, Tasks},
    telemetry,
};

const STORE_PROBE: Probe = Probe {
    kind: TaskKind::StoreProbe,
    interval: Duration::from_secs(1),
    timeout: Duration::from_millis(500),
};
/// The timeout outlasts the election of a stream's leader, which is no reason to alarm.
const BUS_PROBE: Probe = Probe {
    kind: TaskKind::BusProbe,
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(5),
};

/// A server answers pings and a question each second.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// Schedules and signatures follow nats-server's clock, so a wrong clock here harms none of them.
/// But one of the two is wrong, and receivers refuse signatures that are five minutes off.
const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(5);

/// One line per condition: its name, and why it is not met.
pub(super) type Conditions = Vec<(String, Result<(), String>)>;

/// The conditions of this node. Reading them does no IO: tasks ask the bus and the store.
#[derive(Clone)]
pub(super) struct Readiness {
    bus: Bus,
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    bus_writable: Answer,
    store: Option<Answer>,
}

impl Readiness {
    /// `store` is given only if a role needs it: deliveries go on without one.
    pub(super) fn new(
        bus: Bus,
        store: Option<Arc<dyn Store>>,
        tasks: &Tasks,
        cancel: &CancellationToken,
    ) -> Self {
        let probed = bus.clone();
        let bus_writable = BUS_PROBE.start(tasks, cancel, move || {
            let bus = probed.clone();
            async move {
                let written = bus.check_writable().await;
                written.map_err(|error| format!("cannot be written: {}", telemetry::report(&error)))
            }
        });
        let store = store.map(|store| {
            STORE_PROBE.start(tasks, cancel, move || {
                let store = Arc::clone(&store);
                async move {
                    store
                        .ping()
                        .await
                        .map_err(|error| telemetry::report(&error))
                }
            })
        });
        Self {
            bus,
            started: Arc::default(),
            draining: Arc::default(),
            bus_writable,
            store,
        }
    }

    /// All roles have begun, and their ports are bound.
    pub(super) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn conditions(&self) -> Conditions {
        let node = if self.draining.load(Ordering::Relaxed) {
            Err("draining".to_owned())
        } else if !self.started.load(Ordering::Relaxed) {
            Err("starting".to_owned())
        } else {
            Ok(())
        };
        let silence = self.bus.silence();
        let bus = if !self.bus.is_connected() {
            Err("not connected to NATS".to_owned())
        } else if silence > SILENCE_MAX {
            Err(format!(
                "nats-server has sent nothing for {:.1} s: it hangs, or the network fails; another \
                 of nats.url is tried",
                silence.as_secs_f64()
            ))
        } else {
            self.bus_writable.get()
        };
        let mut all = vec![
            ("node".to_owned(), node),
            ("bus".to_owned(), bus),
            ("clock".to_owned(), clock(self.bus.clock_offset_ms())),
        ];
        if let Some(store) = &self.store {
            all.push(("store".to_owned(), store.get()));
        }
        all
    }
}

/// Whether this machine's clock agrees with nats-server's.
fn clock(offset_ms: Option<i64>) -> Result<(), String> {
    let offset = offset_ms.unwrap_or_default();
    let size = Duration::from_millis(offset.unsigned_abs());
    if size <= CLOCK_OFFSET_MAX {
        return Ok(());
    }
    let side = if offset > 0 { "ahead of" } else { "behind" };
    Err(format!(
        "this machine's clock is {:.1} s {side} that of nats-server: one of them is wrong, let NTP \
         set both",
        size.as_secs_f64()
    ))
}

/// The newest answer of a probe.
#[derive(Clone)]
struct Answer(Arc<Mutex<Result<(), String>>>);

impl Answer {
    fn get(&self) -> Result<(), String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, answer: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

/// How something is asked whether it works.
#[derive(Clone, Copy)]
struct Probe {
    kind: TaskKind,
    interval: Duration,
    timeout: Duration,
}

impl Probe {
    /// Starts the task that asks.
    fn start<F>(
        self,
        tasks: &Tasks,
        cancel: &CancellationToken,
        ask: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Answer
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let answer = Answer(Arc::new(Mutex::new(Err("not asked yet".to_owned()))));
        let newest = answer.clone();
        let stop = cancel.clone();
        tasks.keep(self.kind, cancel, move || {
            self.run(ask.clone(), newest.clone(), stop.clone())
        });
        answer
    }

    async fn run<F>(self, ask: impl Fn() -> F, newest: Answer, cancel: CancellationToken)
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut ticks = interval(self.interval);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let answer = timeout(self.timeout, ask()).await;
            newest.set(answer.unwrap_or_else(|_| Err("does not answer".to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_some_seconds_and_the_reason_says_which_way() {
        for offset_ms in [None, Some(0), Some(5_000), Some(-5_000)] {
            assert_eq!(clock(offset_ms), Ok(()), "{offset_ms:?}");
        }
        for (offset_ms, told) in [
            (5_001, "5.0 s ahead of that of nats-server"),
            (-1_200_000, "1200.0 s behind that of nats-server"),
        ] {
            let reason = clock(Some(offset_ms)).expect_err("too far apart");
            assert!(reason.contains(told) && reason.contains("NTP"), "{reason}");
        }
        assert!(clock(Some(i64::MIN)).is_err());
    }
}
