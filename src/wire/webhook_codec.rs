//! Webhooks as the bus stores them: JSON in which each secret is sealed and bound to its
//! client, webhook and field.

use serde_json::{Map, Value};

use super::{Keyring, SealError, secret_box::key_of};
use crate::model::Webhook;

/// Why stored bytes cannot be decoded as a webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookCodecError {
    /// They are not the JSON of a webhook.
    #[error("damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// One of the secrets cannot be opened.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

/// Which keys a stored webhook's secrets are sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedWith {
    /// All secrets with the newest key.
    NewestKey,
    /// Some secrets with an older key, none in plain text.
    OlderKey,
    /// Some secrets are in plain text.
    Nothing,
}

/// Encodes a webhook for the bus and seals its secrets.
///
/// # Examples
///
/// ```
/// use wahook::{
///     model::{ClientId, SigningSecret, Timestamp, Webhook, WebhookId},
///     wire::{Keyring, SealedWith, decode_webhook, encode_webhook, sealed_with},
/// };
///
/// let keys = Keyring::parse(&Keyring::new_line("2026")?)?;
/// let mut webhook = Webhook::new(
///     "0193f3a0-0000-7000-8000-000000000001".parse::<WebhookId>()?,
///     ClientId::try_from(1)?,
///     "4915112345678".parse()?,
///     "https://example.com/hook".to_owned(),
///     Timestamp::EPOCH,
/// );
/// webhook.secrets = vec![SigningSecret::from_key(&[1; 32])];
/// let bytes = encode_webhook(&webhook, &keys);
/// assert_eq!(sealed_with(&bytes, &keys)?, SealedWith::NewestKey);
/// assert_eq!(decode_webhook(&bytes, &keys)?, webhook);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_webhook(webhook: &Webhook, keys: &Keyring) -> Vec<u8> {
    let mut value = serde_json::to_value(webhook).expect("plain data has a JSON form");
    let of = format!("{} {}", webhook.client_id, webhook.id);
    for (field, text) in secrets(&mut value) {
        *text = keys.seal(&format!("{of} {field}"), text);
    }
    value.to_string().into_bytes()
}

/// Decodes a webhook and opens its secrets.
///
/// # Errors
/// When the bytes are damaged, or a key is missing.
pub fn decode_webhook(bytes: &[u8], keys: &Keyring) -> Result<Webhook, WebhookCodecError> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    let of = format!(
        "{} {}",
        value["client_id"],
        value["id"].as_str().unwrap_or_default()
    );
    for (field, text) in secrets(&mut value) {
        *text = keys.open(&format!("{of} {field}"), text)?;
    }
    Ok(serde_json::from_value(value)?)
}

/// Which keys the secrets in these bytes are sealed with.
///
/// # Errors
/// When the bytes are not JSON.
pub fn sealed_with(bytes: &[u8], keys: &Keyring) -> Result<SealedWith, WebhookCodecError> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    let mut found = SealedWith::NewestKey;
    for (_, text) in secrets(&mut value) {
        match key_of(text) {
            None => return Ok(SealedWith::Nothing),
            Some(id) if id != keys.newest() => found = SealedWith::OlderKey,
            Some(_) => {}
        }
    }
    Ok(found)
}

/// Every secret of a webhook, with the name of its field. A test fails when a secret is missing
/// here.
fn secrets(webhook: &mut Value) -> Vec<(String, &mut String)> {
    let mut all = Vec::new();
    for (name, field) in webhook.as_object_mut().into_iter().flatten() {
        match (name.as_str(), field) {
            // Many endpoints have a key in their path or query.
            ("url", Value::String(url)) => all.push(("url".to_owned(), url)),
            ("secrets", Value::Array(secrets)) => all.extend(texts("signing secret", secrets)),
            ("sending", Value::Object(sending)) => all.extend(sending_secrets(sending)),
            _ => {}
        }
    }
    all
}

fn sending_secrets(sending: &mut Map<String, Value>) -> Vec<(String, &mut String)> {
    let mut all = Vec::new();
    for (name, field) in sending {
        match (name.as_str(), field) {
            ("keys", Value::Array(keys)) => all.extend(texts("signing key", keys)),
            ("headers", Value::Object(headers)) => {
                all.extend(headers.iter_mut().filter_map(header));
            }
            _ => {}
        }
    }
    all
}

