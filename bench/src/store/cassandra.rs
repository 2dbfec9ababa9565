//! A Cassandra of the run's own.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::process::free_port;

/// How long it may take to start or stop.
const STEP_MAX: Duration = Duration::from_secs(120);

/// A node with more memory than the tests give it, and the whole compiler.
pub(crate) struct Cassandra {
    pub(crate) port: u16,
    script: Child,
    folder: std::path::PathBuf,
}

impl Cassandra {
    pub(crate) async fn start(data: &Path) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let folder = data.join("cassandra");
        let mut script = Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../scripts/run-cassandra.sh"
        ));
        script
            .args(ports.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        script
            .env("CASSANDRA_KEEP", &folder)
            .env("CASSANDRA_OPTIONS", "-Xms2g -Xmx2g -XX:TieredStopAtLevel=4");
        let mut script = script.spawn().context("starting Cassandra")?;
        let mut lines = BufReader::new(script.stdout.take().context("its output")?).lines();
        let said = timeout(STEP_MAX, lines.next_line()).await??;
        ensure!(
            said.as_deref() == Some("ready"),
            "Cassandra does not start: `make cassandra` installs it"
        );
        Ok(Self {
            port: ports[0],
            script,
            folder,
        })
    }

    /// Lets it write everything out; bytes of our tables.
    pub(crate) async fn stop(mut self) -> anyhow::Result<u64> {
        drop(self.script.stdin.take());
        timeout(STEP_MAX, self.script.wait())
            .await
            .context("Cassandra did not end")??;
        size_bytes(&self.folder.join("data/data/wahook"), &|_| true)
    }
}

/// Bytes of the files below a folder that count.
pub(super) fn size_bytes(folder: &Path, counts: &dyn Fn(&Path) -> bool) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sum += size_bytes(&path, counts)?;
        } else if counts(&path) {
            sum += path.metadata()?.len();
        }
    }
    Ok(sum)
}
