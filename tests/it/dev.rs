//! `wahook dev`: its folder, its nats-server, and the login to that.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::support::{
    app::{WAIT_MAX, eventually, eventually_within, http_client},
    nats::binary,
    process::{Env, Node, free_address, free_port, run, wahook},
};

/// A folder for `wahook dev`, and the settings to run it there.
struct Folder {
    data: TempDir,
    nats_port: u16,
    env: Env,
    admin: String,
}

impl Folder {
    fn new() -> Self {
        Self::in_data(tempfile::tempdir().expect("a temporary folder"))
    }

    fn in_data(data: TempDir) -> Self {
        let nats_port = free_port();
        let admin = free_address();
        let path = |name: &str| data.path().join(name).display().to_string();
        let settings = [
            ("NATS__URL", format!("nats://127.0.0.1:{nats_port}")),
            ("API__LISTEN", free_address()),
            ("ADMIN__LISTEN", admin.clone()),
            ("NODE__DATA_DIR", path("node")),
            ("STORE__PATH", path("hooks.db")),
            ("WHATSAPP__SESSIONS_DIR", path("sessions")),
        ];
        let env = settings
            .into_iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value))
            .collect();
        let admin = format!("http://{admin}");
        Self {
            data,
            nats_port,
            env,
            admin,
        }
    }

    /// Settings of its own but for the data folder, which is that of the other.
    fn beside(other: &Self) -> Env {
        let own = Self::new();
        let shared = |key: &str| key == "WAHOOK__NODE__DATA_DIR";
        let kept = own.env.into_iter().filter(|(key, _)| !shared(key));
        kept.chain(other.env.iter().filter(|(key, _)| shared(key)).cloned())
            .collect()
    }

    fn start(&self) -> Node {
        Node::start(&self.env, &["dev"], &self.admin)
    }

    fn nats_folder(&self) -> PathBuf {
        self.data.path().join("node/nats")
    }

    fn nats_pid(&self) -> String {
        let file = self.nats_folder().join("nats-server.pid");
        std::fs::read_to_string(file).expect("the server runs")
    }

    async fn nats(&self, user: Option<&str>) -> Result<async_nats::Client, async_nats::Error> {
        let url = format!("nats://127.0.0.1:{}", self.nats_port);
        let options = match user {
            Some(user) => {
                async_nats::ConnectOptions::with_user_and_password(user.into(), self.password())
            }
            None => async_nats::ConnectOptions::new(),
        };
        Ok(options.connect(url).await?)
    }

    fn password(&self) -> String {
        let file = self.nats_folder().join("cli.env");
        let text = std::fs::read_to_string(file).expect("dev has written it");
        let after = text.split("NATS_PASSWORD='").nth(1).expect("a password");
        after.split('\'').next().expect("a quote").to_owned()
    }
}

