//! Orders, products, payments.

use serde_json::{Value, json};
use whatsapp_rust::prelude::wa;

use super::model::{Content, object, short};
use crate::model::Kind;

pub(super) fn trade(base: &wa::Message) -> Option<Content> {
    order(base)
        .or_else(|| product(base))
        .or_else(|| payment(base))
}

/// An amount that the protocol counts in thousandths.
fn amount(thousandths: Option<i64>, currency: Option<&String>) -> Value {
    let Some(thousandths) = thousandths else {
        return Value::Null;
    };
    let value = thousandths as f64 / 1000.0;
    object(json!({"value": value, "currency": short(currency)}))
}

fn order(base: &wa::Message) -> Option<Content> {
    let m = base.order_message.as_option()?;
    let text = m.message.as_deref().or(m.order_title.as_deref());
    let order = json!({
        "id": short(m.order_id.as_ref()),
        "token": short(m.token.as_ref()),
        "title": short(m.order_title.as_ref()),
        "item_count": m.item_count,
        "status": m.status.map(|status| format!("{status:?}").to_lowercase()),
        "total": amount(m.total_amount1000, m.total_currency_code.as_ref()),
        "seller": short(m.seller_jid.as_ref()),
    });
    Some(Content::new(Kind::Order, text).with("order", object(order)))
}

fn product(base: &wa::Message) -> Option<Content> {
    let m = base.product_message.as_option()?;
    let product = m.product.as_option();
    let title = product.and_then(|product| product.title.as_ref());
    let catalog = m
        .catalog
        .as_option()
        .and_then(|catalog| catalog.title.as_ref());
    let text = [m.body.as_ref(), title, catalog].into_iter().flatten();
    let text = text.map(String::as_str).find(|text| !text.is_empty());
    let mut shown = json!({
        "owner": short(m.business_owner_jid.as_ref()),
        "catalog": short(catalog),
        "footer": short(m.footer.as_ref()),
    });
    if let Some(product) = product {
        let currency = product.currency_code.as_ref();
        shown["id"] = short(product.product_id.as_ref());
        shown["title"] = short(title);
        shown["description"] = short(product.description.as_ref());
        shown["retailer_id"] = short(product.retailer_id.as_ref());
        shown["url"] = short(product.url.as_ref());
        shown["price"] = amount(product.price_amount1000, currency);
        shown["sale_price"] = amount(product.sale_price_amount1000, currency);
    }
    Some(Content::new(Kind::Product, text).with("product", object(shown)))
}

/// Every message about money is one kind; `action` tells them apart.
fn payment(base: &wa::Message) -> Option<Content> {
    if let Some(m) = base.request_payment_message.as_option() {
        let thousandths = m.amount1000.and_then(|amount| i64::try_from(amount).ok());
        let payment = json!({
            "action": "request",
            "amount": amount(thousandths, m.currency_code_iso4217.as_ref()),
            "requested_from": short(m.request_from.as_ref()),
        });
        return Some(paid(payment, m.note_message.as_option()));
    }
    if let Some(m) = base.send_payment_message.as_option() {
        return Some(paid(json!({"action": "send"}), m.note_message.as_option()));
    }
    let action = [
        (base.decline_payment_request_message.is_set(), "decline"),
        (base.cancel_payment_request_message.is_set(), "cancel"),
        (base.payment_invite_message.is_set(), "invite"),
        (base.payment_reminder_message.is_set(), "remind"),
        (base.split_payment_message.is_set(), "split"),
    ];
    if let Some((_, action)) = action.into_iter().find(|(is_set, _)| *is_set) {
        return Some(paid(json!({"action": action}), None));
    }
    let m = base.invoice_message.as_option()?;
    let content = Content::new(Kind::Payment, m.note.as_deref());
    Some(content.with("payment", json!({"action": "invoice"})))
}

fn paid(payment: Value, note: Option<&wa::Message>) -> Content {
    let note = note.and_then(super::read::read_inner);
    let text = note.map(|note| note.text);
    Content::new(Kind::Payment, text.as_deref()).with("payment", object(payment))
}
