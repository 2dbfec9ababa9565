//! Deleting a session: off the account, its keys erased, its entry removed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};
use whatsapp_rust::{prelude::Client, wacore::iq::devices::RemoveCompanionDeviceSpec};

use super::{
    client::{ClientSetup, stop},
    events::{EVENTS_MAX, EventForwarder},
    exit::Unlinked,
    status::StatusWriter,
};
use crate::{
    ingest::storage::Opened,
    model::{Phone, SessionState},
};

/// Asking WhatsApp to take the device off the account.
pub(super) const UNLINK_TIMEOUT: Duration = Duration::from_secs(10);
/// Connecting for no other reason than that.
const CONNECT_TO_UNLINK_TIMEOUT: Duration = Duration::from_secs(20);

/// Takes the device off the account.
pub(super) async fn unlink(client: &Arc<Client>) -> Unlinked {
    // The disconnect that follows is no reason to connect again.
    client.enable_auto_reconnect.store(false, Ordering::Relaxed);
    let Some(device) = client.pn().filter(|_| client.is_logged_in()) else {
        return Unlinked::No;
    };
    let request = client.execute(RemoveCompanionDeviceSpec::new(&device));
    match timeout(UNLINK_TIMEOUT, request).await {
        Ok(Ok(())) => Unlinked::Yes,
        _ => Unlinked::No,
    }
}

/// Unlinks the device unless that is done, erases the keys, and removes the session.
///
/// # Errors
/// When the files cannot be erased, or the bus does not answer.
pub(super) async fn delete(
    setup: ClientSetup<'_>,
    status: &StatusWriter,
    unlinked: Unlinked,
) -> anyhow::Result<()> {
    let session = setup.session;
    let storage = &setup.context.storage;
    let has_keys = storage.has_keys(session.id).await;
    if let Some(phone) = status.phone()
        && status.state() != SessionState::LoggedOut
        && unlinked == Unlinked::No
        && has_keys
    {
        let unlinked = timeout(CONNECT_TO_UNLINK_TIMEOUT, connect_to_unlink(setup, phone));
        if !matches!(unlinked.await, Ok(Ok(Unlinked::Yes))) {
            tracing::warn!(
                "a deleted session could not be unlinked at WhatsApp; unlink it on the phone"
            );
        }
    }
    storage.erase(session.id, setup.lease).await?;
    let sessions = setup.context.bus.sessions();
    sessions.remove(session.client_id, session.id).await?;
    tracing::info!("session deleted");
    Ok(())
}

/// Connects a session that no node ran, to unlink it.
async fn connect_to_unlink(setup: ClientSetup<'_>, linked: &Phone) -> anyhow::Result<Unlinked> {
    let (sender, _events) = mpsc::channel(EVENTS_MAX);
    let publisher = setup.publisher();
    let forwarder = EventForwarder::new(sender, &publisher);
    // There is no harm in old keys here: nothing is sent with them.
    let Opened { backend, keys } = setup.open_keys(None).await?;
    let bot = setup.bot(backend, Some(linked), publisher, forwarder);
    let mut handle = bot.await?.spawn();
    let client = handle.client();
    let is_connected = tokio::select! {
        connected = client.wait_for_connected(CONNECT_TO_UNLINK_TIMEOUT) => connected.is_ok(),
        // WhatsApp refused the login for good.
        () = &mut handle => false,
    };
    let unlinked = if is_connected {
        unlink(&client).await
    } else {
        Unlinked::No
    };
    stop(setup.tasks, handle).await;
    keys.close().await;
    Ok(unlinked)
}
