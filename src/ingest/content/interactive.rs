//! What businesses send: texts with a header, a footer, buttons, lists and cards.

use serde_json::{Value, json};
use whatsapp_rust::prelude::wa;

use super::{
    media::{document, image, video},
    model::{Content, LIST_MAX, merged, object, short},
};
use crate::model::Kind;

type Template = wa::message::template_message::HydratedFourRowTemplate;
type Structured = wa::message::HighlyStructuredMessage;

/// The parts that all of them have.
#[derive(Default)]
struct Parts<'m> {
    title: Option<&'m String>,
    subtitle: Option<&'m String>,
    text: Option<&'m String>,
    footer: Option<&'m String>,
    buttons: Vec<Value>,
    /// The header's picture, video or document.
    header: Option<Content>,
}

impl Parts<'_> {
    /// The text; the title where there is none.
    fn content(self, kind: Kind, further: Value) -> Content {
        let text = [self.text, self.title, self.subtitle, self.footer]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty());
        let mut content = Content::new(kind, text.map(String::as_str));
        let buttons = self.buttons;
        let shown = object(json!({
            "title": short(self.title),
            "subtitle": short(self.subtitle),
            "footer": short(self.footer),
            "buttons": (!buttons.is_empty()).then_some(buttons),
        }));
        if let Some(mut header) = self.header {
            content.media = header.media;
            let description = header.metadata.remove("media").unwrap_or_default();
            content = content.with("media", description);
        }
        content.with("interactive", merged(shown, further))
    }
}

pub(super) fn interactive(base: &wa::Message) -> Option<Content> {
    template(base)
        .or_else(|| native(base))
        .or_else(|| buttons(base))
        .or_else(|| list(base))
        .or_else(|| structured(base))
}

fn template(base: &wa::Message) -> Option<Content> {
    template_content(base.template_message.as_option()?)
}

fn template_content(m: &wa::message::TemplateMessage) -> Option<Content> {
    use wa::message::template_message::Format;
    let id = |own: Option<&String>| json!({"template_id": short(own.or(m.template_id.as_ref()))});
    let hydrated =
        |t: &Template| hydrated_parts(t).content(Kind::Template, id(t.template_id.as_ref()));
    match &m.format {
        Some(Format::HydratedFourRowTemplate(t)) => Some(hydrated(t)),
        Some(Format::InteractiveMessageTemplate(inner)) => {
            let mut further = choices(inner);
            further["template_id"] = short(m.template_id.as_ref());
            Some(interactive_parts(inner).content(Kind::Template, further))
        }
        _ if m.hydrated_template.is_set() => m.hydrated_template.as_option().map(hydrated),
        Some(Format::FourRowTemplate(t)) => {
            let footer = t.footer.as_option().and_then(structured_text);
            let text = t.content.as_option().and_then(structured_text);
            let parts = Parts {
                text: text.as_ref(),
                footer: footer.as_ref(),
                ..Parts::default()
            };
            Some(parts.content(Kind::Template, id(None)))
        }
        None => None,
    }
}

fn hydrated_parts(t: &Template) -> Parts<'_> {
    use wa::message::template_message::hydrated_four_row_template::Title;
    let mut parts = Parts {
        text: t.hydrated_content_text.as_ref(),
        footer: t.hydrated_footer_text.as_ref(),
        buttons: t
            .hydrated_buttons
            .iter()
            .take(LIST_MAX)
            .filter_map(hydrated_button)
            .collect(),
        ..Parts::default()
    };
    match &t.title {
        Some(Title::HydratedTitleText(title)) => parts.title = Some(title),
        Some(Title::ImageMessage(m)) => parts.header = Some(image(m)),
        Some(Title::VideoMessage(m)) => parts.header = Some(video(m)),
        Some(Title::DocumentMessage(m)) => parts.header = Some(document(m)),
        Some(Title::LocationMessage(_)) | None => {}
    }
    parts
}

fn hydrated_button(button: &wa::HydratedTemplateButton) -> Option<Value> {
    use wa::hydrated_template_button::HydratedButton::{CallButton, QuickReplyButton, UrlButton};
    let shown = match button.hydrated_button.as_ref()? {
        QuickReplyButton(b) => json!({
            "type": "reply",
            "text": short(b.display_text.as_ref()),
            "id": short(b.id.as_ref()),
        }),
        UrlButton(b) => json!({
            "type": "url",
            "text": short(b.display_text.as_ref()),
            "url": short(b.url.as_ref()),
        }),
        CallButton(b) => json!({
            "type": "call",
            "text": short(b.display_text.as_ref()),
            "phone": short(b.phone_number.as_ref()),
        }),
    };
    Some(object(shown))
}

fn native(base: &wa::Message) -> Option<Content> {
    let m = base.interactive_message.as_option()?;
    Some(interactive_parts(m).content(Kind::Interactive, choices(m)))
}

fn interactive_parts(m: &wa::message::InteractiveMessage) -> Parts<'_> {
    use wa::message::interactive_message::{InteractiveMessage::NativeFlowMessage, header::Media};
    let header = m.header.as_option();
    let buttons = match &m.interactive_message {
        Some(NativeFlowMessage(flow)) => flow
            .buttons
            .iter()
            .take(LIST_MAX)
            .map(flow_button)
            .collect(),
        _ => Vec::new(),
    };
    Parts {
        title: header.and_then(|header| header.title.as_ref()),
        subtitle: header.and_then(|header| header.subtitle.as_ref()),
        text: m.body.as_option().and_then(|body| body.text.as_ref()),
        footer: m.footer.as_option().and_then(|footer| footer.text.as_ref()),
        buttons,
        header: header.and_then(|header| match header.media.as_ref()? {
            Media::ImageMessage(m) => Some(image(m)),
            Media::VideoMessage(m) => Some(video(m)),
            Media::DocumentMessage(m) => Some(document(m)),
            _ => None,
        }),
    }
}

