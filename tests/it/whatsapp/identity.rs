//! Whom a message names: people and messages keep who they are.

use serde_json::{Value, json};
use whatsapp_rust::{prelude::MessageField, waproto::whatsapp as wa};

use super::{Linked, PHONE};

const GROUP: &str = "120363000000000001@g.us";
const CARL: &str = "4915200000002";
const CARL_LID: &str = "90002@lid";
/// Nobody has told the session the number of this one.
const UNKNOWN: &str = "90003@lid";

fn reaction(id: &str, participant: Option<&str>, is_senders_own: bool) -> wa::Message {
    let key = wa::MessageKey {
        id: Some(id.to_owned()),
        participant: participant.map(str::to_owned),
        from_me: Some(is_senders_own),
        ..Default::default()
    };
    wa::Message {
        reaction_message: MessageField::some(wa::message::ReactionMessage {
            key: MessageField::some(key),
            text: Some("👍".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn mentioning() -> wa::Message {
    let info = wa::ContextInfo {
        stanza_id: Some("Q1".to_owned()),
        participant: Some(CARL_LID.to_owned()),
        mentioned_jid: [CARL_LID, UNKNOWN, "4915200000009@s.whatsapp.net"]
            .map(str::to_owned)
            .to_vec(),
        ..Default::default()
    };
    wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some("@x".to_owned()),
            context_info: MessageField::some(info),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_numbers_where_they_are_known_and_ids_with_their_domain_where_not() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let device = &linked.device;
    let carl = linked.server.hidden_contact(CARL, "90002", "Carl", true);
    let ann = linked.server.contact("4915200000001", "Ann");
    let sent = carl.send(device, whatsapp_sim::content::text("one")).await;
    sent.expect("sent");
    let one = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(one["metadata"]["from_lid"], json!(CARL_LID));
    let sent = ann.send_group(device, GROUP, mentioning()).await;
    sent.expect("sent");
    let said = receiver.wait_for(2).await.remove(1).json();
    let metadata = &said["metadata"];
    let mentions = json!([CARL, UNKNOWN, "4915200000009"]);
    assert_eq!(metadata["mentions"], mentions);
    assert_eq!(
        metadata["quoted"],
        json!({"message_id": "Q1", "from": CARL})
    );
    // What is reacted to, and who wrote it.
    let ann_number = "4915200000001";
    let table: [(Option<&str>, wa::Message, Value); 4] = [
        (
            Some(GROUP),
            reaction("M1", Some(CARL_LID), false),
            json!({"message_id": "M1", "from": CARL, "from_me": false}),
        ),
        (
            Some(GROUP),
            reaction("M2", Some(&format!("{PHONE}@s.whatsapp.net")), false),
            json!({"message_id": "M2", "from": PHONE, "from_me": true}),
        ),
        (
            None,
            reaction("M3", None, true),
            json!({"message_id": "M3", "from": ann_number, "from_me": false}),
        ),
        (
            None,
            reaction("M4", None, false),
            json!({"message_id": "M4", "from": PHONE, "from_me": true}),
        ),
    ];
    for (at, (group, message, target)) in table.into_iter().enumerate() {
        let sent = match group {
            Some(group) => ann.send_group(device, group, message).await,
            None => ann.send(device, message).await,
        };
        sent.expect("sent");
        let said = receiver.wait_for(at + 3).await.remove(at + 2).json();
        assert_eq!(said["metadata"]["target"], target, "{said}");
    }
}
