//! What businesses send and what is answered to them.

use serde_json::json;
use whatsapp_rust::prelude::wa;

use super::{conversation, says, some, text};
use crate::{ingest::content::read, model::Kind};

fn hydrated() -> wa::message::template_message::HydratedFourRowTemplate {
    use wa::{
        hydrated_template_button::{HydratedButton, HydratedURLButton},
        message::template_message::hydrated_four_row_template::Title,
    };
    let url = HydratedURLButton {
        display_text: text("Open"),
        url: text("https://example.com"),
        ..Default::default()
    };
    wa::message::template_message::HydratedFourRowTemplate {
        hydrated_content_text: text("Your code is 123456"),
        hydrated_footer_text: text("Bye"),
        hydrated_buttons: vec![wa::HydratedTemplateButton {
            hydrated_button: Some(HydratedButton::UrlButton(Box::new(url))),
            ..Default::default()
        }],
        title: Some(Title::HydratedTitleText("Shop".to_owned())),
        ..Default::default()
    }
}

fn template(template: wa::message::TemplateMessage) -> wa::Message {
    wa::Message {
        template_message: some(template),
        ..Default::default()
    }
}

fn native_flow(name: &str, parameters: &str) -> wa::message::InteractiveMessage {
    use wa::message::interactive_message::{
        Body, InteractiveMessage as Choice, NativeFlowMessage,
        native_flow_message::NativeFlowButton,
    };
    let flow = NativeFlowMessage {
        buttons: vec![NativeFlowButton {
            name: text(name),
            button_params_json: text(parameters),
        }],
        ..Default::default()
    };
    wa::message::InteractiveMessage {
        body: some(Body {
            text: text("Your code is 654321"),
        }),
        interactive_message: Some(Choice::NativeFlowMessage(Box::new(flow))),
        ..Default::default()
    }
}