fn header<'a>((name, value): (&String, &'a mut Value)) -> Option<(String, &'a mut String)> {
    match value {
        Value::String(text) => Some((format!("header {name}"), text)),
        _ => None,
    }
}

fn texts<'a>(
    what: &'static str,
    values: &'a mut [Value],
) -> impl Iterator<Item = (String, &'a mut String)> {
    values
        .iter_mut()
        .filter_map(move |value| match value.get_mut("text") {
            Some(Value::String(text)) => Some((what.to_owned(), text)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryOptions, Secret, SigningKey, SigningSecret, Timestamp, WebhookId};

    const SECRET: [u8; 32] = [0x5e; 32];

    fn webhook(client: u64, id: u128) -> Webhook {
        let id = WebhookId(uuid::Uuid::from_u128(id));
        let client = client.try_into().expect("in range");
        let phone = "4915112345678".parse().expect("valid");
        Webhook {
            secrets: vec![
                SigningSecret::from_key(&SECRET),
                SigningSecret::from_key(&[1; 24]),
            ],
            sending: DeliveryOptions {
                keys: vec![SigningKey::from_parts(&SECRET, &[2; 32])],
                headers: [(
                    "authorization".to_owned(),
                    Secret::new("Bearer Xl5eXl5e".to_owned()),
                )]
                .into_iter()
                .collect(),
                ..DeliveryOptions::default()
            },
            ..Webhook::new(
                id,
                client,
                phone,
                "https://example.com/".to_owned(),
                Timestamp::EPOCH,
            )
        }
    }

    fn keys(ids: &[&str]) -> Keyring {
        let lines: Vec<_> = ids
            .iter()
            .map(|id| Keyring::new_line(id).expect("an id"))
            .collect();
        Keyring::parse(&lines.join("\n")).expect("keys")
    }

    #[test]
    fn webhook_is_stored_without_plain_secrets_and_decoded_with_them() {
        let keys = keys(&["k"]);
        let webhook = webhook(1, 2);
        let bytes = encode_webhook(&webhook, &keys);
        let text = String::from_utf8(bytes.clone()).expect("JSON");
        for secret in ["whsec_", "whsk_", "Bearer", "Xl5eXl5e", "example.com"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(text.matches("sealed.v1.k.").count(), 5, "{text}");
        assert_eq!(
            decode_webhook(&bytes, &keys).expect("its own bytes"),
            webhook
        );
        let plain = serde_json::to_vec(&webhook).expect("JSON");
        assert_eq!(
            decode_webhook(&plain, &keys).expect("as it was stored before"),
            webhook
        );
    }

    #[test]
    fn secret_copied_to_another_client_or_webhook_is_damaged() {
        let keys = keys(&["k"]);
        let mine = webhook(1, 2);
        let bytes = String::from_utf8(encode_webhook(&mine, &keys)).expect("JSON");
        for (from, to) in [
            ("\"client_id\":1", "\"client_id\":7"),
            ("000000000002", "000000000003"),
        ] {
            let moved = bytes.replace(from, to);
            assert_ne!(moved, bytes);
            assert!(matches!(
                decode_webhook(moved.as_bytes(), &keys),
                Err(WebhookCodecError::Sealed(SealError::Damaged(_)))
            ));
        }
    }

    #[test]
    fn sealed_with_names_the_oldest_kind_of_key() {
        let old = Keyring::new_line("old").expect("an id");
        let webhook = webhook(1, 2);
        let new = Keyring::new_line("new").expect("an id");
        let both = Keyring::parse(&format!("{new}\n{old}")).expect("keys");
        let old = Keyring::parse(&old).expect("keys");
        let of = |bytes: &[u8]| sealed_with(bytes, &both).expect("JSON");
        assert_eq!(of(&encode_webhook(&webhook, &both)), SealedWith::NewestKey);
        assert_eq!(of(&encode_webhook(&webhook, &old)), SealedWith::OlderKey);
        assert_eq!(
            of(&serde_json::to_vec(&webhook).expect("JSON")),
            SealedWith::Nothing
        );
        let new_is_missing = SealError::MissingKey("new".to_owned());
        let missing = decode_webhook(&encode_webhook(&webhook, &both), &old);
        assert!(
            matches!(missing, Err(WebhookCodecError::Sealed(error)) if error == new_is_missing)
        );
        assert!(matches!(
            decode_webhook(b"{", &old),
            Err(WebhookCodecError::Json(_))
        ));
    }
}
