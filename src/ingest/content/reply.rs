//! What people choose from buttons and lists, and fill into forms.

use serde_json::{Value, json};
use whatsapp_rust::prelude::wa;

use super::model::{Content, cut, object, short};
use crate::model::Kind;

pub(super) fn reply(base: &wa::Message) -> Option<Content> {
    use wa::message::buttons_response_message::Response;
    if let Some(m) = base.buttons_response_message.as_option() {
        let text = m
            .response
            .as_ref()
            .map(|Response::SelectedDisplayText(text)| text.as_str());
        let button = json!({"id": short(m.selected_button_id.as_ref())});
        return Some(Content::new(Kind::ButtonReply, text).with("button", object(button)));
    }
    if let Some(m) = base.template_button_reply_message.as_option() {
        let button = json!({"id": short(m.selected_id.as_ref()), "index": m.selected_index});
        let content = Content::new(Kind::ButtonReply, m.selected_display_text.as_deref());
        return Some(content.with("button", object(button)));
    }
    if let Some(m) = base.interactive_response_message.as_option() {
        return Some(flow(m));
    }
    let m = base.list_response_message.as_option()?;
    let row = m
        .single_select_reply
        .as_option()
        .and_then(|row| row.selected_row_id.as_ref());
    let list = json!({"row_id": short(row), "description": short(m.description.as_ref())});
    Some(Content::new(Kind::ListReply, m.title.as_deref()).with("list", object(list)))
}

/// Bytes of a form's answers.
const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// A button of a flow is a button; anything else is a form that was filled in.
fn flow(m: &wa::message::InteractiveResponseMessage) -> Content {
    use wa::message::interactive_response_message::InteractiveResponseMessage as Response;
    let text = m.body.as_option().and_then(|body| body.text.as_deref());
    let Some(Response::NativeFlowResponseMessage(response)) = &m.interactive_response_message
    else {
        return Content::new(Kind::ButtonReply, text);
    };
    let written = response.params_json.as_deref().unwrap_or_default();
    let parameters: Value = serde_json::from_str(written).unwrap_or_default();
    let id = parameters.get("id").and_then(Value::as_str);
    let name = response.name.as_deref().unwrap_or_default();
    match (name, id) {
        ("quick_reply" | "cta_reply" | "", Some(id)) => {
            let button = json!({"id": short(Some(&id.to_owned()))});
            Content::new(Kind::ButtonReply, text).with("button", button)
        }
        ("menu_options" | "single_select", Some(id)) => {
            let description = parameters.get("description").and_then(Value::as_str);
            let description = short(description.map(str::to_owned).as_ref());
            let list = json!({"row_id": short(Some(&id.to_owned())), "description": description});
            Content::new(Kind::ListReply, text).with("list", object(list))
        }
        _ => {
            let answers = cut(written, ANSWERS_BYTES_MAX);
            let flow = json!({"name": short(response.name.as_ref()), "response_json": answers});
            Content::new(Kind::FlowReply, text).with("flow", object(flow))
        }
    }
}
