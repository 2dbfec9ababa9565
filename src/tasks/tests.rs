use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Every kind, started in the way that its end asks for.
fn start(tasks: &Tasks, kind: TaskKind, cancel: &CancellationToken) -> Arc<AtomicUsize> {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    match kind.on_end() {
        OnEnd::StopNode => {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(tasks.run(kind, cancel, cancel.clone().cancelled_owned()));
        }
        OnEnd::Restart => {
            let until = cancel.clone();
            drop(tasks.keep(kind, cancel, move || {
                counted.fetch_add(1, Ordering::Relaxed);
                until.clone().cancelled_owned()
            }));
        }
        OnEnd::Nothing => {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(tasks.once(kind, cancel.clone().cancelled_owned()));
        }
    }
    starts
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_each_kind_does_to_the_node_what_the_kind_says() {
    for kind in TaskKind::ALL.iter().copied() {
        let tasks = Tasks::default();
        let cancel = CancellationToken::new();
        let starts = start(&tasks, kind, &cancel);
        settle().await;
        tasks.faults.break_kind(kind);
        settle().await;
        let failure = tasks.failed().now_or_never();
        match kind.on_end() {
            OnEnd::StopNode => {
                let end = End::Panic;
                assert_eq!(failure, Some(Failure { kind, end }), "{kind:?}");
            }
            OnEnd::Restart => {
                assert_eq!((failure, tasks.len()), (None, 1), "{kind:?}");
                sleep(RESTART_PAUSE * 2).await;
                assert_eq!(starts.load(Ordering::Relaxed), 2, "{kind:?}");
            }
            OnEnd::Nothing => assert_eq!((failure, tasks.len()), (None, 0), "{kind:?}"),
        }
        cancel.cancel();
        tasks.wait().await;
    }
}

#[tokio::test]
async fn a_loop_that_returns_early_stops_the_node_and_one_that_was_asked_to_end_does_not() {
    let tasks = Tasks::default();
    let cancel = CancellationToken::new();
    let until = cancel.clone();
    tasks.run(TaskKind::PullLoop, &cancel, async move {
        until.cancelled().await;
    });
    cancel.cancel();
    tasks.wait().await;
    assert_eq!(tasks.failed().now_or_never(), None);

    let going_on = CancellationToken::new();
    let failing = async { Err::<(), _>("no stream") };
    tasks.run(TaskKind::Assignment, &going_on, failing);
    let kind = TaskKind::Assignment;
    let end = End::Error;
    assert_eq!(tasks.failed().await, Failure { kind, end });
}

#[tokio::test(start_paused = true)]
async fn a_loop_whose_start_panics_is_started_again() {
    let tasks = Tasks::default();
    let cancel = CancellationToken::new();
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let until = cancel.clone();
    drop(tasks.keep(TaskKind::Notices, &cancel, move || {
        assert!(counted.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        until.clone().cancelled_owned()
    }));
    sleep(RESTART_PAUSE * 2).await;
    assert_eq!((starts.load(Ordering::Relaxed), tasks.len()), (2, 1));
    cancel.cancel();
    tasks.wait().await;
}

#[tokio::test]
async fn a_failure_in_a_group_counts_for_the_whole() {
    let tasks = Tasks::default();
    let cancel = CancellationToken::new();
    tasks.group().run(TaskKind::PullLoop, &cancel, async {});
    let kind = TaskKind::PullLoop;
    let end = End::Ok;
    assert_eq!(tasks.failed().await, Failure { kind, end });
    assert!(tasks.is_empty(), "the group's tasks are its own");
}

#[tokio::test]
async fn a_thread_that_ends_by_itself_or_panics_stops_the_node() {
    for work in [
        |_: &Checkpoint| false,
        |_: &Checkpoint| panic!("on purpose"),
    ] {
        let tasks = Tasks::default();
        tasks
            .thread(TaskKind::SqliteWriter, work)
            .expect("a thread");
        assert_eq!(tasks.failed().await.kind, TaskKind::SqliteWriter);
    }
    let tasks = Tasks::default();
    tasks
        .thread(TaskKind::SqliteWriter, |_| true)
        .expect("a thread");
    tasks.wait().await;
    assert_eq!(tasks.failed().now_or_never(), None);
}

#[tokio::test]
async fn a_broken_thread_panics_at_its_next_checkpoint() {
    let tasks = Tasks::default();
    let kind = TaskKind::SqliteWriter;
    let (work, waiting) = std::sync::mpsc::channel();
    let started = tasks.thread(kind, move |checkpoint| {
        while waiting.recv().is_ok() {
            checkpoint.pass();
        }
        true
    });
    started.expect("a thread");
    work.send(()).expect("it lives");
    tasks.faults.break_kind(kind);
    assert_eq!(tasks.failed().now_or_never(), None);
    // The first one may have come before the kind was broken.
    let _ = work.send(());
    let end = End::Panic;
    assert_eq!(tasks.failed().await, Failure { kind, end });
}

#[tokio::test]
async fn a_blocking_call_that_panics_gives_nothing() {
    let tasks = Tasks::default();
    let kind = TaskKind::SqliteQuery;
    assert_eq!(tasks.blocking(kind, || 7).await, Some(7));
    assert_eq!(
        tasks
            .blocking(kind, || -> u8 { panic!("on purpose") })
            .await,
        None
    );
}

#[test]
fn pauses_double_up_to_their_limit_and_begin_again_after_a_steady_run() {
    let mut pause = Pause::default();
    let short = Duration::from_secs(1);
    let pauses = [(); 8].map(|()| pause.after(short).as_millis());
    assert_eq!(
        pauses,
        [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    );
    assert_eq!(pause.after(STEADY_AFTER), RESTART_PAUSE);
}

#[test]
fn labels_are_unique() {
    let labels: std::collections::HashSet<_> = TaskKind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(labels.len(), TaskKind::ALL.len());
}

/// The section on tasks in `docs/metrics.md`.
fn section() -> String {
    let mut section = String::from(
        "\n## Background tasks\n\n\
         The kinds in `wahook_tasks_total`, and what follows when such a task ends early. See \
         [ADR 10](adr/0010-background-tasks-by-kind.md).\n\n\
         | kind | after an early end |\n| --- | --- |\n",
    );
    for kind in TaskKind::ALL {
        let follows = match kind.on_end() {
            OnEnd::StopNode => "the node drains and exits with code 1",
            OnEnd::Restart => "it is started again",
            OnEnd::Nothing => "nothing: its owner notices, or its work comes again",
        };
        section += &format!("| `{}` | {follows} |\n", kind.as_str());
    }
    section
}

#[test]
fn the_page_on_metrics_lists_every_kind_with_what_its_end_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let committed = std::fs::read_to_string(path).expect("the page");
    let begin = committed.find("\n## Background tasks\n");
    let (metrics, tasks) = committed.split_at(begin.unwrap_or(committed.len()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, metrics.to_owned() + &section()).expect("docs/ can be written");
        return;
    }
    let help = "docs/metrics.md is out of date: run `UPDATE_DOCS=1 cargo test --lib tasks`";
    assert!(tasks == section(), "{help}");
}
