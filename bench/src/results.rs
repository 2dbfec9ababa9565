//! Where a run's figures go: to the terminal as they come, and into a folder of
//! `bench/results/local`: `report.md` for people, `data.json` for programs, and pictures.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    plot::{self, Line, Picture},
    report::{Report, mebibytes, millis},
    usage::Role,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/local");
/// Parts of a run's latencies that a curve is drawn through: nine in ten, 99 in 100…
const NINES: [f64; 9] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999];

/// What one invocation measured.
pub(crate) struct Results {
    scenario: &'static str,
    said: String,
    runs: Vec<Run>,
    figures: Value,
}

/// A kind of picture: name, what goes across, what goes up, and what of a run it shows.
type Kind = (&'static str, &'static str, &'static str, fn(&Run) -> &Line);

/// One run's figures. Runs of one group share pictures.
struct Run {
    group: String,
    label: String,
    data: Value,
    latency: Line,
    deliveries: Line,
    memory: Line,
    processors: Line,
}

impl Results {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            said: String::new(),
            runs: Vec::new(),
            figures: Value::Null,
        }
    }

    /// Says it on the terminal, and in the report.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        println!("{}", text.as_ref());
        self.said.push_str(text.as_ref());
        self.said.push('\n');
    }

    /// Figures of the whole, beside those of its runs.
    pub(crate) fn figures(&mut self, figures: Value) {
        self.figures = figures;
    }

    /// Keeps a run. A later one with the same label follows it in the data, and takes its place in
    /// the pictures.
    pub(crate) fn keep(&mut self, group: &str, label: &str, report: &Report) {
        self.runs.push(Run::of(group, label, report));
    }

    /// Writes the folder, if there is anything to keep.
    pub(crate) fn write(self) -> anyhow::Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let folder =
            Path::new(FOLDER).join(format!("{}-{}", date("+%Y%m%dT%H%M%S"), self.scenario));
        fs::create_dir_all(&folder)?;
        let pictures = self.draw(&folder)?;
        let runs: Vec<Value> = self.runs.iter().map(|run| run.data.clone()).collect();
        let machine = machine();
        let data = json!({
            "scenario": self.scenario,
            "command": command(),
            "machine": machine,
            "figures": self.figures,
            "runs": runs,
        });
        fs::write(folder.join("data.json"), serde_json::to_vec(&data)?)?;
        let mut text = format!("# {}\n\n`{}`\n\n", self.scenario, command());
        for (what, value) in machine {
            writeln!(text, "- {what}: {value}")?;
        }
        writeln!(text, "\n```\n{}```", self.said)?;
        for picture in pictures {
            writeln!(text, "\n![{picture}]({picture})")?;
        }
        fs::write(folder.join("report.md"), text)?;
        println!("report: {}", folder.join("report.md").display());
        Ok(())
    }

    fn draw(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let mut groups: BTreeMap<&str, BTreeMap<&str, &Run>> = BTreeMap::new();
        for run in &self.runs {
            groups
                .entry(&run.group)
                .or_default()
                .insert(&run.label, run);
        }
        let mut names = Vec::new();
        for (group, runs) in groups {
            let pictures: [Kind; 4] = [
                (
                    "latency",
                    "nines of all messages (1: 90 %, 2: 99 %)",
                    "publish ack to POST, ms",
                    |run| &run.latency,
                ),
                ("deliveries", "seconds", "deliveries per second", |run| {
                    &run.deliveries
                }),
                (
                    "memory",
                    "seconds",
                    "resident memory of the system, MiB",
                    |run| &run.memory,
                ),
                (
                    "processors",
                    "seconds",
                    "processors in use by the system",
                    |run| &run.processors,
                ),
            ];
            for (what, across, up, line) in pictures {
                let lines: Vec<(&str, &Line)> = runs
                    .iter()
                    .map(|(label, run)| (*label, line(run)))
                    .collect();
                let name = format!("{}-{what}.svg", group.replace(' ', "-"));
                let title = format!("{group}: {up}");
                let is_log = what == "latency";
                if plot::draw(
                    &Picture {
                        title: &title,
                        across,
                        up,
                        is_log,
                        lines: &lines,
                    },
                    &folder.join(&name),
                )? {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

impl Run {
    fn of(group: &str, label: &str, report: &Report) -> Self {
        let curve = |quantile: &f64| (-(1.0 - quantile).log10(), millis(&report.micros, *quantile));
        let quantiles = |micros| -> Value {
            let of = |quantile: &f64| json!([quantile, millis(micros, *quantile)]);
            NINES.iter().chain([&1.0]).map(of).collect()
        };
        let deliveries = report.per_second();
        let memory = report.over_time(mib);
        let processors = report.over_time(|one| one.processors);
        let parts: Vec<Value> = report
            .parts
            .iter()
            .map(|part| {
                let sample = |one: &crate::usage::Sample| {
                    json!([one.at.as_secs_f64(), one.processors, mib(one)])
                };
                json!({
                    "name": part.name,
                    "is_harness": part.role == Role::Harness,
                    "is_sender": part.role == Role::Sender,
                    "cpu_s": part.cpu.as_secs_f64(),
                    "rss_mib_end": mebibytes(part.rss_bytes),
                    "rss_mib_max": mebibytes(part.rss_bytes_max),
                    "samples": part.samples.iter().map(sample).collect::<Vec<_>>(),
                })
            })
            .collect();
        let data = json!({
            "group": group,
            "label": label,
            "offered": report.offered,
            "published": report.published,
            "delivered": report.delivered,
            "lost": report.published - report.delivered,
            "duplicates": report.duplicates,
            "refused": report.refused,
            "deliveries_per_s": report.rate(),
            "drain_per_s": report.drain_rate(),
            "recovery_s": report.recovery.as_secs_f64(),
            "cpu_us_each_sender": report.cpu_each(),
            "cpu_us_each_system": report.system_cpu_each(),
            "plan_to_ack_ms": quantiles(&report.publish),
            "ack_to_post_ms": quantiles(&report.micros),
            "plan_to_post_ms": quantiles(&report.planned),
            "stages": report.stages,
            "deliveries_over_time": deliveries,
            "parts": parts,
        });
        let latency = NINES.iter().map(curve).collect();
        Self {
            group: group.to_owned(),
            label: label.to_owned(),
            data,
            latency,
            deliveries,
            memory,
            processors,
        }
    }
}

fn mib(sample: &crate::usage::Sample) -> f64 {
    mebibytes(sample.rss_bytes)
}

fn command() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        "wahook-bench".clone_into(program);
    }
    words.join(" ")
}

/// What it ran on, and when.
fn machine() -> BTreeMap<&'static str, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .collect();
    let model = models
        .first()
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let memory = read("/proc/meminfo")
        .lines()
        .next()
        .unwrap_or_default()
        .replace("MemTotal:", "");
    let commit = output(
        Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(FOLDER_OF_SOURCES),
    );
    BTreeMap::from([
        ("when", date("+%Y-%m-%d %H:%M UTC")),
        ("processors", format!("{} × {model}", models.len())),
        ("memory", memory.trim().to_owned()),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        (
            "load when it ended",
            read("/proc/loadavg").trim().to_owned(),
        ),
        ("commit of the work tree", commit),
        (
            "build",
            if cfg!(debug_assertions) {
                "debug: figures mean nothing"
            } else {
                "release"
            }
            .to_owned(),
        ),
    ])
}

const FOLDER_OF_SOURCES: &str = env!("CARGO_MANIFEST_DIR");

fn date(form: &str) -> String {
    output(Command::new("date").args(["-u", form]))
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    output.unwrap_or_else(|_| "unknown".to_owned())
}
