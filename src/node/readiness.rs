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

const STORE_PING_TIMEOUT: Duration = Duration::from_millis(500);
const STORE_PING_INTERVAL: Duration = Duration::from_secs(1);

/// One line per condition: its name, and why it is not met.
pub(super) type Conditions = Vec<(String, Result<(), String>)>;

/// The conditions of this node. Reading them does no IO: the store is asked once a second by a
/// task.
#[derive(Clone)]
pub(super) struct Readiness {
    bus: Bus,
    draining: Arc<AtomicBool>,
    store: Option<Arc<Mutex<Result<(), String>>>>,
}

impl Readiness {
    /// `store` is given only where a role needs it: deliveries go on without one.
    pub(super) fn new(
        bus: Bus,
        store: Option<Arc<dyn Store>>,
        tasks: &Tasks,
        cancel: &CancellationToken,
    ) -> Self {
        let store = store.map(|store| {
            let state = Arc::new(Mutex::new(Err("not asked yet".to_owned())));
            let watched = (store, Arc::clone(&state), cancel.clone());
            tasks.keep(TaskKind::StoreProbe, cancel, move || {
                let (store, state, cancel) = watched.clone();
                watch(store, state, cancel)
            });
            state
        });
        Self {
            bus,
            draining: Arc::default(),
            store,
        }
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn conditions(&self) -> Conditions {
        let not = |bad: bool, why: &str| if bad { Err(why.to_owned()) } else { Ok(()) };
        let mut all = vec![
            (
                "node".to_owned(),
                not(self.draining.load(Ordering::Relaxed), "draining"),
            ),
            (
                "bus".to_owned(),
                not(!self.bus.is_connected(), "not connected to NATS"),
            ),
        ];
        if let Some(state) = &self.store {
            all.push((
                "store".to_owned(),
                state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ));
        }
        all
    }
}

async fn watch(
    store: Arc<dyn Store>,
    state: Arc<Mutex<Result<(), String>>>,
    cancel: CancellationToken,
) {
    let mut ticks = interval(STORE_PING_INTERVAL);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let answer = match timeout(STORE_PING_TIMEOUT, store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(telemetry::report(&error)),
            Err(_) => Err("does not answer".to_owned()),
        };
        *state.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}