/// Runs `wahook dev` that is refused; what it says.
async fn refused(env: &Env) -> String {
    let output = timeout(WAIT_MAX, wahook(env).arg("dev").output()).await;
    let output = output
        .expect("ends in time")
        .expect("the executable starts");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dev_in_a_folder_is_refused_and_touches_nothing() {
    let folder = Folder::new();
    let mut first = folder.start();
    first.ready().await;
    let server = folder.nats_pid();
    let text = refused(&Folder::beside(&folder)).await;
    let holder = format!(
        "process id {}: stop that one, or set node.data_dir",
        first.pid()
    );
    assert!(text.contains(&holder), "{text}");
    assert_eq!(folder.nats_pid(), server);
    assert!(Path::new(&format!("/proc/{}", server.trim())).exists());
    run(&folder.env, &["token", "create", "--client", "1"]).await;
    assert_eq!(first.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_read_the_folder_reach_its_nats_server() {
    let folder = Folder::new();
    let mut node = folder.start();
    node.ready().await;
    folder.nats(None).await.expect_err("no login");
    folder.nats(Some("other")).await.expect_err("another user");
    let client = folder
        .nats(Some("wahook"))
        .await
        .expect("the login of the file");
    client
        .publish("wa.test", "x".into())
        .await
        .expect("may publish");
    let listed = run(&folder.env, &["token", "list"]).await;
    assert_eq!(listed, "", "commands know the login");
    let password = folder.password();
    for file in walk(folder.data.path()) {
        let mode = file.metadata().expect("is there").permissions().mode() & 0o777;
        // Sockets to nobody, and the log that this test opened.
        let is_own_log = file.ends_with("wahook.log");
        let is_open = mode & 0o077 != 0 && !is_own_log && file != folder.data.path().join("node");
        assert!(!is_open, "{} has mode {mode:o}", file.display());
    }
    assert_eq!(node.terminate().await, Some(0));

    let mut node = folder.start();
    node.ready().await;
    assert_eq!(folder.password(), password, "it stays");
    assert_eq!(node.terminate().await, Some(0));
}

/// All files and folders below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_starts_again_at_once_after_it_and_its_server_were_killed() {
    let folder = Folder::new();
    let mut node = folder.start();
    node.ready().await;
    for round in 0..6 {
        let mut pids = vec![node.pid().to_string()];
        // Every second time the server is left behind.
        if round % 2 == 0 {
            pids.push(folder.nats_pid().trim().to_owned());
        }
        let killed = Command::new("kill").arg("-KILL").args(&pids).status().await;
        assert!(killed.expect("kill runs").success());
        // At once: the old ones may still be ending.
        let next = folder.start();
        drop(std::mem::replace(&mut node, next));
        node.ready().await;
    }
    assert_eq!(node.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_process_has_is_named_with_that_process() {
    let folder = Folder::new();
    let _taken = TcpListener::bind(("127.0.0.1", folder.nats_port)).expect("it was free");
    let asked = Instant::now();
    let text = refused(&folder.env).await;
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "nobody waits for it"
    );
    let by = format!("process id {}: stop it, set nats.url", std::process::id());
    assert!(text.contains(&by), "{text}");
}

/// `wahook dev` with a relative data folder, so that the servers of two folders have the same words
/// on their command lines.
async fn start_inside(folder: &Folder) -> tokio::process::Child {
    let child = wahook(&folder.env)
        .arg("dev")
        .env("WAHOOK__NODE__DATA_DIR", "node")
        .env("NATS_SERVER_BIN", binary())
        .current_dir(folder.data.path())
        .stderr(Stdio::null())
        .spawn();
    let http = http_client();
    let readyz = format!("{}/readyz", folder.admin);
    eventually("it is ready", async || {
        let answer = http.get(&readyz).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    child.expect("the executable starts")
}

async fn terminate(mut child: tokio::process::Child) {
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(sent.expect("kill runs").success());
    let ended = timeout(WAIT_MAX, child.wait()).await;
    let status = ended.expect("in time").expect("its own child");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_folder_is_never_ended() {
    let other = Folder::new();
    let other_node = start_inside(&other).await;
    // A stale file, whose process id the system gave to the other's server since.
    let folder = Folder::new();
    std::fs::create_dir_all(folder.nats_folder()).expect("a writable folder");
    let pid = other.nats_pid();
    std::fs::write(folder.nats_folder().join("nats-server.pid"), &pid).expect("a file");
    let node = start_inside(&folder).await;
    assert_eq!(other.nats_pid(), pid);
    run(&other.env, &["token", "list"]).await;
    terminate(node).await;
    terminate(other_node).await;
}

/// Whether this user may mount a file system in a namespace of its own.
async fn can_mount() -> bool {
    let unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status()
        .await;
    let can = unshare.is_ok_and(|status| status.success());
    assert!(
        can || std::env::var_os("CI").is_none(),
        "the CI needs user namespaces"
    );
    can
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_turns_readiness_red_and_room_heals_publishing() {
    if !can_mount().await {
        eprintln!("skipped: `unshare --user --mount` is not allowed here");
        return;
    }
    let folder = Folder::new();
    let node_folder = folder.data.path().join("node");
    std::fs::create_dir_all(&node_folder).expect("a writable folder");
    let script = "mount -t tmpfs -o size=12m,mode=700 tmpfs \"$1\" && exec \"$2\" dev";
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args([
            node_folder.as_path(),
            Path::new(env!("CARGO_BIN_EXE_wahook")),
        ])
        .envs(folder.env.iter().cloned())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let node = command.spawn().expect("unshare starts");
    let pid = node.id().expect("it runs");
    let inside = PathBuf::from(format!("/proc/{pid}/root{}", node_folder.display()));
    let readyz = format!("{}/readyz", folder.admin);
    let http = http_client();
    let ready = async |wanted: u16| {
        // The server is restarted once it took no write for some time.
        eventually_within(
            3 * WAIT_MAX,
            &format!("/readyz answers {wanted}"),
            async || {
                let answer = http.get(&readyz).send().await.ok()?;
                let status = answer.status().as_u16();
                let text = answer.text().await.ok()?;
                (status == wanted).then_some(text)
            },
        )
        .await
    };
    ready(200).await;

    let ballast = inside.join("ballast");
    let filled = std::fs::write(&ballast, vec![1; 16 << 20]);
    filled.expect_err("there is less room than that");
    eventually_within(3 * WAIT_MAX, "/readyz gives the reason", async || {
        // On a busy machine the connection may be lost first.
        let text = ready(503).await;
        text.contains("bus: cannot be written").then_some(())
    })
    .await;

    std::fs::remove_file(&ballast).expect("is there");
    ready(200).await;
    terminate(node).await;
}
