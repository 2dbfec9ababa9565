use std::{
    sync::{Mutex, atomic::AtomicBool},
    time::Instant,
};

use whatsapp_rust::{
    InboundDurabilityHook,
    bot::BotHandle,
    prelude::{Bot, Client, TokioRuntime},
    store::error::StoreError,
    transport::TokioWebSocketTransportFactory,
    types::events::{Event, InboundMessage},
    wacore::store::InMemoryBackend,
};
use whatsapp_sim::{Server, content};

use super::*;
use crate::{config::Config, ingest::media::http_client};

const SOON: Duration = Duration::from_secs(20);

fn fenced(folder: &Path, epoch: u64, inner: Arc<dyn Backend>) -> std::io::Result<Fenced> {
    Ok(Fenced::new(
        inner,
        Some(Fence::claim(folder.join("s.epoch"), epoch)?),
    ))
}

#[tokio::test]
async fn an_older_epoch_can_neither_open_nor_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |epoch| fenced(folder.path(), epoch, Arc::new(InMemoryBackend::new()));
    let first = open(3).expect("nobody was here");
    first
        .put_identity("a", [1; 32])
        .await
        .expect("its own epoch");
    assert!(open(2).is_err());
    let _second = open(4).expect("a later epoch");
    let refused = first.put_identity("a", [2; 32]).await;
    let Err(StoreError::Io(error)) = refused else {
        panic!("a write under a lost lease succeeded");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(
        first.load_identity("a").await.expect("reading stays"),
        Some([1; 32])
    );
}

#[tokio::test]
async fn a_flush_waits_for_rows_that_are_being_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = Arc::new(InMemoryBackend::new());
    let backend = Arc::new(fenced(folder.path(), 1, inner).expect("nobody was here"));
    let row = backend.row();
    let flushing = Arc::clone(&backend);
    let flush = tokio::spawn(async move {
        flushing
            .put_sessions_batch(&[("a".into(), Bytes::from_static(b"x"))])
            .await
            .expect("flushed");
        Instant::now()
    });
    sleep(HEAD_START * 4).await;
    assert_eq!(
        backend.get_session("a").await.expect("reading"),
        None,
        "it did not wait"
    );
    let released = Instant::now();
    drop(row);
    assert!(flush.await.expect("no panic") >= released);
    assert!(backend.get_session("a").await.expect("reading").is_some());
}

/// Never finishes the next row once told so: what a crash in the middle of it looks like.
struct Stalling {
    inner: Arc<dyn Backend>,
    stall_next: AtomicBool,
    stalled: AtomicBool,
}

#[async_trait]
impl Gate for Stalling {
    type Pass<'a> = ();

    fn inner(&self) -> &Arc<dyn Backend> {
        &self.inner
    }

    async fn enter(&self, call: Call) -> Result<()> {
        if call == Call::Row && self.stall_next.swap(false, Ordering::SeqCst) {
            self.stalled.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

backend!(Stalling);

#[derive(Clone, Default)]
struct Hooked(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl InboundDurabilityHook for Hooked {
    async fn on_messages(&self, _: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let mut all = self.0.lock().expect("no panic here");
        all.extend(batch.iter().map(|one| one.info.id.to_string()));
        Ok(())
    }
}

async fn start(
    server: &Server,
    backend: Arc<dyn Backend>,
    hook: Hooked,
) -> (BotHandle, tokio::sync::mpsc::Receiver<String>) {
    let (codes, shown) = tokio::sync::mpsc::channel(8);
    let bot = Bot::builder()
        .with_backend_arc(backend)
        .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(server.url()))
        .with_http_client(http_client(&Config::default().whatsapp).expect("the defaults do"))
        .with_runtime(TokioRuntime)
        .with_version((2, 3000, 1_023_223_821))
        .with_inbound_durability_hook(hook)
        .on_event(move |event, _| {
            let codes = codes.clone();
            async move {
                if let Event::PairingQrCode(qr) = &*event {
                    let _ = codes.try_send(qr.code.clone());
                }
            }
        });
    (bot.build().await.expect("a client").spawn(), shown)
}

/// Crashes while one chat's row is being written and another chat's message is acknowledged;
/// whether the first message reached the hook in the end.
async fn survives_a_crash(wrap: impl Fn(Arc<dyn Backend>) -> Arc<dyn Backend>) -> bool {
    let server = Server::start().await.expect("the stand-in starts");
    let inner: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
    let stalling = Arc::new(Stalling {
        inner: inner.clone(),
        stall_next: false.into(),
        stalled: false.into(),
    });
    let hook = Hooked::default();
    let (handle, mut codes) = start(&server, wrap(stalling.clone()), hook.clone()).await;
    let code = timeout(SOON, codes.recv())
        .await
        .expect("in time")
        .expect("a code");
    let device = server
        .phone("4915112345678")
        .scan(&code)
        .await
        .expect("linked");
    device.wait_online(1, SOON).await.expect("online");
    let carol = server.contact("4915200000001", "Carol");
    let dan = server.contact("4915200000002", "Dan");
    for contact in [&carol, &dan] {
        let id = contact
            .send(&device, content::text("first"))
            .await
            .expect("sent");
        device.wait_acked(&id, SOON).await.expect("acknowledged");
    }
    // Until the flush of these is over.
    sleep(HEAD_START * 10).await;

    stalling.stall_next.store(true, Ordering::SeqCst);
    let stalled = carol
        .send(&device, content::text("in the gap"))
        .await
        .expect("sent");
    while !stalling.stalled.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(5)).await;
    }
    let other = dan
        .send(&device, content::text("second"))
        .await
        .expect("sent");
    device.wait_acked(&other, SOON).await.expect("acknowledged");
    sleep(HEAD_START * 10).await;
    handle.abort();
    drop(handle);
    device.cut();
    device.wait_offline(SOON).await.expect("crashed");
    assert_eq!(
        device.pending(),
        std::slice::from_ref(&stalled),
        "WhatsApp keeps it"
    );

    let (_handle, _codes) = start(&server, wrap(inner), hook.clone()).await;
    device
        .wait_acked(&stalled, SOON)
        .await
        .expect("acknowledged after all");
    hook.0.lock().expect("no panic here").contains(&stalled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_gap_loses_a_message_without_the_gate_and_none_with_it() {
    assert!(
        !survives_a_crash(|backend| backend).await,
        "the client has closed the gap itself: this room can be simpler"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let gated = |backend| -> Arc<dyn Backend> {
        Arc::new(fenced(folder.path(), 1, backend).expect("one epoch"))
    };
    assert!(survives_a_crash(gated).await);
}
