//! What a client looks up: settings, groups, devices, media hosts.

use wacore_binary::{Jid, Node, NodeRef, builder::NodeBuilder};
use whatsapp_rust::wacore::{
    iq::mediaconn::{MediaConnHostExtended, MediaConnResponseExtended},
    protocol::ProtocolNode,
};

use crate::{connection::Connection, keys::attr};

pub(super) fn empty_collections(asked: &NodeRef<'_>) -> Node {
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

pub(super) fn group(connection: &Connection, id: &str) -> Option<Node> {
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

pub(super) fn device_lists(connection: &Connection, asked: &NodeRef<'_>) -> anyhow::Result<Node> {
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

pub(super) fn media_hosts(connection: &Connection) -> Node {
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

pub(super) fn props() -> Node {
    NodeBuilder::new("props")
        .attr("protocol", "1")
        .attr("hash", "h")
        .attr("refresh", "86400")
        .attr("refresh_id", "1")
        .build()
}
