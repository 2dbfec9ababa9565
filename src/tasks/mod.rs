//! The one place that starts background work.
//!
//! Every task has a [`TaskKind`], which says what its end does to the node: stop it, start the
//! task again, or nothing. A loop that panics, fails or returns early is noticed here, so a node
//! never goes on beating and owning partitions without it.
//!
//! - [`Tasks::run`] starts a loop whose early end stops the node ([`OnEnd::StopNode`]).
//! - [`Tasks::keep`] starts a loop again after each early end ([`OnEnd::Restart`]).
//! - [`Tasks::once`], [`Tasks::once_in`] and [`Tasks::blocking`] start short work
//!   ([`OnEnd::Nothing`]).
//! - [`Tasks::thread`] does the first with a thread.
//!
//! [`HeavyWork`] bounds what takes a processor for long, wherever it is done.
//!
//! Each end is counted in `wahook_tasks_total{kind,end}`. Panics are caught here; the panic hook
//! has logged their place by then.

#[cfg(any(test, feature = "task-faults"))]
mod faults;
mod heavy_work;
mod keyed_semaphore;
mod kind;

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry;

pub use heavy_work::HeavyWork;
pub use keyed_semaphore::KeyedSemaphore;
pub use kind::{OnEnd, TaskKind};

/// The pause before the first new start, and the longest one.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A task that ran for this long begins with the shortest pause again.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// How a task ended; the label `end` of `wahook_tasks_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It returned.
    Ok,
    /// It returned an error, which is logged.
    Error,
    /// It panicked.
    Panic,
    /// It was dropped before its end.
    Cancelled,
}

impl End {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a task may return: nothing, or a result whose error is logged.
pub trait Outcome {
    /// How it ended.
    fn end(self, kind: TaskKind) -> End;
}

impl Outcome for () {
    fn end(self, _: TaskKind) -> End {
        End::Ok
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn end(self, kind: TaskKind) -> End {
        match self {
            Ok(()) => End::Ok,
            Err(error) => {
                // `{:#}` shows the sources of an `anyhow::Error`.
                let error = format!("{error:#}");
                tracing::error!(task.kind = kind.as_str(), error, "a task failed");
                End::Error
            }
        }
    }
}

/// An end that stops the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which kind ended.
    pub kind: TaskKind,
    /// How.
    pub end: End,
}

/// Where a thread can be made to panic. A thread that waits cannot be woken from outside, so its
/// loop calls [`Checkpoint::pass`] before each piece of work. Does nothing in a release build.
#[derive(Debug)]
pub struct Checkpoint {
    #[cfg(any(test, feature = "task-faults"))]
    faults: faults::Faults,
    #[cfg(any(test, feature = "task-faults"))]
    kind: TaskKind,
}

impl Checkpoint {
    /// Panics when a test wants this thread's kind to break.
    pub fn pass(&self) {
        #[cfg(any(test, feature = "task-faults"))]
        self.faults.break_here(self.kind);
    }
}

/// Starts tasks and watches their ends. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    failure: Arc<watch::Sender<Option<Failure>>>,
    #[cfg(any(test, feature = "task-faults"))]
    faults: faults::Faults,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            tracker: TaskTracker::new(),
            failure: Arc::new(watch::Sender::new(None)),
            #[cfg(any(test, feature = "task-faults"))]
            faults: faults::Faults::from_env(),
        }
    }
}

