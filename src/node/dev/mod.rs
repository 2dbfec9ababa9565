//! The `nats-server` child of `wahook dev`.
//!
//! The server demands a login that only this user can read ([`login`]). It is started again when it
//! ends, and when it takes no writes although the disk has room: after a full disk it stays so.

mod launch;
mod login;
mod port;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    fs,
    io::AsyncWriteExt,
    process::Child,
    sync::Notify,
    task::JoinHandle,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{launch::Launch, login::Login};
use super::data_dir::DataDir;
use crate::{
    bus::Bus,
    config::{Config, Nats},
    tasks::{TaskKind, Tasks},
};

const RESTART_PAUSE: Duration = Duration::from_secs(1);
const JETSTREAM_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How often in a row the server must take no write. Each time is some seconds.
const STUCK_CHECKS: u32 = 3;
/// Time for a started server to enable JetStream, and for the client to connect to it.
const RECOVERY_TIME: Duration = Duration::from_secs(15);
/// With less room than this, the server would soon be stuck again.
const ROOM_BYTES: usize = 4 * 1024 * 1024;

/// A supervised server: started again when it dies, stopped with the node.
pub(super) struct NatsServer {
    cancel: CancellationToken,
    supervisor: JoinHandle<()>,
    restart: Arc<Notify>,
    folder: Arc<Path>,
}

impl NatsServer {
    /// Starts the server on the host and port of `nats.url`, its data below the folder.
    pub(super) async fn start(
        config: &Config,
        data_dir: &DataDir,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let launch = Launch::prepare(config, data_dir)?;
        launch.free_the_port().await?;
        let mut child = launch.spawn()?;
        launch.wait_until_up(&mut child).await?;
        tracing::info!(port = launch.port, path = %launch.binary.display(), "nats-server is up");

        let cancel = CancellationToken::new();
        let restart = Arc::new(Notify::new());
        let folder = launch.folder().into();
        // Not among those that a drain waits for: the node needs its server to the end.
        let supervised = supervise(launch, child, Arc::clone(&restart), cancel.clone());
        let supervisor = tasks.group().run(TaskKind::NatsServer, &cancel, supervised);
        Ok(Self {
            cancel,
            supervisor,
            restart,
            folder,
        })
    }

    /// Restarts the server when it takes no writes and the disk has room.
    pub(super) fn watch_jetstream(&self, bus: &Bus, tasks: &Tasks) {
        let bus = bus.clone();
        let restart = Arc::clone(&self.restart);
        let folder = Arc::clone(&self.folder);
        let cancel = self.cancel.clone();
        tasks
            .group()
            .keep(TaskKind::JetStreamWatch, &self.cancel, move || {
                let cancel = cancel.clone();
                let watch = watch_jetstream(bus.clone(), Arc::clone(&folder), Arc::clone(&restart));
                async move {
                    cancel.run_until_cancelled(watch).await;
                }
            });
    }

    /// Lets the server write everything to disk and end.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        if self.supervisor.await.is_err() {
            tracing::error!("the task that watches nats-server panicked");
        }
    }
}

/// Sets the login of the server that `wahook dev` started in this folder, unless the settings have
/// one, or name another server.
pub(super) fn with_login(nats: &Nats, data_dir: &Path) -> anyhow::Result<Nats> {
    let mut nats = nats.clone();
    if nats.user.is_some() || nats.credentials_file.is_some() {
        return Ok(nats);
    }
    if let Some(login) = Login::of_server(&nats, &data_dir.join("nats"))? {
        nats.user = Some(login.user);
        nats.password = Some(login.password);
    }
    Ok(nats)
}

async fn supervise(
    launch: Launch,
    mut child: Child,
    restart: Arc<Notify>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return launch.stop(child).await,
            exit_status = child.wait() => {
                tracing::error!(?exit_status, "nats-server ended; starting it again");
            }
            () = restart.notified() => launch.stop(child).await,
        }
        loop {
            sleep(RESTART_PAUSE).await;
            match launch.spawn() {
                Ok(next) => break child = next,
                Err(error) => tracing::error!(%error, "nats-server does not start"),
            }
            if cancel.is_cancelled() {
                return;
            }
        }
    }
}

async fn watch_jetstream(bus: Bus, folder: Arc<Path>, restart: Arc<Notify>) {
    let mut ticks = interval(JETSTREAM_CHECK_INTERVAL);
    let mut stuck = 0;
    loop {
        ticks.tick().await;
        stuck = match bus.is_stuck().await && has_room(&folder).await {
            true => stuck + 1,
            false => 0,
        };
        if stuck < STUCK_CHECKS {
            continue;
        }
        tracing::warn!("nats-server takes no writes although there is room; restarting it");
        stuck = 0;
        restart.notify_one();
        sleep(RECOVERY_TIME).await;
    }
}

/// Whether a file of [`ROOM_BYTES`] can be written.
async fn has_room(folder: &Path) -> bool {
    let file = folder.join("room");
    let write = async {
        let mut open = fs::File::create(&file).await?;
        open.write_all(&vec![1; ROOM_BYTES]).await?;
        open.sync_all().await
    };
    let written = write.await;
    let _ = fs::remove_file(&file).await;
    if let Err(error) = &written {
        tracing::debug!(%error, "the folder of nats-server has no room");
    }
    written.is_ok()
}
