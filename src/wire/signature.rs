//! Signatures, which prove to a receiver that a delivery comes from wahook: [Standard
//! Webhooks](https://www.standardwebhooks.com) 1.0.0 with `v1` and `v1a`, and the headers that
//! receivers written for another gateway check.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::Sha512;

use super::{body::format_of, mac};
use crate::model::{EventId, Format, SigningKey, SigningSecret, Timestamp, Webhook, hex};

/// The bytes of a signing secret: as many as SHA-256 gives.
const SECRET_BYTES: usize = 32;

/// A new signing secret, from the system's randomness.
pub fn new_signing_secret() -> SigningSecret {
    SigningSecret::from_key(&rand::random::<[u8; SECRET_BYTES]>())
}

/// A new random ed25519 key pair.
///
/// # Examples
///
/// ```
/// let key = wahook::wire::new_signing_key();
/// assert!(key.public().starts_with("whpk_"));
/// ```
pub fn new_signing_key() -> SigningKey {
    let seed: [u8; 32] = rand::random();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("every 32 bytes are a seed");
    let public = pair
        .public_key()
        .as_ref()
        .try_into()
        .expect("a public key has 32 bytes");
    SigningKey::from_parts(&seed, &public)
}

/// The headers of one attempt: the webhook's own headers, the signatures, and the headers of the
/// body's format.
///
/// # Examples
///
/// ```
/// use wahook::{
///     model::{ClientId, EventId, SigningSecret, Timestamp, Webhook, WebhookId},
///     wire::request_headers,
/// };
///
/// let mut webhook = Webhook::new(
///     "0193f3a0-0000-7000-8000-000000000001".parse::<WebhookId>()?,
///     ClientId::try_from(1)?,
///     "4915112345678".parse()?,
///     "https://example.com/hook".to_owned(),
///     Timestamp::EPOCH,
/// );
/// webhook.secrets = vec![SigningSecret::from_key(&[1; 32])];
/// let event: EventId = "00000000-0000-8000-8000-000000000001".parse()?;
/// let headers = request_headers(&webhook, event, 1, Timestamp::EPOCH, b"{}");
/// let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
/// assert_eq!(names, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
/// assert!(headers[2].1.starts_with("v1,"));
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
pub fn request_headers<'a>(
    webhook: &'a Webhook,
    event: EventId,
    attempt: u16,
    at: Timestamp,
    body: &[u8],
) -> Vec<(&'a str, String)> {
    let own = webhook
        .sending
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose().to_owned()));
    let mut headers: Vec<_> = own.collect();
    headers.extend(signature_headers(webhook, event, at, body));
    // Receivers of these formats know one secret. Their key is its text, not what it decodes to.
    let secret = webhook
        .secrets
        .first()
        .map_or("", |secret| secret.expose())
        .as_bytes();
    match format_of(body) {
        Format::Native | Format::Evolution => {}
        Format::Cloud => headers.push((
            "x-hub-signature-256",
            format!("sha256={}", hex(&mac(secret, body))),
        )),
        Format::Waha => headers.extend([
            (
                "x-webhook-request-id",
                format!("{}-{attempt}", event.header()),
            ),
            ("x-webhook-timestamp", at.millis().to_string()),
            ("x-webhook-hmac-algorithm", "sha512".to_owned()),
            ("x-webhook-hmac", sha512_hex(secret, body)),
        ]),
    }
    headers
}

/// The id is the same for all copies of the message, the time that of the attempt. Each secret and
/// key that the scheme names signs `id.timestamp.body`.
fn signature_headers(
    webhook: &Webhook,
    event: EventId,
    at: Timestamp,
    body: &[u8],
) -> [(&'static str, String); 3] {
    let id = event.header().to_string();
    let timestamp = at.seconds().to_string();
    let scheme = webhook.sending.signature;
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let secrets = webhook
        .signing_secrets(at)
        .filter(|_| scheme.has_hmac())
        .map(|secret| sign(secret, &signed));
    let keys = webhook
        .signing_keys(at)
        .filter(|_| scheme.has_ed25519())
        .filter_map(|key| sign_with_key(key, &signed));
    let signatures: Vec<String> = secrets.chain(keys).collect();
    [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signatures.join(" ")),
    ]
}

fn sign(secret: &SigningSecret, signed: &[u8]) -> String {
    format!("v1,{}", BASE64_STANDARD.encode(mac(&secret.key(), signed)))
}

fn sign_with_key(key: &SigningKey, signed: &[u8]) -> Option<String> {
    let (seed, public) = key.parts()?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).ok()?;
    Some(format!("v1a,{}", BASE64_STANDARD.encode(pair.sign(signed))))
}