impl Tasks {
    /// Tasks of which one can wait apart from all others; their failures count for the whole.
    pub fn group(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            ..self.clone()
        }
    }

    /// Starts a loop. If it ends before `cancel` is cancelled, the node stops.
    pub fn run<F>(&self, kind: TaskKind, cancel: &CancellationToken, task: F) -> JoinHandle<()>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        debug_assert_eq!(kind.on_end(), OnEnd::StopNode, "{kind:?}");
        let tasks = self.clone();
        let cancel = cancel.clone();
        let watched = self.watched(kind, task);
        self.tracker.spawn(async move {
            let end = watched.await;
            tasks.stop_node_unless(&cancel, kind, end);
        })
    }

    /// Starts a loop, and starts it again whenever it ends before `cancel` is cancelled.
    pub fn keep<F>(
        &self,
        kind: TaskKind,
        cancel: &CancellationToken,
        mut start: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        debug_assert_eq!(kind.on_end(), OnEnd::Restart, "{kind:?}");
        let tasks = self.clone();
        let cancel = cancel.clone();
        self.tracker.spawn(async move {
            let mut pause = Pause::default();
            while !cancel.is_cancelled() {
                let started = Instant::now();
                let end = match caught(&mut start) {
                    Ok(task) => tasks.watched(kind, task).await,
                    Err(_) => {
                        Count::new(kind).end(End::Panic);
                        End::Panic
                    }
                };
                if cancel.is_cancelled() {
                    return;
                }
                let wait = pause.after(started.elapsed());
                log_restart(kind, end, wait);
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = sleep(wait) => {}
                }
            }
        })
    }

    /// Starts work whose end, however it comes, does nothing to the node.
    pub fn once<F>(&self, kind: TaskKind, task: F) -> JoinHandle<End>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        debug_assert_eq!(kind.on_end(), OnEnd::Nothing, "{kind:?}");
        self.tracker.spawn(self.watched(kind, task))
    }

    /// The same in a set, whose owner looks at the ends and stops all by dropping it.
    pub fn once_in<F>(&self, set: &mut JoinSet<End>, kind: TaskKind, task: F) -> AbortHandle
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        debug_assert_eq!(kind.on_end(), OnEnd::Nothing, "{kind:?}");
        set.spawn(self.tracker.track_future(self.watched(kind, task)))
    }

    /// Runs a function on a thread that may block, at once; `None` when it panicked.
    pub fn blocking<T: Send + 'static>(
        &self,
        kind: TaskKind,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        debug_assert_eq!(kind.on_end(), OnEnd::Nothing, "{kind:?}");
        let count = Count::new(kind);
        #[cfg(any(test, feature = "task-faults"))]
        let work = self.faults.breakable_call(kind, work);
        let done = self.tracker.spawn_blocking(move || {
            let value = caught(work).ok();
            count.end(if value.is_some() { End::Ok } else { End::Panic });
            value
        });
        async move { done.await.ok().flatten() }
    }

    /// Starts a thread. The node stops if it panics, or if it returns `false`: it ended without
    /// being asked to. Tests can make it panic at its [`Checkpoint`].
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn thread(
        &self,
        kind: TaskKind,
        work: impl FnOnce(&Checkpoint) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        debug_assert_eq!(kind.on_end(), OnEnd::StopNode, "{kind:?}");
        let tasks = self.clone();
        let checkpoint = Checkpoint {
            #[cfg(any(test, feature = "task-faults"))]
            faults: self.faults.clone(),
            #[cfg(any(test, feature = "task-faults"))]
            kind,
        };
        let token = self.tracker.token();
        let count = Count::new(kind);
        let name = kind.as_str().to_owned();
        thread::Builder::new().name(name).spawn(move || {
            let _token = token;
            let (end, was_asked_for) = match caught(|| work(&checkpoint)) {
                Ok(was_asked_for) => (End::Ok, was_asked_for),
                Err(_) => (End::Panic, false),
            };
            count.end(end);
            if !was_asked_for {
                tasks.stop_node(kind, end);
            }
        })?;
        Ok(())
    }

    /// Waits for the first end that stops the node.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        match failed.as_deref() {
            Ok(Some(failure)) => *failure,
            // `self` holds the sender.
            _ => std::future::pending().await,
        }
    }

    /// How many tasks live.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task lives.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until all have ended.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Runs a task to its end, whatever that is, and counts it.
    fn watched<F>(&self, kind: TaskKind, task: F) -> impl Future<Output = End> + Send + 'static
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        #[cfg(any(test, feature = "task-faults"))]
        let task = self.faults.breakable(kind, task);
        let count = Count::new(kind);
        async move {
            let end = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(outcome) => outcome.end(kind),
                Err(_) => End::Panic,
            };
            count.end(end);
            end
        }
    }

    fn stop_node_unless(&self, cancel: &CancellationToken, kind: TaskKind, end: End) {
        if !cancel.is_cancelled() {
            self.stop_node(kind, end);
        }
    }

    fn stop_node(&self, kind: TaskKind, end: End) {
        tracing::error!(
            task.kind = kind.as_str(),
            task.end = end.as_str(),
            "a task ended that the node cannot do without; the node stops"
        );
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(Failure { kind, end });
            is_first
        });
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
}

fn log_restart(kind: TaskKind, end: End, wait: Duration) {
    tracing::error!(
        task.kind = kind.as_str(),
        task.end = end.as_str(),
        wait_ms = wait.as_millis(),
        "a task ended early and is started again"
    );
}

/// The pause before the next start.
#[derive(Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn after(&mut self, ran_for: Duration) -> Duration {
        let next = match self.0 {
            Some(last) if ran_for < STEADY_AFTER => (last * 2).min(RESTART_PAUSE_MAX),
            _ => RESTART_PAUSE,
        };
        self.0 = Some(next);
        next
    }
}

/// Counts one end; a task that is dropped before its end counts as cancelled.
struct Count {
    kind: TaskKind,
    end: End,
}

impl Count {
    fn new(kind: TaskKind) -> Self {
        let end = End::Cancelled;
        Self { kind, end }
    }

    fn end(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        telemetry::task_ended(self.kind.as_str(), self.end.as_str());
    }
}

#[cfg(test)]
mod tests;
