//! The real executable on a real nats-server, with free ports and a folder of its own.

mod client;
mod leftover;
mod second;
mod wait;

use std::{path::PathBuf, sync::OnceLock};

use tempfile::TempDir;
use wahook::tasks::TaskKind;

use super::{
    nats::NatsServer,
    process::{Env, LOG, Node, free_address, run, wahook},
};

pub(crate) use client::Client;
pub(crate) use wait::{WAIT_MAX, eventually, eventually_within, http_client, let_pass, stays};

/// All roles of this build.
pub(crate) const ALL_ROLES: &str = if cfg!(feature = "whatsapp") {
    "api,ingest,deliver,record"
} else {
    "api,deliver,record"
};

/// `wahook serve` with all roles, and what is needed to talk to it.
pub(crate) struct App {
    pub(crate) nats: NatsServer,
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) data: TempDir,
    http: reqwest::Client,
    env: Env,
    roles: &'static str,
    process: Node,
    leaves_work: OnceLock<&'static str>,
}

impl App {
    /// Starts it with quick retries, allowed to call loopback over plain http.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with more settings: `("DELIVER__TIMEOUT", "1s")`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::playing(ALL_ROLES, settings).await
    }

    /// The same with only these roles.
    pub(crate) async fn playing(roles: &'static str, settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        Self::on(NatsServer::start().await, roles, data, settings).await
    }

    /// The same on this server, with all roles but `ingest`.
    pub(crate) async fn on_server(nats: NatsServer, settings: &[(&str, &str)]) -> Self {
        Self::playing_on(nats, "api,deliver,record", settings).await
    }

    /// The same with these roles.
    pub(crate) async fn playing_on(
        nats: NatsServer,
        roles: &'static str,
        settings: &[(&str, &str)],
    ) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        Self::on(nats, roles, data, settings).await
    }

    async fn on(
        mut nats: NatsServer,
        roles: &'static str,
        data: TempDir,
        settings: &[(&str, &str)],
    ) -> Self {
        nats.keys_file = Some(data.path().join("secrets.keys"));
        let api = free_address();
        let admin = free_address();
        let mut env: Env = [
            ("NATS__URL", nats.url().as_str()),
            ("API__LISTEN", &api),
            ("ADMIN__LISTEN", &admin),
            ("NODE__DATA_DIR", &data.path().display().to_string()),
            (
                "STORE__PATH",
                &data.path().join("hooks.db").display().to_string(),
            ),
            (
                "WHATSAPP__SESSIONS_DIR",
                &data.path().join("sessions").display().to_string(),
            ),
            ("EGRESS__ALLOW_HTTP", "true"),
            ("EGRESS__ALLOW_CIDRS", "127.0.0.0/8"),
            ("DELIVER__RETRY_BASE", "500ms"),
            ("DELIVER__TIMEOUT", "2s"),
        ]
        .into_iter()
        .chain(settings.iter().copied())
        .map(|(key, value)| (format!("WAHOOK__{key}"), value.to_owned()))
        .collect();
        env.push(("NO_COLOR".to_owned(), "1".to_owned()));
        let http = http_client();
        let operator = logged_in(&env, &nats, "operator");
        run(&operator, &["bus", "apply"]).await;
        let api = format!("http://{api}");
        let admin = format!("http://{admin}");
        let process = Node::start(
            &with_faults(&logged_in(&env, &nats, roles), &data),
            &["serve", "--roles", roles],
            &admin,
        );
        let mut app = Self {
            nats,
            api,
            admin,
            data,
            http,
            env,
            roles,
            process,
            leaves_work: OnceLock::new(),
        };
        app.process.ready().await;
        app
    }

    /// The test ends with work in the streams on purpose; see [`leftover`].
    pub(crate) fn leaves_work(&self, why: &'static str) {
        self.leaves_work.get_or_init(|| why);
    }

    /// Lets one task of this kind panic: one that lives, or else the next one that starts.
    pub(crate) async fn break_task(&self, kind: TaskKind) {
        let file = break_file(&self.data);
        let mut lines = std::fs::read_to_string(&file).unwrap_or_default();
        lines += kind.as_str();
        lines.push('\n');
        std::fs::write(&file, &lines).expect("a writable folder");
        let count = lines.lines().count().to_string();
        eventually("the process knows what is to break", async || {
            let read = std::fs::read_to_string(file.with_extension("read")).ok()?;
            (read == count).then_some(())
        })
        .await;
    }

    /// The next process that starts breaks nothing.
    pub(crate) fn break_no_more(&self) {
        let file = break_file(&self.data);
        std::fs::remove_file(file.with_extension("read")).expect("something was broken");
        std::fs::remove_file(file).expect("something was broken");
    }

    /// Waits until no work is left in the streams.
    ///
    /// # Panics
    /// When some is left after a while.
    pub(crate) async fn settled(&self) {
        leftover::assert_none(&self.nats).await;
    }

    /// Waits until the process ends; its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        self.process.ended().await
    }

    /// The value of a line of the process's metrics: a name with its labels. `None` when there is
    /// none, or it does not answer.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.admin);
        let answer = self.http.get(url).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let value = text.lines().find_map(|found| found.strip_prefix(line))?;
        value.trim().parse().ok()
    }

    /// The status of its `/readyz`; `None` when it does not answer.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let url = format!("{}/readyz", self.admin);
        let answer = self.http.get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// One whose WhatsApp is the stand-in.
    pub(crate) async fn on_whatsapp(
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::on_whatsapp_playing(ALL_ROLES, server, settings).await
    }

    /// The same with these roles.
    pub(crate) async fn on_whatsapp_playing(
        roles: &'static str,
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::on_both(NatsServer::start().await, roles, server, settings).await
    }

    /// The same on this server.
    pub(crate) async fn on_both(
        nats: NatsServer,
        roles: &'static str,
        server: &whatsapp_sim::Server,
        settings: &[(&str, &str)],
    ) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let ca = data.path().join("whatsapp-ca.pem");
        std::fs::write(&ca, server.ca_pem()).expect("a writable folder");
        let url = server.url();
        let host = server.media_host();
        let file = ca.display().to_string();
        let own = [
            ("WHATSAPP__URL", url.as_str()),
            ("WHATSAPP__VERSION", "2.3000.1023223821"),
            ("WHATSAPP__MEDIA_HOST", &host),
            ("WHATSAPP__ROOT_CA_FILE", &file),
            ("WHATSAPP__CONNECTS_PER_SECOND", "1000"),
        ];
        Self::on(
            nats,
            roles,
            data,
            &own.into_iter()
                .chain(settings.iter().copied())
                .collect::<Vec<_>>(),
        )
        .await
    }

    /// SIGKILL, and a new process with the same settings.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// A new process after [`App::terminate`] or [`App::kill`].
    pub(crate) async fn restart(&mut self) {
        let env = logged_in(&self.env, &self.nats, self.roles);
        let env = with_faults(&env, &self.data);
        self.process = Node::start(&env, &["serve", "--roles", self.roles], &self.admin);
        self.process.ready().await;
    }

    /// All that its processes have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join(LOG)).expect("it has logged")
    }

    /// Resident memory of the process.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.process.rss_bytes()
    }

    /// The most memory that was ever resident.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.process.peak_rss_bytes()
    }

    /// How much more than now is resident at any time while `work` runs; bytes.
    pub(crate) async fn rss_growth(&self, work: impl Future<Output = ()>) -> u64 {
        self.process.forget_peak();
        let before = self.process.rss_bytes();
        work.await;
        self.process.peak_rss_bytes().saturating_sub(before)
    }

    /// What commands are run with.
    fn operator(&self) -> Env {
        logged_in(&self.env, &self.nats, "operator")
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.process.terminate().await
    }

    /// Runs another `wahook` command that is to fail; what it writes to both outputs.
    pub(crate) async fn failing_command(&self, arguments: &[&str]) -> String {
        let output =
            tokio::time::timeout(WAIT_MAX, wahook(&self.operator()).args(arguments).output()).await;
        let output = output
            .expect("ends in time")
            .expect("the executable starts");
        assert!(!output.status.success(), "wahook {arguments:?} succeeded");
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// Runs another `wahook` command with the same settings; its standard output.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        run(&self.operator(), arguments).await
    }

    /// The same, whatever comes of it: exit code, standard output, standard error. With more
    /// settings.
    pub(crate) async fn attempt(
        &self,
        arguments: &[&str],
        more: &[(&str, String)],
    ) -> (Option<i32>, String, String) {
        let more = more
            .iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value.clone()));
        let env: Vec<_> = self.operator().into_iter().chain(more).collect();
        let output = tokio::time::timeout(WAIT_MAX, wahook(&env).args(arguments).output()).await;
        let output = output
            .expect("ends in time")
            .expect("the executable starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

impl Drop for App {
    /// Fails the test when it leaves work in the streams. When it has failed already, tells what
    /// its processes said last.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            if self.leaves_work.get().is_none() {
                leftover::assert_none_blocking(&self.nats);
            }
        } else {
            let log = std::fs::read_to_string(self.data.path().join(LOG)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "the last of its log:\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

fn break_file(data: &TempDir) -> PathBuf {
    data.path().join("break-tasks")
}

/// The same with what the servers ask of a process with these roles.
fn logged_in(env: &Env, nats: &NatsServer, roles: &str) -> Env {
    let login = nats.login(roles).into_iter();
    let login = login.map(|(key, value)| (format!("WAHOOK__{key}"), value));
    env.iter().cloned().chain(login).collect()
}

/// The same with the file that names the kinds of tasks to break. Not for other commands: they
/// would break, too.
fn with_faults(env: &Env, data: &TempDir) -> Env {
    let file = break_file(data).display().to_string();
    let mut env = env.clone();
    env.push(("WAHOOK_BREAK_TASKS".to_owned(), file));
    env
}