/// A button whose parameters are JSON. They are shown by name where they are what people use, and
/// as they came where they cannot be read.
fn flow_button(
    button: &wa::message::interactive_message::native_flow_message::NativeFlowButton,
) -> Value {
    let written = button.button_params_json.as_ref();
    let parameters: Option<Value> = written.and_then(|text| serde_json::from_str(text).ok());
    let named = |names: &[&str]| {
        let found = parameters.as_ref()?;
        let text = names.iter().find_map(|name| found.get(name)?.as_str())?;
        Some(short(Some(&text.to_owned())))
    };
    object(json!({
        "type": short(button.name.as_ref()),
        "text": named(&["display_text", "title"]),
        "id": named(&["id"]),
        "url": named(&["url", "merchant_url"]),
        "phone": named(&["phone_number"]),
        "code": named(&["copy_code"]),
        "parameters": parameters.is_none().then(|| short(written)),
    }))
}

/// The cards of a carousel, the shop, or the collection.
fn choices(m: &wa::message::InteractiveMessage) -> Value {
    use wa::message::interactive_message::InteractiveMessage as Choice;
    match &m.interactive_message {
        Some(Choice::CarouselMessage(carousel)) => {
            let card = |card| {
                let parts = interactive_parts(card);
                object(json!({
                    "title": short(parts.title),
                    "text": short(parts.text),
                    "footer": short(parts.footer),
                    "buttons": parts.buttons,
                }))
            };
            let cards: Vec<_> = carousel.cards.iter().take(LIST_MAX).map(card).collect();
            json!({"cards": cards})
        }
        Some(Choice::ShopStorefrontMessage(shop)) => json!({"shop_id": short(shop.id.as_ref())}),
        Some(Choice::CollectionMessage(collection)) => json!({
            "collection_id": short(collection.id.as_ref()),
            "owner": short(collection.biz_jid.as_ref()),
        }),
        Some(Choice::NativeFlowMessage(_)) | None => json!({}),
    }
}

fn buttons(base: &wa::Message) -> Option<Content> {
    use wa::message::buttons_message::Header;
    let m = base.buttons_message.as_option()?;
    let button = |button: &wa::message::buttons_message::Button| {
        let text = button.button_text.as_option();
        let text = text.and_then(|text| text.display_text.as_ref());
        object(
            json!({"type": "reply", "text": short(text), "id": short(button.button_id.as_ref())}),
        )
    };
    let mut parts = Parts {
        text: m.content_text.as_ref(),
        footer: m.footer_text.as_ref(),
        buttons: m.buttons.iter().take(LIST_MAX).map(button).collect(),
        ..Parts::default()
    };
    match &m.header {
        Some(Header::Text(title)) => parts.title = Some(title),
        Some(Header::ImageMessage(m)) => parts.header = Some(image(m)),
        Some(Header::VideoMessage(m)) => parts.header = Some(video(m)),
        Some(Header::DocumentMessage(m)) => parts.header = Some(document(m)),
        Some(Header::LocationMessage(_)) | None => {}
    }
    Some(parts.content(Kind::Buttons, json!({})))
}

fn list(base: &wa::Message) -> Option<Content> {
    let m = base.list_message.as_option()?;
    let row = |row: &wa::message::list_message::Row| {
        object(json!({
            "id": short(row.row_id.as_ref()),
            "title": short(row.title.as_ref()),
            "description": short(row.description.as_ref()),
        }))
    };
    // The rows of all sections share the bound.
    let mut left = LIST_MAX;
    let mut sections = Vec::new();
    for section in m.sections.iter().take(LIST_MAX) {
        let rows: Vec<_> = section.rows.iter().take(left).map(row).collect();
        left -= rows.len();
        let shown = json!({"title": short(section.title.as_ref()), "rows": rows});
        sections.push(object(shown));
    }
    let parts = Parts {
        title: m.title.as_ref(),
        text: m.description.as_ref(),
        footer: m.footer_text.as_ref(),
        ..Parts::default()
    };
    let further = json!({
        "button": short(m.button_text.as_ref()),
        "sections": (!sections.is_empty()).then_some(sections),
    });
    Some(parts.content(Kind::List, further))
}

/// The oldest form of a template: its text is on the phone, and the parameters come.
fn structured(base: &wa::Message) -> Option<Content> {
    let m = base.highly_structured_message.as_option()?;
    if let Some(template) = m.hydrated_hsm.as_option() {
        return template_content(template);
    }
    let text = structured_text(m);
    let parts = Parts {
        text: text.as_ref(),
        ..Parts::default()
    };
    let name = json!({"template_id": short(m.element_name.as_ref())});
    Some(parts.content(Kind::Template, name))
}

fn structured_text(m: &Structured) -> Option<String> {
    let hydrated = m.hydrated_hsm.as_option().and_then(template_content);
    if let Some(content) = hydrated {
        return Some(content.text);
    }
    let localized = m
        .localizable_params
        .iter()
        .filter_map(|p| p.default.as_ref());
    let all: Vec<_> = m.params.iter().chain(localized).take(LIST_MAX).collect();
    let text = all.into_iter().map(String::as_str).collect::<Vec<_>>();
    (!text.is_empty()).then(|| text.join(" "))
}
