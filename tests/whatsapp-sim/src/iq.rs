//! The requests of a client, each with the answer that lets it go on.

use std::time::Duration;

use anyhow::Context;
use wacore_binary::{Jid, Node, NodeRef, builder::NodeBuilder};
use whatsapp_rust::wacore::{
    iq::mediaconn::{MediaConnHostExtended, MediaConnResponseExtended},
    prekeys::compute_key_bundle_digest,
    protocol::ProtocolNode,
};

use crate::{
    connection::{Connection, SERVER},
    keys::{attr, big_endian, child_bytes, now},
    state::{Bundle, CodePairing, DeviceRecord, Out},
};

/// Between the signature of a pairing and the end of its connection: sent at once, the end
/// overtakes the client's own note of the pairing, and it tears the next connection down as well.
const SIGNATURE_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn answer(connection: &mut Connection, stanza: &NodeRef<'_>) -> anyhow::Result<()> {
    let kind = attr(stanza, "type");
    let namespace = attr(stanza, "xmlns");
    if kind == "result" || kind == "error" {
        if stanza.get_optional_child("pair-device-sign").is_some() {
            paired(connection, &attr(stanza, "id"))?;
        }
        return Ok(());
    }
    let child = stanza.children().and_then(|children| children.first());
    let tag = child
        .map(|child| child.tag.as_ref().to_owned())
        .unwrap_or_default();
    let children = match (namespace.as_str(), kind.as_str(), tag.as_str()) {
        ("encrypt", "set", "rotate") | ("w:p", ..) => vec![],
        ("encrypt", "set", _) => upload_keys(connection, stanza)?,
        ("encrypt", "get", "count") => {
            let count = bundle(connection)?.one_time.len();
            vec![
                NodeBuilder::new("count")
                    .attr("value", count.to_string())
                    .build(),
            ]
        }
        ("encrypt", "get", "digest") => vec![digest(&bundle(connection)?)],
        ("encrypt", "get", "key") => vec![contact_keys(connection, child.context("no child")?)?],
        ("passive", _, "active") => {
            connection.send(result(stanza, vec![]));
            return begin_queue(connection);
        }
        ("w:sync:app:state", _, "sync") => vec![empty_collections(child.context("no child")?)],
        ("w:g2", "get", "query") => {
            let Some(group) = group(connection, &attr(stanza, "to")) else {
                connection.send(refused(stanza));
                return Ok(());
            };
            vec![group]
        }
        ("usync", _, "usync") => vec![device_lists(connection, child.context("no child")?)?],
        ("abt", ..) => {
            let props = NodeBuilder::new("props")
                .attr("protocol", "1")
                .attr("hash", "h");
            vec![
                props
                    .attr("refresh", "86400")
                    .attr("refresh_id", "1")
                    .build(),
            ]
        }
        ("privacy", ..) => vec![NodeBuilder::new("privacy").build()],
        ("blocklist", ..) => vec![NodeBuilder::new("list").build()],
        ("w:m", ..) => vec![media_hosts(connection)],
        ("md", "set", "remove-companion-device") => {
            connection.send(result(stanza, vec![]));
            let key = connection.key()?;
            connection.server.state().devices.remove(&key);
            connection.close();
            return Ok(());
        }
        ("md", "set", "link_code_companion_reg") => {
            link_code(connection, child.context("no child")?)
        }
        _ => {
            connection.send(refused(stanza));
            return Ok(());
        }
    };
    connection.send(result(stanza, children));
    Ok(())
}

fn result(stanza: &NodeRef<'_>, children: Vec<Node>) -> Node {
    let result = NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "result")
        .attr("id", attr(stanza, "id"));
    let result = result.attr("t", now().to_string());
    if children.is_empty() {
        result.build()
    } else {
        result.children(children).build()
    }
}

fn refused(stanza: &NodeRef<'_>) -> Node {
    let error = NodeBuilder::new("error")
        .attr("code", "501")
        .attr("text", "feature-not-implemented")
        .build();
    let answer = NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "error")
        .attr("id", attr(stanza, "id"));
    answer.children([error]).build()
}

