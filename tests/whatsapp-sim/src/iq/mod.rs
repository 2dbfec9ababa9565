//! The requests of a client, each with the answer that lets it go on.

mod keys;
mod linking;
mod lists;
mod lookup;

use anyhow::Context;
use wacore_binary::{Node, NodeRef, builder::NodeBuilder};

use crate::{
    connection::{Connection, SERVER},
    keys::{attr, now},
};

/// How a request is answered.
enum Answer {
    Result(Vec<Node>),
    /// The stand-in does not know the request.
    Refused,
    /// The answer is on its way already, or there is to be none.
    Sent,
}

pub(crate) fn answer(connection: &mut Connection, stanza: &NodeRef<'_>) -> anyhow::Result<()> {
    let kind = attr(stanza, "type");
    if kind == "result" || kind == "error" {
        if stanza.get_optional_child("pair-device-sign").is_some() {
            linking::paired(connection, &attr(stanza, "id"))?;
        }
        return Ok(());
    }
    match request(connection, stanza, &kind)? {
        Answer::Result(children) => connection.send(result(stanza, children)),
        Answer::Refused => connection.send(refused(stanza)),
        Answer::Sent => {}
    }
    Ok(())
}

fn request(
    connection: &mut Connection,
    stanza: &NodeRef<'_>,
    kind: &str,
) -> anyhow::Result<Answer> {
    let child = stanza.children().and_then(|children| children.first());
    let tag = child
        .map(|child| child.tag.as_ref().to_owned())
        .unwrap_or_default();
    let namespace = attr(stanza, "xmlns");
    let children = match (namespace.as_str(), kind, tag.as_str()) {
        ("encrypt", "set", "rotate") | ("w:p", ..) => vec![],
        ("encrypt", "set", _) => keys::upload_keys(connection, stanza)?,
        ("encrypt", "get", "count") => vec![keys::count(connection)?],
        ("encrypt", "get", "digest") => vec![keys::digest(&keys::bundle(connection)?)],
        ("encrypt", "get", "key") => {
            vec![keys::contact_keys(connection, child.context("no child")?)?]
        }
        ("passive", _, "active") => {
            connection.send(result(stanza, vec![]));
            begin_queue(connection)?;
            return Ok(Answer::Sent);
        }
        ("w:sync:app:state", _, "sync") => {
            vec![lists::empty_collections(child.context("no child")?)]
        }
        ("w:g2", "get", "query") => match lists::group(connection, &attr(stanza, "to")) {
            Some(group) => vec![group],
            None => return Ok(Answer::Refused),
        },
        ("usync", _, "usync") => {
            let asked = child.context("no child")?;
            return match lookup::numbers(asked) {
                Some(numbers) => lookup::answer(connection, &numbers),
                None => Ok(Answer::Result(vec![lists::device_lists(
                    connection, asked,
                )?])),
            };
        }
        ("abt", ..) => vec![lists::props()],
        ("privacy", ..) => vec![NodeBuilder::new("privacy").build()],
        ("blocklist", ..) => vec![NodeBuilder::new("list").build()],
        ("w:m", ..) => vec![lists::media_hosts(connection)],
        ("md", "set", "remove-companion-device") => {
            connection.send(result(stanza, vec![]));
            let key = connection.key()?;
            connection.server.state().devices.remove(&key);
            connection.close();
            return Ok(Answer::Sent);
        }
        ("md", "set", "link_code_companion_reg") => {
            linking::link_code(connection, child.context("no child")?)
        }
        _ => return Ok(Answer::Refused),
    };
    Ok(Answer::Result(children))
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
