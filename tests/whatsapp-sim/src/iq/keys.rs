//! Requests about Signal keys: a device's own, and those of contacts.

use anyhow::Context;
use wacore_binary::{Jid, Node, NodeRef, builder::NodeBuilder};
use whatsapp_rust::wacore::prekeys::compute_key_bundle_digest;

use crate::{
    connection::Connection,
    keys::{attr, big_endian, child_bytes},
    state::Bundle,
};

pub(super) fn bundle(connection: &Connection) -> anyhow::Result<Bundle> {
    let key = connection.key()?;
    let state = connection.server.state();
    Ok(state
        .devices
        .get(&key)
        .context("no such device")?
        .bundle
        .clone())
}

pub(super) fn upload_keys(
    connection: &Connection,
    stanza: &NodeRef<'_>,
) -> anyhow::Result<Vec<Node>> {
    let key = connection.key()?;
    let signed = stanza.get_optional_child("skey").context("no signed key")?;
    let list = stanza
        .get_optional_child("list")
        .and_then(|list| list.children())
        .unwrap_or_default();
    let one_time = list.iter().map(|key| {
        (
            big_endian(&child_bytes(key, "id")),
            child_bytes(key, "value").try_into().unwrap_or_default(),
        )
    });
    let mut state = connection.server.state();
    let bundle = &mut state
        .devices
        .get_mut(&key)
        .context("no such device")?
        .bundle;
    bundle.registration = big_endian(&child_bytes(stanza, "registration"));
    bundle.identity = child_bytes(stanza, "identity")
        .try_into()
        .unwrap_or_default();
    bundle.signed_id = big_endian(&child_bytes(signed, "id"));
    bundle.signed_key = child_bytes(signed, "value").try_into().unwrap_or_default();
    bundle.signature = child_bytes(signed, "signature");
    bundle.one_time.extend(one_time);
    Ok(vec![])
}

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}

fn signed_key(bundle: &Bundle) -> Node {
    let id = NodeBuilder::new("id")
        .bytes(id_bytes(bundle.signed_id))
        .build();
    let value = NodeBuilder::new("value")
        .bytes(bundle.signed_key.to_vec())
        .build();
    let signature = NodeBuilder::new("signature")
        .bytes(bundle.signature.clone())
        .build();
    NodeBuilder::new("skey")
        .children([id, value, signature])
        .build()
}

fn bundle_head(bundle: &Bundle) -> [Node; 4] {
    [
        NodeBuilder::new("registration")
            .bytes(bundle.registration.to_be_bytes().to_vec())
            .build(),
        NodeBuilder::new("type").bytes(vec![5_u8]).build(),
        NodeBuilder::new("identity")
            .bytes(bundle.identity.to_vec())
            .build(),
        signed_key(bundle),
    ]
}

pub(super) fn count(connection: &Connection) -> anyhow::Result<Node> {
    let count = bundle(connection)?.one_time.len();
    let node = NodeBuilder::new("count").attr("value", count.to_string());
    Ok(node.build())
}

pub(super) fn digest(bundle: &Bundle) -> Node {
    let keys: Vec<&[u8]> = bundle.one_time.iter().map(|(_, key)| &key[..]).collect();
    let hash = compute_key_bundle_digest(
        &bundle.identity,
        &bundle.signed_key,
        &bundle.signature,
        &keys,
    );
    let ids = bundle
        .one_time
        .iter()
        .map(|(id, _)| NodeBuilder::new("id").bytes(id_bytes(*id)).build());
    let tail = [
        NodeBuilder::new("list").children(ids).build(),
        NodeBuilder::new("hash").bytes(hash).build(),
    ];
    NodeBuilder::new("digest")
        .children(bundle_head(bundle).into_iter().chain(tail))
        .build()
}

pub(super) fn contact_keys(connection: &Connection, asked: &NodeRef<'_>) -> anyhow::Result<Node> {
    let state = connection.server.state();
    let mut users = Vec::new();
    for user in asked.get_children_by_tag("user") {
        let name = attr(user, "jid");
        let jid: Jid = name.parse()?;
        let found = state
            .contacts
            .get(&name)
            .and_then(|bundle| Some((bundle, bundle.one_time.front()?)));
        let children = match found {
            Some((bundle, (id, value))) => {
                let id = NodeBuilder::new("id").bytes(id_bytes(*id)).build();
                let value = NodeBuilder::new("value").bytes(value.to_vec()).build();
                let key = NodeBuilder::new("key").children([id, value]).build();
                bundle_head(bundle).into_iter().chain([key]).collect()
            }
            None => vec![
                NodeBuilder::new("error")
                    .attr("code", "406")
                    .attr("text", "not-acceptable")
                    .build(),
            ],
        };
        users.push(
            NodeBuilder::new("user")
                .attr("jid", jid)
                .children(children)
                .build(),
        );
    }
    Ok(NodeBuilder::new("list").children(users).build())
}
