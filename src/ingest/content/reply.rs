//! What people choose from buttons and lists.

use serde_json::json;
use whatsapp_rust::prelude::wa;

use super::model::{Content, object, short};
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
    let m = base.list_response_message.as_option()?;
    let row = m
        .single_select_reply
        .as_option()
        .and_then(|row| row.selected_row_id.as_ref());
    let list = json!({"row_id": short(row), "description": short(m.description.as_ref())});
    Some(Content::new(Kind::ListReply, m.title.as_deref()).with("list", object(list)))
}
