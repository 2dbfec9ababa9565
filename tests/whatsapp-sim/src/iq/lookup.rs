//! Whether numbers have accounts.

use wacore_binary::{Jid, Node, NodeRef, builder::NodeBuilder};

use super::Answer;
use crate::{
    connection::{Connection, SERVER},
    state::{LookupMode, State},
};

/// The numbers that are looked up; `None` when devices are asked for.
pub(super) fn numbers(asked: &NodeRef<'_>) -> Option<Vec<String>> {
    asked
        .get_optional_child("query")?
        .get_optional_child("contact")?;
    let users = asked.get_optional_child("list")?.children()?;
    let number = |user: &NodeRef<'_>| {
        let number = user.get_optional_child("contact")?.content_as_string()?;
        Some(number.trim_start_matches('+').to_owned())
    };
    Some(users.iter().filter_map(number).collect())
}

pub(super) fn answer(connection: &Connection, numbers: &[String]) -> anyhow::Result<Answer> {
    let mut state = connection.server.state();
    state.lookups.extend(numbers.iter().cloned());
    let users = match state.lookup_mode {
        LookupMode::Refused => return Ok(Answer::Refused),
        LookupMode::Ignored => return Ok(Answer::Sent),
        LookupMode::LeftOut => vec![],
        LookupMode::Answered => {
            let users = numbers.iter().map(|number| user(&state, number));
            users.collect::<anyhow::Result<Vec<_>>>()?
        }
    };
    let list = NodeBuilder::new("list").children(users).build();
    let answer = NodeBuilder::new("usync").attr("mode", "query");
    Ok(Answer::Result(vec![answer.children([list]).build()]))
}

fn user(state: &State, dialled: &str) -> anyhow::Result<Node> {
    let number = state.dialled.get(dialled).map_or(dialled, String::as_str);
    let jid: Jid = format!("{number}@{SERVER}").parse()?;
    let account = state.accounts.get(number);
    let is_known = account.is_some() || state.contacts.contains_key(&jid.to_string());
    let contact = NodeBuilder::new("contact").attr("type", if is_known { "in" } else { "out" });
    let mut children = vec![contact.build()];
    let lid = account.map(|account| account.lid.clone());
    if let Some(lid) = lid.or_else(|| state.lids.get(number).cloned()) {
        let lid: Jid = format!("{lid}@lid").parse()?;
        children.push(NodeBuilder::new("lid").attr("val", lid).build());
    }
    let user = NodeBuilder::new("user").attr("jid", jid);
    Ok(user.children(children).build())
}
