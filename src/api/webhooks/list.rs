//! The list of a client's webhooks.

use axum::{Json, extract::State};
use serde_json::value::RawValue;

use crate::{
    api::{
        AppState,
        auth::Caller,
        pages::{ListQuery, Page},
        problem::Problem,
        query::Params,
        views::WebhookView,
    },
    model::Phone,
};

/// The place of a number in the list. Its order is that of the texts.
fn place(phone: &Phone) -> u128 {
    let mut bytes = [0; 16];
    for (byte, digit) in bytes.iter_mut().zip(phone.as_str().bytes()) {
        *byte = digit;
    }
    u128::from_be_bytes(bytes)
}

/// The number of a place.
fn phone(place: u128) -> Option<Phone> {
    let bytes = place.to_be_bytes();
    let text = str::from_utf8(&bytes).ok()?;
    text.trim_end_matches('\0').parse().ok()
}

/// `GET /api/webhooks/list`: by phone number.
pub(in crate::api) async fn list(
    State(app): State<AppState>,
    Caller(client): Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Box<RawValue>>>, Problem> {
    let wanted = query.check(&app.cursor_key, format!("webhooks {client}"))?;
    let after = wanted.after.and_then(phone);
    let webhooks = app
        .bus
        .webhooks()
        .page(client, after.as_ref(), wanted.limit + 1)
        .await?;
    let ids: Vec<_> = webhooks.iter().map(|webhook| webhook.id).collect();
    let (states, held) = tokio::join!(app.states(client, &ids), app.held(client, None));
    let state = |id| {
        let states = states.as_ref()?;
        Some(states.get(id).cloned().unwrap_or_default())
    };
    let views = webhooks.iter().map(|webhook| {
        let view = WebhookView::new(webhook, state(&webhook.id), held.as_ref());
        (place(&webhook.phone), view)
    });
    Ok(Json(wanted.page(views)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_the_order_of_the_numbers_texts() {
        let texts = [
            "10000",
            "100000",
            "4915100000001",
            "4915100000002",
            "5",
            "999999999999999",
        ];
        let phones = texts.map(|text| format!("{text:0<5}").parse::<Phone>().expect("a number"));
        assert!(phones.is_sorted());
        assert!(phones.each_ref().map(place).is_sorted());
        for number in &phones {
            assert_eq!(phone(place(number)).as_ref(), Some(number));
        }
        assert_eq!(phone(0), None);
        assert_eq!(phone(u128::MAX), None);
    }
}
