//! Votes on polls: encrypted on their way, and told by the names of what they choose.

use serde_json::{Value, json};
use whatsapp_rust::{prelude::MessageField, waproto::whatsapp as wa};
use whatsapp_sim::{Contact, content, content::Ballot};

use super::{
    Linked, PHONE, STEP_MAX, restart,
    sending::send,
    sending_kinds::{BOB, GROUP},
};
use crate::support::receiver::Receiver;

const ALICE: &str = "4915200000001";
const CARL: &str = "4915200000002";
const SECRET: [u8; 32] = [9; 32];
const OPTIONS: [&str; 3] = ["tea", "coffee", "none"];

fn pn(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

/// What the webhook got of the message with this id.
async fn told(receiver: &Receiver, id: &str) -> Value {
    crate::support::app::eventually(&format!("{id} has come"), async || {
        let all = receiver.received();
        let mut all = all.iter().map(|one| one.json());
        all.find(|one| one["message_id"] == id)
    })
    .await
}

/// Somebody votes, in the group or in the chat; what the webhook gets.
async fn votes(
    linked: &Linked,
    receiver: &Receiver,
    voter: &Contact,
    vote: wa::Message,
    group: Option<&str>,
) -> Value {
    let sent = match group {
        Some(group) => voter.send_group(&linked.device, group, vote).await,
        None => voter.send(&linked.device, vote).await,
    };
    let id = sent.expect("sent");
    let told = told(receiver, &id).await;
    assert_eq!(told["type"], "poll_vote", "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_are_told_by_name_are_changed_and_are_taken_back_with_keys_in_files() {
    votes_are_told(Linked::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_are_told_by_name_are_changed_and_are_taken_back_with_keys_in_jetstream() {
    votes_are_told(Linked::with(&[("WHATSAPP__KEYS", "jetstream")]).await).await;
}

/// Alice's poll, once it was told; its id.
async fn ask(linked: &Linked, receiver: &Receiver, alice: &Contact) -> String {
    let poll = content::open_poll("Drink?", &OPTIONS, SECRET);
    let id = alice.send(&linked.device, poll).await.expect("sent");
    told(receiver, &id).await;
    id
}

async fn votes_are_told(linked: Linked) {
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact(ALICE, "Alice");
    let id = ask(&linked, &receiver, &alice).await;
    let alice_id = pn(ALICE);
    let ballot = Ballot {
        id: &id,
        creator: &alice_id,
        secret: &SECRET,
        is_in_group: false,
    };
    let table: [(&[&str], &str); 4] = [
        (&["tea"], "tea"),
        (&["coffee", "tea"], "coffee, tea"),
        (&[], ""),
        (&["none"], "none"),
    ];
    for (number, (options, text)) in table.into_iter().enumerate() {
        if number == 3 {
            restart(&linked).await;
        }
        let vote = ballot.vote(&alice_id, options).expect("sealed");
        let vote = votes(&linked, &receiver, &alice, vote, None).await;
        let mut shown = json!({"question": "Drink?", "options": options});
        if options.is_empty() {
            shown["withdrawn"] = true.into();
        }
        assert_eq!(vote["metadata"]["poll_vote"], shown);
        assert_eq!(vote["content"], text);
        let target = json!({"message_id": id, "from": ALICE, "from_me": false});
        assert_eq!(vote["metadata"]["target"], target);
    }
    // A poll that nobody has shown to this device, and a vote that its secret does not open.
    let strange = Ballot { id: "P9", ..ballot };
    let vote = strange.vote(&alice_id, &["tea"]).expect("sealed");
    let vote = votes(&linked, &receiver, &alice, vote, None).await;
    let shown = json!({"unreadable": "unknown_poll"});
    assert_eq!(vote["metadata"]["poll_vote"], shown);
    assert_eq!(vote["metadata"]["target"]["message_id"], "P9");
    let forged = Ballot {
        id: &id,
        secret: &[1; 32],
        ..strange
    };
    let vote = forged.vote(&alice_id, &["tea"]).expect("sealed");
    let vote = votes(&linked, &receiver, &alice, vote, None).await;
    let shown = json!({"unreadable": "undecryptable"});
    assert_eq!(vote["metadata"]["poll_vote"], shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_in_groups_by_lid_and_on_polls_that_were_sent_are_told() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let bob = linked.server.contact(BOB, "Bob");
    let carl = linked.server.hidden_contact(CARL, "90002", "Carl", true);
    linked.server.group(GROUP, PHONE, &[&bob, &carl]);
    let poll = content::open_poll("Drink?", &OPTIONS, SECRET);
    let sent = bob.send_group(&linked.device, GROUP, poll).await;
    let id = sent.expect("sent");
    told(&receiver, &id).await;
    let bob_id = pn(BOB);
    let carl_id = pn(CARL);
    let ballot = Ballot {
        id: &id,
        creator: &bob_id,
        secret: &SECRET,
        is_in_group: true,
    };
    // Voters encrypt under their number or their LID.
    for (name, option) in [(carl_id.as_str(), "tea"), ("90002@lid", "coffee")] {
        let vote = ballot.vote(name, &[option]).expect("sealed");
        let vote = votes(&linked, &receiver, &carl, vote, Some(GROUP)).await;
        assert_eq!(vote["from"], CARL);
        assert_eq!(vote["metadata"]["poll_vote"]["options"], json!([option]));
        assert_eq!(vote["metadata"]["target"]["from"], BOB);
    }

    // On the session's own polls, in a group and with one person.
    let own = [(GROUP, true), (BOB, false)];
    for (to, is_in_group) in own {
        let poll = json!({"question": "Who?", "options": ["me", "you"], "selectable": 2});
        let body = json!({"session_id": linked.session, "to": to, "poll": poll});
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(status, 202, "{answer}");
        let received = bob.receive(&linked.device, STEP_MAX).await;
        let (id, message) = received.expect("Bob can read it");
        let secret = message.message_context_info.message_secret.clone();
        let own_id = pn(PHONE);
        let secret = secret.expect("a secret");
        let ballot = Ballot {
            id: &id,
            creator: &own_id,
            secret: &secret,
            is_in_group,
        };
        let vote = ballot.vote(&bob_id, &["you", "me"]).expect("sealed");
        let group = is_in_group.then_some(GROUP);
        let vote = votes(&linked, &receiver, &bob, vote, group).await;
        let shown = json!({"question": "Who?", "options": ["you", "me"]});
        assert_eq!(vote["metadata"]["poll_vote"], shown);
        let target = json!({"message_id": id, "from": PHONE, "from_me": true});
        assert_eq!(vote["metadata"]["target"], target);
    }
}

/// A poll whose names are not known, and whose secret the client has.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_on_an_option_without_a_name_is_told_by_its_hash() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact(ALICE, "Alice");
    let id = ask(&linked, &receiver, &alice).await;
    let alice_id = pn(ALICE);
    let ballot = Ballot {
        id: &id,
        creator: &alice_id,
        secret: &SECRET,
        is_in_group: false,
    };
    let vote = ballot.vote(&alice_id, &["tea", "juice"]).expect("sealed");
    let vote = votes(&linked, &receiver, &alice, vote, None).await;
    let shown = &vote["metadata"]["poll_vote"];
    assert_eq!(shown["options"], json!(["tea"]));
    let hash = shown["option_hashes"][0].as_str().expect("a hash");
    assert_eq!(hash.len(), 64);

    // What is no poll of today's, but has a secret.
    let event = wa::Message {
        event_message: MessageField::some(wa::message::EventMessage {
            name: Some("Party".to_owned()),
            ..Default::default()
        }),
        message_context_info: content::open_poll("", &[], SECRET).message_context_info,
        ..Default::default()
    };
    let id = alice.send(&linked.device, event).await.expect("sent");
    told(&receiver, &id).await;
    let ballot = Ballot { id: &id, ..ballot };
    let shown = crate::support::app::eventually("the client has stored the secret", async || {
        let vote = ballot.vote(&alice_id, &["tea"]).expect("sealed");
        let vote = votes(&linked, &receiver, &alice, vote, None).await;
        let shown = vote["metadata"]["poll_vote"].clone();
        (shown["option_hashes"] != Value::Null).then_some(shown)
    })
    .await;
    assert_eq!(shown["options"], json!([]));
}
