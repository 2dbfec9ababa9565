//! Makes tasks panic on purpose. Compiled for tests only (feature `task-faults`).
//!
//! A process reads the kinds to break from the file that the environment variable
//! `WAHOOK_BREAK_TASKS` names, one per line. Each line breaks one task of that kind: one that
//! lives, or else the next one that starts. A thread breaks before its
//! next piece of work. The number of lines that were read is written into a file beside it, whose
//! name ends in `.read`. Only what starts from then on is sure to break.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use super::TaskKind;

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Which kinds are to break. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Mutex<HashSet<TaskKind>>,
    changed: Notify,
}

impl Faults {
    /// Reads the file that the environment names, if it names one, for as long as the process
    /// lives.
    pub(super) fn from_env() -> Self {
        static OF_PROCESS: OnceLock<Option<Faults>> = OnceLock::new();
        let of_process = OF_PROCESS.get_or_init(|| {
            let file = PathBuf::from(std::env::var_os("WAHOOK_BREAK_TASKS")?);
            let faults = Self::default();
            let reader = faults.clone();
            thread::spawn(move || reader.follow(&file));
            Some(faults)
        });
        of_process.clone().unwrap_or_default()
    }

    fn follow(&self, file: &Path) {
        let mut read = 0;
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(read) {
                let kind = TaskKind::ALL.iter().find(|kind| kind.as_str() == *line);
                let Some(kind) = kind else {
                    eprintln!("WAHOOK_BREAK_TASKS: there is no kind of task {line:?}");
                    std::process::exit(2);
                };
                self.break_kind(*kind);
            }
            if lines.len() > read {
                read = lines.len();
                // A test that waits for it in vain fails.
                let _ = std::fs::write(file.with_extension("read"), read.to_string());
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The next poll of a task of this kind panics.
    pub(super) fn break_kind(&self, kind: TaskKind) {
        self.wanted().insert(kind);
        self.0.changed.notify_waiters();
    }

    /// A future that panics when its kind is broken.
    pub(super) fn breakable<F>(
        &self,
        kind: TaskKind,
        task: F,
    ) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
    {
        let faults = self.clone();
        async move {
            tokio::select! {
                biased;
                () = faults.broken(kind) => panic!("the task {} breaks on purpose", kind.as_str()),
                output = task => output,
            }
        }
    }

    /// A function that panics if its kind is broken when it begins.
    pub(super) fn breakable_call<T: 'static>(
        &self,
        kind: TaskKind,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl FnOnce() -> T + Send + 'static {
        let faults = self.clone();
        move || {
            faults.break_here(kind);
            work()
        }
    }

    /// Panics if this kind is broken.
    pub(super) fn break_here(&self, kind: TaskKind) {
        assert!(
            !self.take(kind),
            "the task {} breaks on purpose",
            kind.as_str()
        );
    }

    async fn broken(&self, kind: TaskKind) {
        loop {
            let changed = self.0.changed.notified();
            if self.take(kind) {
                return;
            }
            changed.await;
        }
    }

    fn take(&self, kind: TaskKind) -> bool {
        self.wanted().remove(&kind)
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, HashSet<TaskKind>> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
