//! Every kind, and any metadata: another gateway may write anything into it.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{message, render};
use crate::{
    model::{Format, Kind},
    wire::{body::format_of, summarize_body},
};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            Just("id"),
            Just("name"),
            Just("vcard"),
            Just("message_id"),
            Just("sha256"),
            Just("options")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|all| all
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// The fields of metadata that a body depends on.
pub(super) const METADATA: [&str; 18] = [
    "media",
    "contacts",
    "location",
    "poll",
    "reaction",
    "quoted",
    "mentions",
    "button",
    "list",
    "chat",
    "from_me",
    "push_name",
    "target",
    "interactive",
    "flow",
    "order",
    "referral",
    "poll_vote",
];

/// All kinds that come from a source of messages.
pub(super) static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let all = Kind::ALL.iter().cloned();
    all.filter(|kind| *kind != Kind::Operational).collect()
});

#[test]
fn summary_names_sender_and_text_for_every_kind_and_format() {
    for format in Format::ALL {
        for kind in KINDS.iter() {
            let text = if *kind == Kind::Receipt {
                "read"
            } else {
                "hello"
            };
            let (body, _) = render(format, &message(kind.clone(), text, json!({})));
            assert_eq!(format_of(&body), format, "{kind}");
            let summary = summarize_body(&body).unwrap_or_else(|| panic!("{kind} in {format:?}"));
            assert_eq!(
                (summary.from.as_str(), summary.to.as_str()),
                ("4922200000", "4911100000"),
                "{kind} in {format:?}"
            );
            // These have no room for a text in the other's format.
            let wordless = matches!(
                (format, kind),
                (
                    Format::Evolution,
                    Kind::Audio | Kind::Sticker | Kind::Location | Kind::Contact | Kind::Revoke
                ) | (
                    Format::Cloud,
                    Kind::Location | Kind::Contact | Kind::Poll | Kind::Revoke
                )
            );
            assert!(
                wordless || summary.content == text,
                "{kind} in {format:?}: {summary:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn body_with_any_metadata_is_built_and_summarized(
        values in prop::collection::vec(any_json(), METADATA.len()),
        kind in 0..KINDS.len(),
        text in ".{0,12}",
    ) {
        let names = METADATA.map(str::to_owned);
        let metadata: Map<String, Value> = names.into_iter().zip(values).collect();
        let mut message = message(KINDS[kind].clone(), &text, json!({}));
        message.metadata = metadata;
        for format in Format::ALL {
            let (body, _) = render(format, &message);
            prop_assert_eq!(format_of(&body), format);
            prop_assert!(summarize_body(&body).is_some());
        }
    }
}
