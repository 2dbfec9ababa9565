//! What processes take: processor time and resident memory, from `/proc`, once and over time.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{task::JoinHandle, time::sleep};

/// How often a run looks at its processes.
const STEP: Duration = Duration::from_millis(250);

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes deliveries from the queue and posts them.
    Sender,
    /// Queue or database of the system.
    Store,
    /// Publisher and sink: no part of the system, but on the same processors.
    Harness,
}

/// A process and its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) id: u32,
}

/// Of one part, or of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
}

impl Usage {
    /// Of a process and all that descend from it. What children share (PostgreSQL's buffers) is
    /// counted in their parent alone, as far as that has touched it: rather too little than the
    /// same page ten times.
    pub(crate) fn of(id: u32) -> anyhow::Result<Self> {
        // proc(5): utime and stime are fields 14 and 15, those of children that ended 16 and 17,
        // rss is field 24.
        let mut usage = Self::read(id, 14..18)?;
        for child in children(id) {
            // One that ends meanwhile is counted by its parent.
            if let Ok(more) = Self::of(child) {
                usage.cpu += more.cpu;
                usage.rss_bytes += more.rss_bytes.saturating_sub(shared_bytes(child));
            }
        }
        Ok(usage)
    }

    /// Of this process without its children: those are parts of their own.
    fn own() -> anyhow::Result<Self> {
        Self::read(std::process::id(), 14..16)
    }

    fn read(id: u32, times: Range<usize>) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))
            .context("a process ended during the run")?;
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .context("/proc/…/stat")?
            .1
            .split_whitespace()
            .collect();
        // The first two were cut off, and fields are counted from one.
        let field = |number: usize| -> anyhow::Result<u64> { Ok(fields[number - 3].parse()?) };
        let ticks = times.map(field).sum::<anyhow::Result<u64>>()?;
        Ok(Self {
            cpu: Duration::from_millis(ticks * 10),
            rss_bytes: field(24)? * 4_096,
        })
    }
}

impl Part {
    fn usage(&self) -> anyhow::Result<Usage> {
        if self.id == std::process::id() {
            Usage::own()
        } else {
            Usage::of(self.id)
        }
    }
}

/// A child belongs to the thread that started it.
fn children(id: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let texts =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    texts
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn shared_bytes(id: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
    statm
        .split_whitespace()
        .nth(2)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4_096
}

/// What a part took over a run.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) cpu: Duration,
    /// At the end.
    pub(crate) rss_bytes: u64,
    /// The most that was seen.
    pub(crate) rss_bytes_max: u64,
    /// Over time.
    pub(crate) samples: Vec<Sample>,
}

/// One look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) at: Duration,
    /// Processors in use since the look before.
    pub(crate) processors: f64,
    pub(crate) rss_bytes: u64,
}

/// Looks at processes until [`Watch::end`].
pub(crate) struct Watch {
    parts: Vec<(Part, Usage)>,
    series: Arc<Mutex<Vec<Vec<Sample>>>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(parts: Vec<Part>) -> anyhow::Result<Self> {
        let parts: Vec<(Part, Usage)> = parts
            .into_iter()
            .map(|part| part.usage().map(|usage| (part, usage)))
            .collect::<anyhow::Result<_>>()?;
        let series = Arc::new(Mutex::new(vec![Vec::new(); parts.len()]));
        let task = tokio::spawn(look(parts.clone(), Arc::clone(&series)));
        Ok(Self {
            parts,
            series,
            task,
        })
    }

