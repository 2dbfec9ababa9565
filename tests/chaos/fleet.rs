//! The processes of a run.

use std::{fs, path::PathBuf, process::Stdio};

use crate::support::{
    app::{App, WAIT_MAX, http_client},
    cluster::Cluster,
    nats::NatsServer,
    process,
};

/// What every run sets. A killed node's messages come again after `ack_wait`, so it is as short as
/// the rest allows; `in_flight_max` bounds what a kill can double.
const SETTINGS: [(&str, &str); 5] = [
    ("BUS__ACK_WAIT", "16s"),
    ("DELIVER__TIMEOUT", "3s"),
    ("DELIVER__RETRY_BASE", "1s"),
    ("DELIVER__IN_FLIGHT_MAX", "64"),
    ("API__REGISTRATIONS_PER_MINUTE", "1000"),
];
/// Requests that one deliver process has under way at most; see [`SETTINGS`].
pub(crate) const IN_FLIGHT_MAX: usize = 64;
/// Warnings and errors of each log that a failure shows.
const LOG_LINES: usize = 15;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and what is under way is worked off.
    Term,
}

impl End {
    async fn of(self, process: &mut process::Node) {
        match self {
            Self::Kill => process.kill().await,
            Self::Term => assert_eq!(process.terminate().await, Some(0), "a clean end"),
        }
    }
}

/// One process.
pub(crate) struct Node {
    pub(crate) process: process::Node,
    admin: String,
    /// Attempts that it had made when last asked.
    attempts: u64,
}

/// One process for `api`, one for `record`, and some for `deliver`.
pub(crate) struct Fleet {
    pub(crate) app: App,
    record: Node,
    pub(crate) deliver: Vec<Node>,
    http: reqwest::Client,
    started: usize,
}

impl Fleet {
    pub(crate) async fn start(deliver: usize) -> Self {
        Self::around(App::playing("api", &SETTINGS).await, deliver).await
    }

    /// The same on three servers, each process under the user of its role.
    pub(crate) async fn start_on_three(deliver: usize) -> Self {
        let nats = NatsServer::cluster().await;
        let mut settings = SETTINGS.to_vec();
        settings.push(("BUS__REPLICAS", "3"));
        Self::around(App::playing_on(nats, "api", &settings).await, deliver).await
    }

    async fn around(app: App, deliver: usize) -> Self {
        let mut record = Node::start(&app, "record", "record");
        record.process.ready().await;
        let mut fleet = Self {
            app,
            record,
            deliver: Vec::new(),
            http: http_client(),
            started: 0,
        };
        for _ in 0..deliver {
            fleet.join().await;
        }
        fleet
    }

    pub(crate) fn nats(&mut self) -> &mut NatsServer {
        &mut self.app.nats
    }

    /// The three servers.
    pub(crate) fn three(&mut self) -> &mut Cluster {
        self.app.nats.cluster.as_mut().expect("three servers")
    }

    /// Ends the process that records, and starts another one.
    pub(crate) async fn replace_record(&mut self, end: End) {
        self.started += 1;
        end.of(&mut self.record.process).await;
        let name = format!("record-{}", self.started);
        self.record = Node::start(&self.app, "record", &name);
        self.record.process.ready().await;
    }

    /// The same with the process of the API.
    pub(crate) async fn replace_api(&mut self, end: End) {
        match end {
            End::Kill => self.app.kill().await,
            End::Term => assert_eq!(self.app.terminate().await, Some(0), "a clean end"),
        }
        self.app.restart().await;
    }

    /// One more deliver process; its place.
    pub(crate) async fn join(&mut self) -> usize {
        let mut node = self.spawn();
        node.process.ready().await;
        self.deliver.push(node);
        self.deliver.len() - 1
    }

    /// SIGKILL, and at once a new process in its place.
    pub(crate) async fn kill_and_restart(&mut self, place: usize) {
        let next = self.spawn();
        let mut killed = std::mem::replace(&mut self.deliver[place], next);
        killed.process.kill().await;
    }

    /// SIGKILL, without another in its place.
    pub(crate) async fn kill(&mut self, place: usize) {
        self.deliver.remove(place).process.kill().await;
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub(crate) async fn terminate(&mut self, place: usize) -> Option<i32> {
        self.deliver.remove(place).process.terminate().await
    }

    /// Waits until one of these is delivering; its place. Who is first among those that are is up
    /// to `choice`.
    pub(crate) async fn delivering(&mut self, choice: u64) -> usize {
        let mut places: Vec<usize> = (0..self.deliver.len()).collect();
        let first = usize::try_from(choice % places.len() as u64).expect("small");
        places.rotate_left(first);
        for place in &places {
            self.made_more(*place).await;
        }
        let end = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            for place in &places {
                if self.made_more(*place).await {
                    return *place;
                }
            }
            assert!(
                tokio::time::Instant::now() < end,
                "no node delivers anything\n{}",
                self.last_words()
            );
        }
    }

    /// Whether a node made attempts since the last look. One that does not answer (yet) made none.
    pub(crate) async fn made_more(&mut self, place: usize) -> bool {
        let node = &mut self.deliver[place];
        let answer = self
            .http
            .get(format!("{}/metrics", node.admin))
            .send()
            .await;
        let Ok(answer) = answer else { return false };
        let text = answer.text().await.unwrap_or_default();
        let counts = text
            .lines()
            .filter(|line| line.starts_with("wahook_delivery_attempt_duration_seconds_count"));
        let made: u64 = counts
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        made > std::mem::replace(&mut node.attempts, made)
    }

    fn spawn(&mut self) -> Node {
        self.started += 1;
        Node::start(&self.app, "deliver", &format!("deliver-{}", self.started))
    }

    /// All logs of this run by name, those of dead nodes too.
    pub(crate) fn logs(&self) -> Vec<(String, String)> {
        let folder = fs::read_dir(self.app.data.path()).expect("the run's folder");
        let paths = folder.map(|entry| entry.expect("an entry").path());
        let logs = paths.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        let mut all: Vec<_> = logs
            .map(|path| {
                (
                    path.file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    path,
                )
            })
            .map(|(name, path)| (name, fs::read_to_string(path).expect("its own file")))
            .collect();
        all.sort();
        all
    }

    /// Copies all logs into the folder `CHAOS_LOGS`, if there is one.
    pub(crate) fn keep_logs(&self) {
        let Some(folder) = std::env::var_os("CHAOS_LOGS").map(PathBuf::from) else {
            return;
        };
        fs::create_dir_all(&folder).expect("a writable folder");
        for (name, text) in self.logs() {
            fs::write(folder.join(format!("{name}.log")), text).expect("a writable folder");
        }
    }

    /// The last lines of each log that has more than its start, for a failure's report.
    pub(crate) fn last_words(&self) -> String {
        let mut all = String::new();
        for (name, text) in self.logs() {
            let lines: Vec<_> = text
                .lines()
                .filter(|line| !line.contains(r#""level":"INFO""#))
                .collect();
            if !lines.is_empty() {
                let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                all.push_str(&format!("--- {name}\n{last}\n"));
            }
        }
        all
    }
}

impl Node {
    fn start(app: &App, roles: &str, name: &str) -> Self {
        let log = fs::File::create(app.data.path().join(format!("{name}.log")))
            .expect("a writable folder");
        let (process, admin) = app.second_logging(roles, &[], Stdio::from(log));
        Self {
            process,
            admin,
            attempts: 0,
        }
    }
}
