//! The last steps of linking a device, and the requests of linking by a typed code.

use std::time::Duration;

use anyhow::Context;
use wacore_binary::{Node, NodeRef, builder::NodeBuilder};

use crate::{
    connection::Connection,
    keys::{attr, big_endian, child_bytes},
    state::{Bundle, CodePairing, DeviceRecord, Out},
};

/// Between the signature of a pairing and the end of its connection: sent at once, the end
/// overtakes the client's own note of the pairing, and it tears the next connection down as well.
const SIGNATURE_PAUSE: Duration = Duration::from_millis(50);

/// The device has signed: it is linked, and has to log in on a new connection.
pub(super) fn paired(connection: &Connection, id: &str) -> anyhow::Result<()> {
    let mut state = connection.server.state();
    let pairing = state
        .pairings
        .remove(id)
        .context("nobody asked for a signature")?;
    let mut bundle = Bundle {
        identity: pairing.identity,
        ..Bundle::default()
    };
    if let Some(data) = state.registrations.remove(&connection.number) {
        bundle.registration = big_endian(&data.e_regid.unwrap_or_default());
        bundle.signed_id = big_endian(&data.e_skey_id.unwrap_or_default());
        bundle.signed_key = data
            .e_skey_val
            .unwrap_or_default()
            .try_into()
            .unwrap_or_default();
        bundle.signature = data.e_skey_sig.unwrap_or_default();
    }
    state.devices.insert(
        pairing.key,
        DeviceRecord {
            noise: pairing.noise,
            bundle,
            ..DeviceRecord::default()
        },
    );
    drop(state);
    let out = connection.out.clone();
    tokio::spawn(async move {
        tokio::time::sleep(SIGNATURE_PAUSE).await;
        let _ = out
            .send(Out::Stanza(
                NodeBuilder::new("stream:error").attr("code", "515").build(),
            ))
            .await;
        let _ = out.send(Out::Close).await;
    });
    Ok(())
}

pub(super) fn link_code(connection: &Connection, request: &NodeRef<'_>) -> Vec<Node> {
    let phone = attr(request, "jid")
        .split('@')
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut state = connection.server.state();
    if attr(request, "stage") != "companion_hello" {
        if let Some(pairing) = state.codes.get_mut(&phone) {
            let identity = child_bytes(request, "companion_identity_public")
                .try_into()
                .unwrap_or_default();
            pairing.finish = Some((
                child_bytes(request, "link_code_pairing_wrapped_key_bundle"),
                identity,
            ));
        }
        return vec![];
    }
    let reference = format!("3@2:{}", connection.number).into_bytes();
    let pairing = CodePairing {
        wrapped_ephemeral: child_bytes(
            request,
            "link_code_pairing_wrapped_companion_ephemeral_pub",
        ),
        reference: reference.clone(),
        noise: child_bytes(request, "companion_server_auth_key_pub")
            .try_into()
            .unwrap_or_default(),
        out: connection.out.clone(),
        finish: None,
    };
    state.codes.insert(phone, pairing);
    let answer = NodeBuilder::new("link_code_companion_reg").attr("stage", "companion_hello");
    vec![
        answer
            .children([NodeBuilder::new("link_code_pairing_ref")
                .bytes(reference)
                .build()])
            .build(),
    ]
}