    /// What each took since the start. A part that is gone has what it had at the last look.
    pub(crate) fn end(self) -> Vec<Taken> {
        self.task.abort();
        let mut series =
            std::mem::take(&mut *self.series.lock().unwrap_or_else(PoisonError::into_inner));
        let whole = |((part, before), samples): ((Part, Usage), Vec<Sample>)| {
            let now = part.usage().ok();
            let seen: f64 = samples
                .iter()
                .map(|one| one.processors * STEP.as_secs_f64())
                .sum();
            // The kernel may leave a child out of one listing: then what was seen before is more.
            let at_end = now.map_or(Duration::ZERO, |now| now.cpu.saturating_sub(before.cpu));
            let cpu = at_end.max(Duration::from_secs_f64(seen));
            let last = samples.last().map_or(before.rss_bytes, |one| one.rss_bytes);
            let rss_bytes = now.map_or(last, |now| now.rss_bytes);
            let rss_bytes_max = samples
                .iter()
                .map(|one| one.rss_bytes)
                .max()
                .unwrap_or(0)
                .max(rss_bytes);
            Taken {
                name: part.name,
                role: part.role,
                cpu,
                rss_bytes,
                rss_bytes_max,
                samples,
            }
        };
        self.parts
            .into_iter()
            .zip(series.drain(..))
            .map(whole)
            .collect()
    }
}

async fn look(mut parts: Vec<(Part, Usage)>, series: Arc<Mutex<Vec<Vec<Sample>>>>) {
    let began = Instant::now();
    let mut before = Instant::now();
    loop {
        sleep(STEP).await;
        let step = before.elapsed().as_secs_f64();
        before = Instant::now();
        for (place, (part, last)) in parts.iter_mut().enumerate() {
            let Ok(now) = part.usage() else { continue };
            let processors = now.cpu.saturating_sub(last.cpu).as_secs_f64() / step;
            // A child that one listing lacks must not be counted twice at the next look.
            last.cpu = last.cpu.max(now.cpu);
            let sample = Sample {
                at: began.elapsed(),
                processors,
                rss_bytes: now.rss_bytes,
            };
            let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
            // Empty once the watch has ended.
            if let Some(samples) = series.get_mut(place) {
                samples.push(sample);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD_TIMEOUT: Duration = Duration::from_secs(30);

    impl Watch {
        fn looks(&self) -> usize {
            self.series.lock().expect("no panic while held")[0].len()
        }
    }

    /// Processor time of this process with its children.
    fn total() -> Duration {
        Usage::of(std::process::id()).expect("this one").cpu
    }

    /// The same without them.
    fn own_cpu() -> Duration {
        Usage::own().expect("this one").cpu
    }

    /// Waits until the process has a child that has used this much processor time. The kernel may
    /// leave a child out of one listing, so this asks again.
    async fn child_with_cpu_time(id: u32, cpu: Duration) -> u32 {
        let end = Instant::now() + CHILD_TIMEOUT;
        loop {
            let busy = |child: &u32| Usage::of(*child).is_ok_and(|usage| usage.cpu >= cpu);
            if let Some(child) = children(id).into_iter().find(busy) {
                return child;
            }
            assert!(Instant::now() < end, "no child used processor time");
            sleep(STEP / 5).await;
        }
    }

    #[tokio::test]
    async fn a_part_is_watched_with_its_children_and_this_process_without() {
        let own = Usage::own().expect("this one");
        assert!(own.rss_bytes > 1 << 20);
        let script = "(while :; do :; done) & wait";
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", script])
            .kill_on_drop(true)
            .spawn()
            .expect("sh");
        let id = child.id().expect("it runs");
        let watch = Watch::start(vec![Part {
            name: "sh",
            role: Role::Sender,
            id,
        }])
        .expect("it runs");
        let grandchild = child_with_cpu_time(id, STEP).await;
        while watch.looks() < 2 {
            sleep(STEP / 5).await;
        }
        let end = Instant::now() + CHILD_TIMEOUT;
        while total().saturating_sub(own_cpu()) < STEP {
            assert!(Instant::now() < end, "the child's time is not in the sum");
            sleep(STEP / 5).await;
        }
        let taken = watch.end().remove(0);
        // The loop is ended by its id: it would outlive its parent.
        std::process::Command::new("kill")
            .args(["-KILL", &grandchild.to_string()])
            .status()
            .expect("kill");
        child.wait().await.expect("its end");
        assert!(
            taken.cpu > Duration::ZERO && taken.samples.len() >= 2,
            "{taken:?}"
        );
    }
}