#[test]
fn a_template_says_its_text_in_each_of_its_forms() {
    use wa::message::template_message::{Format, FourRowTemplate};
    let button = json!({"type": "url", "text": "Open", "url": "https://example.com"});
    let shown = json!({"title": "Shop", "footer": "Bye", "buttons": [button]});
    let code = "Your code is 123456";
    let hydrated_field = template(wa::message::TemplateMessage {
        hydrated_template: some(hydrated()),
        ..Default::default()
    });
    says(
        &hydrated_field,
        &Kind::Template,
        code,
        "interactive",
        &shown,
    );
    let of_format = |format| {
        template(wa::message::TemplateMessage {
            format: Some(format),
            ..Default::default()
        })
    };
    let hydrated_format = of_format(Format::HydratedFourRowTemplate(Box::new(hydrated())));
    says(
        &hydrated_format,
        &Kind::Template,
        code,
        "interactive",
        &shown,
    );
    let interactive = native_flow(
        "cta_copy",
        r#"{"display_text":"Copy","copy_code":"654321"}"#,
    );
    let interactive = of_format(Format::InteractiveMessageTemplate(Box::new(interactive)));
    let button = json!({"type": "cta_copy", "text": "Copy", "code": "654321"});
    let shown = json!({"buttons": [button]});
    let code = "Your code is 654321";
    says(&interactive, &Kind::Template, code, "interactive", &shown);
    let four_rows = of_format(Format::FourRowTemplate(Box::new(FourRowTemplate {
        content: some(wa::message::HighlyStructuredMessage {
            params: vec!["Your code is".to_owned(), "9".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    })));
    let code = "Your code is 9";
    says(&four_rows, &Kind::Template, code, "interactive", &json!({}));
}

#[test]
fn interactive_messages_say_their_text_and_their_choices() {
    let interactive = wa::Message {
        interactive_message: some(native_flow("quick_reply", "no JSON")),
        ..Default::default()
    };
    let button = json!({"type": "quick_reply", "parameters": "no JSON"});
    let shown = json!({"buttons": [button]});
    let code = "Your code is 654321";
    says(
        &interactive,
        &Kind::Interactive,
        code,
        "interactive",
        &shown,
    );
    let buttons = wa::Message {
        buttons_message: some(wa::message::ButtonsMessage {
            content_text: text("Choose"),
            buttons: vec![wa::message::buttons_message::Button {
                button_id: text("b1"),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = json!({"buttons": [{"type": "reply", "id": "b1"}]});
    says(&buttons, &Kind::Buttons, "Choose", "interactive", &shown);
    let section = wa::message::list_message::Section {
        title: text("Drinks"),
        rows: vec![wa::message::list_message::Row {
            row_id: text("r1"),
            title: text("Tea"),
            ..Default::default()
        }],
    };
    let list = wa::Message {
        list_message: some(wa::message::ListMessage {
            title: text("Menu"),
            description: text("Pick one"),
            sections: vec![section],
            ..Default::default()
        }),
        ..Default::default()
    };
    let rows = json!([{"title": "Drinks", "rows": [{"id": "r1", "title": "Tea"}]}]);
    let shown = json!({"title": "Menu", "sections": rows});
    says(&list, &Kind::List, "Pick one", "interactive", &shown);
}

#[test]
fn a_header_with_a_picture_can_be_fetched() {
    use wa::message::interactive_message::{Header, header::Media};
    let picture = wa::message::ImageMessage {
        mimetype: text("image/png"),
        direct_path: text("/v/1"),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        file_length: Some(9),
        ..Default::default()
    };
    let mut interactive = native_flow("cta_url", "{}");
    interactive.header = some(Header {
        title: text("Shop"),
        media: Some(Media::ImageMessage(Box::new(picture))),
        ..Default::default()
    });
    let message = wa::Message {
        interactive_message: some(interactive),
        ..Default::default()
    };
    let content = read(&message).expect("it is a message");
    assert!(content.media.is_some());
    assert_eq!(content.metadata["media"]["mime_type"], "image/png");
    assert_eq!(content.metadata["interactive"]["title"], "Shop");
}

#[test]
fn answers_of_flows_are_buttons_rows_or_forms() {
    use wa::message::interactive_response_message::{
        Body, InteractiveResponseMessage as Response, NativeFlowResponseMessage,
    };
    let answer = |name: &str, parameters: &str| wa::Message {
        interactive_response_message: some(wa::message::InteractiveResponseMessage {
            body: some(Body {
                text: text("Yes"),
                ..Default::default()
            }),
            interactive_response_message: Some(Response::NativeFlowResponseMessage(Box::new(
                NativeFlowResponseMessage {
                    name: text(name),
                    params_json: text(parameters),
                    ..Default::default()
                },
            ))),
            ..Default::default()
        }),
        ..Default::default()
    };
    let button = answer("quick_reply", r#"{"id":"yes-1"}"#);
    says(
        &button,
        &Kind::ButtonReply,
        "Yes",
        "button",
        &json!({"id": "yes-1"}),
    );
    let row = answer("menu_options", r#"{"id":"r1","description":"hot"}"#);
    let shown = json!({"row_id": "r1", "description": "hot"});
    says(&row, &Kind::ListReply, "Yes", "list", &shown);
    let form = answer("flow", r#"{"rating":"5"}"#);
    let shown = json!({"name": "flow", "response_json": r#"{"rating":"5"}"#});
    says(&form, &Kind::FlowReply, "Yes", "flow", &shown);
}

#[test]
fn orders_products_and_payments_are_told() {
    let order = wa::Message {
        order_message: some(wa::message::OrderMessage {
            order_id: text("O1"),
            message: text("please"),
            item_count: Some(2),
            total_amount1000: Some(12_500),
            total_currency_code: text("EUR"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let total = json!({"value": 12.5, "currency": "EUR"});
    let shown = json!({"id": "O1", "item_count": 2, "total": total});
    says(&order, &Kind::Order, "please", "order", &shown);
    let product = wa::Message {
        product_message: some(wa::message::ProductMessage {
            product: some(wa::message::product_message::ProductSnapshot {
                product_id: text("P1"),
                title: text("Tea"),
                price_amount1000: Some(3_000),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = json!({"id": "P1", "title": "Tea", "price": {"value": 3.0}});
    says(&product, &Kind::Product, "Tea", "product", &shown);
    let payment = wa::Message {
        request_payment_message: some(wa::message::RequestPaymentMessage {
            note_message: some(conversation("rent")),
            amount1000: Some(1_000),
            currency_code_iso4217: text("INR"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let amount = json!({"value": 1.0, "currency": "INR"});
    let shown = json!({"action": "request", "amount": amount});
    says(&payment, &Kind::Payment, "rent", "payment", &shown);
}
