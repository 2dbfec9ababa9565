//! The real executable as a process of a test's own, ended by its id.

use std::{path::PathBuf, process::Stdio};

use tokio::process::{Child, Command};

use super::app::{PATIENCE, eventually, http_client};

pub(crate) type Env = Vec<(String, String)>;

/// A running `wahook`; killed when dropped.
pub(crate) struct Node {
    child: Child,
    ready_url: String,
}

impl Node {
    /// Starts it; `admin` is the URL of its listener for probes.
    pub(crate) fn start(env: &Env, arguments: &[&str], admin: &str) -> Self {
        let mut command = wahook(env);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the executable starts");
        Self { child, ready_url: format!("{admin}/readyz") }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let http = http_client();
        eventually("the node is ready", async || {
            assert!(self.child.try_wait().expect("its own child").is_none(), "it ended");
            http.get(&self.ready_url).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("the process runs");
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().expect("the process runs");
        let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        assert!(status.is_ok_and(|status| status.success()));
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("ends in time").expect("was started here").code()
    }

    /// Resident memory.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let pid = self.child.id().expect("the process runs");
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
    }
}

/// Runs a command to its end; its standard output.
pub(crate) async fn run(env: &Env, arguments: &[&str]) -> String {
    let output = tokio::time::timeout(PATIENCE, wahook(env).args(arguments).output()).await;
    let output = output.expect("ends in time").expect("the executable starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "wahook {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

pub(crate) fn wahook(env: &Env) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_wahook")));
    command.envs(env.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
    command
}
