//! The real executable as a process of a test's own, ended by its id.

use std::{fs::OpenOptions, path::PathBuf, process::Stdio};

use tokio::process::{Child, Command};

use super::{
    app::{WAIT_MAX, eventually, http_client},
    ports,
};

pub(crate) type Env = Vec<(String, String)>;

/// Where processes log, below their data folder.
pub(crate) const LOG: &str = "wahook.log";

/// A running `wahook`; killed when dropped.
pub(crate) struct Node {
    child: Child,
    ready_url: String,
}

impl Node {
    /// Starts it; `admin` is the URL of its listener for probes.
    pub(crate) fn start(env: &Env, arguments: &[&str], admin: &str) -> Self {
        let folder = env
            .iter()
            .find(|(key, _)| key == "WAHOOK__NODE__DATA_DIR")
            .map_or(".", |(_, value)| value);
        std::fs::create_dir_all(folder).expect("a writable place");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(PathBuf::from(folder).join(LOG));
        Self::start_logging(
            env,
            arguments,
            admin,
            log.expect("a writable folder").into(),
        )
    }

    /// The same with a place for its log.
    pub(crate) fn start_logging(env: &Env, arguments: &[&str], admin: &str, log: Stdio) -> Self {
        let mut command = wahook(env);
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the executable starts");
        Self {
            child,
            ready_url: format!("{admin}/readyz"),
        }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let http = http_client();
        eventually("the node is ready", async || {
            assert!(
                self.child.try_wait().expect("its own child").is_none(),
                "it ended"
            );
            http.get(&self.ready_url)
                .send()
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Where it says whether it is ready.
    pub(crate) fn ready_url(&self) -> &str {
        &self.ready_url
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("the process runs");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits until it ends; the exit code, `None` after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(WAIT_MAX, self.child.wait()).await;
        ended
            .expect("ends in time")
            .expect("was started here")
            .code()
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the process runs").to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .await;
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Resident memory.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS")
    }

    /// The most that was resident since [`Self::forget_peak`].
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// Lets the peak begin again (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").expect("one's own process");
    }

    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("a line of it");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("KiB")
            * 1024
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }
}

/// A port for a server of another process.
pub(crate) fn free_port() -> u16 {
    ports::free_port().expect("one of all is free")
}

/// Such a port on loopback.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Runs a command to its end; its standard output.
pub(crate) async fn run(env: &Env, arguments: &[&str]) -> String {
    let output = tokio::time::timeout(WAIT_MAX, wahook(env).args(arguments).output()).await;
    let output = output
        .expect("ends in time")
        .expect("the executable starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "wahook {arguments:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout.into_owned()
}

/// `ATTACK_WAHOOK`, an executable as users run it; else the one that was built with the tests.
fn executable() -> PathBuf {
    let chosen = std::env::var_os("ATTACK_WAHOOK");
    chosen.map_or_else(|| env!("CARGO_BIN_EXE_wahook").into(), PathBuf::from)
}

pub(crate) fn wahook(env: &Env) -> Command {
    let mut command = Command::new(executable());
    command
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