/// The device has signed: it is linked, and has to log in on a new connection.
fn paired(connection: &Connection, id: &str) -> anyhow::Result<()> {
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

fn bundle(connection: &Connection) -> anyhow::Result<Bundle> {
    let key = connection.key()?;
    let state = connection.server.state();
    Ok(state
        .devices
        .get(&key)
        .context("no such device")?
        .bundle
        .clone())
}

fn upload_keys(connection: &Connection, stanza: &NodeRef<'_>) -> anyhow::Result<Vec<Node>> {
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

fn digest(bundle: &Bundle) -> Node {
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

fn contact_keys(connection: &Connection, asked: &NodeRef<'_>) -> anyhow::Result<Node> {
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

fn begin_queue(connection: &Connection) -> anyhow::Result<()> {
    let key = connection.key()?;
    let count = connection
        .server
        .state()
        .devices
        .get(&key)
        .context("no such device")?
        .queue
        .len();
    if count == 0 {
        connection.send_queue();
        return Ok(());
    }
    // The client asks for the batch itself.
    let preview = NodeBuilder::new("offline_preview")
        .attr("count", count.to_string())
        .attr("message", count.to_string());
    let preview = ["notification", "receipt", "appdata", "call"]
        .into_iter()
        .fold(preview, |node, kind| node.attr(kind, "0"));
    connection.send(
        NodeBuilder::new("ib")
            .attr("from", SERVER)
            .children([preview.build()])
            .build(),
    );
    Ok(())
}

fn empty_collections(asked: &NodeRef<'_>) -> Node {
    let collections = asked.get_children_by_tag("collection").map(|collection| {
        let answer = NodeBuilder::new("collection").attr("name", attr(collection, "name"));
        answer
            .attr("version", "0")
            .attr("has_more_patches", "false")
            .build()
    });
    NodeBuilder::new("sync")
        .children(collections.collect::<Vec<_>>())
        .build()
}

fn group(connection: &Connection, id: &str) -> Option<Node> {
    let members = connection.server.state().groups.get(id)?.clone();
    let members = members
        .into_iter()
        .map(|jid| NodeBuilder::new("participant").attr("jid", jid).build());
    let group = NodeBuilder::new("group").attr("id", id.strip_suffix("@g.us")?.to_owned());
    let group = group
        .attr("subject", "A group")
        .attr("addressing_mode", "pn")
        .attr("creation", "1700000000");
    Some(group.children(members.collect::<Vec<_>>()).build())
}

fn device_lists(connection: &Connection, asked: &NodeRef<'_>) -> anyhow::Result<Node> {
    let state = connection.server.state();
    let mut users = Vec::new();
    for user in asked
        .get_optional_child("list")
        .and_then(|list| list.children())
        .unwrap_or_default()
    {
        let jid: Jid = attr(user, "jid").parse()?;
        let mut devices = vec![NodeBuilder::new("device").attr("id", "0").build()];
        for (_, id) in state
            .devices
            .keys()
            .filter(|(number, _)| *number == jid.user.as_str())
        {
            let device = NodeBuilder::new("device").attr("id", id.to_string());
            devices.push(device.attr("key-index", id.to_string()).build());
        }
        let list = NodeBuilder::new("device-list").children(devices).build();
        let devices = NodeBuilder::new("devices").children([list]).build();
        users.push(
            NodeBuilder::new("user")
                .attr("jid", jid)
                .children([devices])
                .build(),
        );
    }
    let result = NodeBuilder::new("result")
        .children([NodeBuilder::new("devices").build()])
        .build();
    let list = NodeBuilder::new("list").children(users).build();
    let answer = NodeBuilder::new("usync")
        .attr("sid", attr(asked, "sid"))
        .attr("mode", "query");
    Ok(answer
        .attr("context", "message")
        .children([result, list])
        .build())
}

fn media_hosts(connection: &Connection) -> Node {
    let host = connection.server.media_host();
    let addresses = ("127.0.0.1".to_owned(), "::1".to_owned());
    let host = MediaConnHostExtended::primary(
        host.clone(),
        host,
        addresses.0,
        addresses.1,
        vec![],
        vec![],
    );
    MediaConnResponseExtended::mock("AUTH".to_owned(), 300, vec![host]).into_node()
}

fn link_code(connection: &Connection, request: &NodeRef<'_>) -> Vec<Node> {
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
