//! What businesses send, as Baileys writes it.

use serde_json::{Value, json};

use super::super::parts::{Object, Parts, object};
use crate::model::Kind;

/// Texts of businesses, and the answer to a form.
pub(super) fn content(parts: &Parts<'_>) -> Option<(&'static str, Value)> {
    let text = parts.content();
    let shown = parts.object("interactive");
    let title = shown.get("title");
    let footer = shown.get("footer");
    let content = match parts.message.kind {
        Kind::Template => {
            let template = object(json!({
                "hydratedContentText": text,
                "hydratedTitleText": title,
                "hydratedFooterText": footer,
            }));
            ("templateMessage", json!({"hydratedTemplate": template}))
        }
        Kind::Interactive => {
            let header = title.map(|title| json!({"title": title}));
            let footer = footer.map(|footer| json!({"text": footer}));
            let interactive = json!({"body": {"text": text}, "header": header, "footer": footer});
            ("interactiveMessage", object(interactive))
        }
        Kind::Buttons => {
            let button = |button: &Value| {
                let button = Object::of(button);
                let text = object(json!({"displayText": button.get("text")}));
                object(json!({"buttonId": button.get("id"), "buttonText": text}))
            };
            let buttons: Vec<_> = shown.list("buttons").iter().map(button).collect();
            let content = json!({"contentText": text, "footerText": footer, "buttons": buttons});
            ("buttonsMessage", object(content))
        }
        Kind::List => {
            let list = json!({
                "title": title, "description": text, "buttonText": shown.get("button"),
                "footerText": footer,
            });
            ("listMessage", object(list))
        }
        Kind::FlowReply => {
            let flow = parts.object("flow");
            let response = json!({
                "name": flow.get("name"), "paramsJson": flow.get("response_json"),
            });
            let reply = json!({
                "body": {"text": text}, "nativeFlowResponseMessage": object(response),
            });
            ("interactiveResponseMessage", reply)
        }
        _ => return None,
    };
    Some(content)
}
