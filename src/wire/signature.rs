//! Standard Webhooks signatures (specification 1.0.0, symmetric `v1`).

use base64::{Engine, prelude::BASE64_STANDARD};

use super::mac;
use crate::model::{EventId, SigningSecret, Timestamp};

/// The three headers of one attempt: the id is the event's, the time is the attempt's, and each secret signs
/// `id.timestamp.body`.
pub fn signature_headers<'a>(
    event: EventId,
    at: Timestamp,
    secrets: impl Iterator<Item = &'a SigningSecret>,
    body: &[u8],
) -> [(&'static str, String); 3] {
    let (id, timestamp) = (event.to_string(), at.seconds().to_string());
    let signatures: Vec<String> = secrets.map(|secret| sign(secret, &id, &timestamp, body)).collect();
    [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signatures.join(" "))]
}

fn sign(secret: &SigningSecret, id: &str, timestamp: &str, body: &[u8]) -> String {
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!("v1,{}", BASE64_STANDARD.encode(mac(&secret.key(), &signed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    #[test]
    fn the_published_vector_is_met() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("valid");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let secrets = [SigningSecret::from_key(&[1; 24]), SigningSecret::from_key(&[2; 24])];
        let event = EventId(uuid::Uuid::nil());
        let [id, timestamp, signature] = signature_headers(event, Timestamp::from_millis(1_500), secrets.iter(), b"{}");
        assert_eq!(id, ("webhook-id", "00000000-0000-0000-0000-000000000000".to_owned()));
        assert_eq!(timestamp, ("webhook-timestamp", "1".to_owned()));
        let both: Vec<_> = signature.1.split(' ').collect();
        assert_eq!(both.len(), 2);
        assert_ne!(both[0], both[1]);
    }
}
