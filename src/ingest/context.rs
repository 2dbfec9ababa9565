//! What all sessions of a node share.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use whatsapp_rust::{http::UreqHttpClient, version::fetch_latest_app_version};

use super::{fetch::Fetch, files::Open, media, storage::Storage};
use crate::{bus::Bus, config};

/// How long a version of WhatsApp Web is used before it is looked up again.
const VERSION_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// Files to send at once; each is held in memory.
const FILES_MAX: usize = 8;

type Version = (u32, u32, u32);

/// What all sessions of a node share.
pub(super) struct Context {
    pub(super) bus: Bus,
    pub(super) settings: config::WhatsApp,
    pub(super) http: UreqHttpClient,
    pub(super) media_secret: Arc<[u8; 32]>,
    pub(super) fetch: Fetch,
    pub(super) storage: Storage,
    /// Files to send that are held in memory at once.
    pub(super) files: Semaphore,
    next_turn: Mutex<Instant>,
    version: Mutex<Option<(Instant, Version)>>,
}

impl Context {
    /// # Errors
    /// When the bus does not answer, or `whatsapp.root_ca_file` cannot be read.
    pub(super) async fn new(
        bus: Bus,
        settings: &config::WhatsApp,
        fetch: Fetch,
        open: Open,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            media_secret: Arc::new(bus.shared_keys().media_key().await?),
            storage: Storage::new(&bus, settings, open),
            bus,
            http: media::http_client(settings)?,
            fetch,
            files: Semaphore::new(FILES_MAX),
            settings: settings.clone(),
            next_turn: Mutex::new(Instant::now()),
            version: Mutex::new(None),
        })
    }

    /// Waits until one more session may connect.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next_turn.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_secs(1) / self.settings.connects_per_second;
            at
        };
        sleep_until(at).await;
    }

    /// The version of WhatsApp Web to present: one request for all sessions.
    pub(super) async fn version(&self) -> anyhow::Result<Version> {
        if let Some(config::WebVersion(major, minor, build)) = self.settings.version {
            return Ok((major, minor, build));
        }
        let mut known = self.version.lock().await;
        if let Some((_, version)) = known.filter(|(at, _)| at.elapsed() < VERSION_TTL) {
            return Ok(version);
        }
        let client: Arc<dyn whatsapp_rust::http::HttpClient> = Arc::new(self.http.clone());
        let fetched = timeout(VERSION_TIMEOUT, fetch_latest_app_version(&client)).await;
        let version = fetched
            .context("no answer in time")
            .and_then(|version| version)
            .context("asking WhatsApp for its present version; whatsapp.version can set it")?;
        *known = Some((Instant::now(), version));
        Ok(version)
    }

    /// WhatsApp refused the version: the next client asks for it again.
    pub(super) async fn forget_version(&self) {
        *self.version.lock().await = None;
    }
}
