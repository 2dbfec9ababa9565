//! What people send beside plain messages, and what a message refers to.

use serde_json::json;
use whatsapp_rust::prelude::wa;

use super::{conversation, image, key, says, some, text, wrapped};
use crate::{
    ingest::content::{asked, read},
    model::Kind,
};

#[test]
fn invitations_events_and_albums_are_told() {
    let invite = wa::Message {
        group_invite_message: some(wa::message::GroupInviteMessage {
            group_jid: text("1@g.us"),
            group_name: text("Friends"),
            invite_code: text("C"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = json!({"group": "1@g.us", "name": "Friends", "code": "C"});
    says(&invite, &Kind::GroupInvite, "Friends", "invite", &shown);
    let event = wa::Message {
        event_message: some(wa::message::EventMessage {
            name: text("Party"),
            start_time: Some(7),
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = json!({"name": "Party", "starts_at": 7});
    says(&event, &Kind::Event, "Party", "event", &shown);
    let album = wa::Message {
        album_message: some(wa::message::AlbumMessage {
            expected_image_count: Some(3),
            ..Default::default()
        }),
        ..Default::default()
    };
    says(&album, &Kind::Album, "", "album", &json!({"images": 3}));
    let mut picture = image("one");
    picture.message_context_info = some(wa::MessageContextInfo {
        message_association: some(wa::MessageAssociation {
            association_type: Some(wa::message_association::AssociationType::MEDIA_ALBUM),
            parent_message_key: key("A1"),
            message_index: Some(2),
        }),
        ..Default::default()
    });
    let shown = json!({"message_id": "A1", "index": 2});
    says(&picture, &Kind::Image, "one", "album", &shown);
}

#[test]
fn what_is_about_another_message_names_it() {
    let about = |message: &wa::Message, kind: Kind| {
        let content = read(message).expect("it is a message");
        assert_eq!(content.kind, kind);
        content.target.expect("a target").message_id
    };
    let vote = wa::Message {
        poll_update_message: some(wa::message::PollUpdateMessage {
            poll_creation_message_key: key("P1"),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(about(&vote, Kind::PollVote), "P1");
    let pin = wa::Message {
        pin_in_chat_message: some(wa::message::PinInChatMessage {
            key: key("M1"),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(about(&pin, Kind::Pin), "M1");
    let comment = wa::Message {
        comment_message: some(wa::message::CommentMessage {
            message: some(conversation("nice")),
            target_message_key: key("M2"),
        }),
        ..Default::default()
    };
    assert_eq!(about(&comment, Kind::Comment), "M2");
    assert_eq!(read(&comment).expect("a comment").text, "nice");
    let edit = wa::Message {
        edited_message: wrapped(wa::Message {
            protocol_message: some(wa::message::ProtocolMessage {
                key: key("M3"),
                r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
                edited_message: some(wa::Message {
                    ephemeral_message: wrapped(image("better")),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(about(&edit, Kind::Edit), "M3");
    assert_eq!(read(&edit).expect("an edit").text, "better");
}

#[test]
fn a_kind_without_a_name_keeps_its_field_and_its_first_text() {
    let message = wa::Message {
        poll_add_option_message: some(wa::message::PollAddOptionMessage::default()),
        sender_key_distribution_message: some(wa::message::SenderKeyDistributionMessage::default()),
        ..Default::default()
    };
    let named = json!("pollAddOptionMessage");
    says(&message, &Kind::Unknown, "", "kind", &named);
    let sub = wa::AIRichResponseSubMessage {
        message_text: text("an answer"),
        ..Default::default()
    };
    let answer = wa::Message {
        rich_response_message: some(wa::AIRichResponseMessage {
            submessages: vec![sub],
            ..Default::default()
        }),
        ..Default::default()
    };
    let named = json!("richResponseMessage");
    says(&answer, &Kind::Unknown, "an answer", "kind", &named);
}

#[test]
fn what_a_message_refers_to_is_told_whatever_its_kind() {
    let info = wa::ContextInfo {
        stanza_id: text("Q1"),
        participant: text("90003@lid"),
        remote_jid: text("status@broadcast"),
        quoted_message: some(conversation("the question")),
        mentioned_jid: (0..250).map(|number| format!("{number}@lid")).collect(),
        is_forwarded: Some(true),
        forwarding_score: Some(7),
        external_ad_reply: some(wa::context_info::ExternalAdReplyInfo {
            source_id: text("ad"),
            ctwa_clid: text("click"),
            title: text("Buy"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = wa::Message {
        live_location_message: some(wa::message::LiveLocationMessage {
            context_info: some(info),
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = read(&message).expect("it is a message").metadata;
    let quoted = json!({
        "message_id": "Q1", "from": "90003@lid", "type": "text", "content": "the question",
        "is_status": true,
    });
    assert_eq!(shown["quoted"], quoted);
    assert_eq!(shown["mentions"].as_array().map(Vec::len), Some(100));
    assert_eq!(shown["mentions"][9], "9@lid");
    assert_eq!(shown["mentions_left_out"], 150);
    let forwarded = (&shown["forwarded"], &shown["forwarding_score"]);
    assert_eq!(forwarded, (&json!(true), &json!(7)));
    let referral = json!({"source_id": "ad", "ctwa_clid": "click", "headline": "Buy"});
    assert_eq!(shown["referral"], referral);
}

/// As deep as the protocol's reader goes.
const DEEP: usize = 90;

#[test]
fn chains_of_messages_in_messages_end() {
    let comment = |inner| wa::Message {
        comment_message: some(wa::message::CommentMessage {
            message: some(inner),
            target_message_key: key("M1"),
        }),
        ..Default::default()
    };
    let quote = |inner| wa::Message {
        extended_text_message: some(wa::message::ExtendedTextMessage {
            text: text("re"),
            context_info: some(wa::ContextInfo {
                stanza_id: text("Q1"),
                quoted_message: some(inner),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let wrap = |inner| wa::Message {
        ephemeral_message: wrapped(inner),
        ..Default::default()
    };
    let chain = |link: &dyn Fn(wa::Message) -> wa::Message| {
        let message = (0..DEEP).fold(conversation("end"), |inner, _| link(inner));
        read(&message).expect("a message")
    };
    assert_eq!(chain(&comment).text, "end");
    assert_eq!(chain(&quote).metadata["quoted"]["content"], "re");
    // No phone wraps as deep as that.
    assert_eq!(chain(&wrap).kind, Kind::Unknown);
}

#[test]
fn a_kind_without_a_name_keeps_its_field_however_large_it_is() {
    let message = wa::Message {
        message_history_notice: some(wa::message::MessageHistoryNotice::default()),
        group_root_key_share: some(wa::GroupRootKeyShare::default()),
        chat: some(wa::message::Chat {
            display_name: text(&"x".repeat(2 << 20)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let named = json!("messageHistoryNotice");
    says(&message, &Kind::Unknown, "", "kind", &named);
    let long = wa::AIRichResponseSubMessage {
        message_text: text(&"x".repeat(2 << 20)),
        ..Default::default()
    };
    let answer = wa::Message {
        rich_response_message: some(wa::AIRichResponseMessage {
            submessages: vec![long],
            ..Default::default()
        }),
        ..Default::default()
    };
    let named = json!("richResponseMessage");
    says(&answer, &Kind::Unknown, "", "kind", &named);
}

#[test]
fn a_poll_is_kept_with_its_secret_wherever_that_is() {
    let option = |name: &str| wa::message::poll_creation_message::Option {
        option_name: text(name),
        ..Default::default()
    };
    let poll = || wa::Message {
        poll_creation_message_v5: some(wa::message::PollCreationMessage {
            name: text("Tea?"),
            options: vec![option("yes"), option("no")],
            ..Default::default()
        }),
        ..Default::default()
    };
    let secret = |bytes: usize| {
        some(wa::MessageContextInfo {
            message_secret: Some(vec![7; bytes]),
            ..Default::default()
        })
    };
    let inner = wa::Message {
        message_context_info: secret(32),
        ..poll()
    };
    let outer = wa::Message {
        message_context_info: secret(32),
        ephemeral_message: wrapped(poll()),
        ..Default::default()
    };
    let inside = wa::Message {
        ephemeral_message: wrapped(inner.clone()),
        ..Default::default()
    };
    for message in [inner, outer, inside] {
        let asked = asked(&message).expect("a poll");
        assert_eq!((asked.secret, asked.question.as_str()), ([7; 32], "Tea?"));
        assert_eq!(asked.options, ["yes", "no"]);
    }
    let short = wa::Message {
        message_context_info: secret(31),
        ..poll()
    };
    assert_eq!(asked(&short), None);
    assert_eq!(asked(&poll()), None);
    assert_eq!(asked(&conversation("no poll")), None);
}