fn sha512_hex(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::model::{DeliveryOptions, Secret, SignatureScheme, WebhookId, parse_hex};

    const SIGNED: &[u8] = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;

    fn webhook(signature: SignatureScheme) -> Webhook {
        let mut secrets = vec![
            SigningSecret::from_key(&[1; 24]),
            SigningSecret::from_key(&[2; 24]),
        ];
        let mut keys = vec![new_signing_key(), new_signing_key()];
        secrets[1].expires_at = Some(Timestamp::from_millis(2_000));
        keys[1].expires_at = Some(Timestamp::from_millis(2_000));
        let id = WebhookId(uuid::Uuid::from_u128(2));
        let client = 1.try_into().expect("in range");
        let phone = "4915112345678".parse().expect("valid");
        let url = "https://example.com/".to_owned();
        Webhook {
            secrets,
            sending: DeliveryOptions {
                signature,
                keys,
                ..DeliveryOptions::default()
            },
            ..Webhook::new(id, client, phone, url, Timestamp::EPOCH)
        }
    }

    /// The test vector of the specification's own libraries.
    #[test]
    fn hmac_signature_equals_the_published_vector() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("valid");
        assert_eq!(
            sign(&secret, SIGNED),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// The test vector of Svix's server, which `v1a` was specified after.
    #[test]
    fn ed25519_signature_equals_the_published_vector() {
        let both = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dR\
            qSKJp4AJ6p9lMicMFs6Kvg==";
        let both = BASE64_STANDARD.decode(both).expect("base64");
        let (seed, public) = both.split_at(32);
        let key =
            SigningKey::from_parts(seed.try_into().expect("32"), public.try_into().expect("32"));
        assert_eq!(
            key.public(),
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        );
        assert_eq!(
            sign_with_key(&key, SIGNED).expect("a key"),
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl\
             8EM+m7TBAg=="
        );
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn ed25519_signature_equals_the_vector_of_rfc_8032() {
        let bytes = |text: &str| parse_hex(text).expect("hex");
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let key = SigningKey::from_parts(
            &seed.try_into().expect("32"),
            &public.try_into().expect("32"),
        );
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert_eq!(
            sign_with_key(&key, &[0x72]),
            Some(format!("v1a,{}", BASE64_STANDARD.encode(signature)))
        );
    }

    #[test]
    fn each_scheme_signs_with_its_keys_and_with_old_ones_until_they_expire() {
        let event = EventId(uuid::Uuid::nil());
        let signatures = |scheme, at| {
            let webhook = webhook(scheme);
            let [id, timestamp, signature] =
                signature_headers(&webhook, event, Timestamp::from_millis(at), b"{}");
            assert_eq!(
                id,
                (
                    "webhook-id",
                    "00000000-0000-0000-0000-000000000000".to_owned()
                )
            );
            assert_eq!(timestamp, ("webhook-timestamp", (at / 1000).to_string()));
            let versions = |text: &str| {
                text.split(' ')
                    .map(|one| one.split(',').next().map(str::to_owned))
                    .collect()
            };
            let versions: Vec<Option<String>> = versions(&signature.1);
            versions.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        for (scheme, during, after) in [
            (SignatureScheme::Hmac, "v1 v1", "v1"),
            (SignatureScheme::Ed25519, "v1a v1a", "v1a"),
            (SignatureScheme::Both, "v1 v1 v1a v1a", "v1 v1a"),
        ] {
            assert_eq!(
                (signatures(scheme, 1_999), signatures(scheme, 2_000)),
                (during.into(), after.into())
            );
        }
    }

    #[test]
    fn ed25519_signature_is_verified_with_the_public_key_alone() {
        let key = new_signing_key();
        let signature = sign_with_key(&key, b"signed").expect("a key");
        let signature = BASE64_STANDARD
            .decode(signature.trim_start_matches("v1a,"))
            .expect("base64");
        let public = BASE64_STANDARD
            .decode(key.public().trim_start_matches("whpk_"))
            .expect("base64");
        let public = UnparsedPublicKey::new(&ED25519, public);
        assert!(public.verify(b"signed", &signature).is_ok());
        assert!(public.verify(b"signes", &signature).is_err());
        assert!(!format!("{key:?}").contains(&key.expose()[5..15]));
    }

    /// The example of WAHA's documentation, and GitHub's for the header that Meta uses, too.
    #[test]
    fn signatures_of_other_gateways_equal_their_published_examples() {
        let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
        assert_eq!(
            sha512_hex(b"my-secret-key", body),
            "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8\
             097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89"
        );
        assert_eq!(
            hex(&mac(b"It's a Secret to Everybody", b"Hello, World!")),
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn format_adds_its_headers_to_those_of_the_webhook() {
        let mut webhook = webhook(SignatureScheme::Hmac);
        webhook
            .sending
            .headers
            .insert("x-tenant".to_owned(), Secret::new("t1".to_owned()));
        let event = EventId(uuid::Uuid::nil());
        let at = Timestamp::from_millis(1_500);
        let names = |body: &[u8]| -> Vec<&str> {
            request_headers(&webhook, event, 3, at, body)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        let always = [
            "x-tenant",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ];
        assert_eq!(names(br#"{"client_id":1}"#), always);
        let cloud = names(br#"{"object":"whatsapp_business_account""#);
        assert_eq!(cloud, [&always[..], &["x-hub-signature-256"]].concat());
        let waha = request_headers(&webhook, event, 3, at, br#"{"id":"evt_1"}"#);
        assert_eq!(
            waha[4],
            (
                "x-webhook-request-id",
                "00000000-0000-0000-0000-000000000000-3".to_owned()
            )
        );
        assert_eq!(waha[5], ("x-webhook-timestamp", "1500".to_owned()));
    }
}
