use whatsapp_rust::{store::traits::ProtocolStore as _, wacore::store::InMemoryBackend};

use super::*;

fn poll(id: &str, chat: &str, options: &[&str]) -> Poll {
    let asked = Asked {
        secret: [7; 32],
        question: "Tea?".to_owned(),
        options: options.iter().map(|&name| name.to_owned()).collect(),
    };
    let chat: Jid = chat.parse().expect("an id");
    Poll::new(id, &chat, std::slice::from_ref(&chat), asked)
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_millis(days * 24 * 60 * 60 * 1000)
}

const ANN: &str = "4915200000001@s.whatsapp.net";

async fn found(kept: &mut Kept, backend: &InMemoryBackend, id: &str, day: i64) -> Vec<Poll> {
    let chat = ANN.parse().expect("an id");
    let found = kept.find(backend, id, &chat, at(day)).await;
    found.expect("readable")
}

#[tokio::test]
async fn polls_are_there_after_a_restart_until_they_are_too_old() {
    let backend = InMemoryBackend::new();
    let mut kept = Kept::default();
    for id in ["P1", "P2", "P1"] {
        let poll = poll(id, ANN, &["yes", "no"]);
        kept.put(&backend, poll, at(1)).await.expect("stored");
    }
    let third = backend.get_group_metadata(&row(2)).await.expect("readable");
    assert_eq!(third, None, "the same poll again takes no more room");

    let mut later = Kept::default();
    let polls = found(&mut later, &backend, "P1", 90).await;
    assert_eq!(polls.len(), 1);
    assert_eq!(polls[0].options(), ["yes", "no"]);
    assert!(found(&mut later, &backend, "P1", 91).await.is_empty());
    assert!(found(&mut later, &backend, "P3", 2).await.is_empty());
    // What is too old makes room.
    let fresh = poll("P4", ANN, &[]);
    later.put(&backend, fresh, at(91)).await.expect("stored");
    assert_eq!(later.slots.len(), 2);
}

#[tokio::test]
async fn a_chat_full_of_polls_costs_the_others_nothing_and_all_are_bounded() {
    let backend = InMemoryBackend::new();
    let mut kept = Kept::default();
    let first = poll("A", ANN, &["yes"]);
    kept.put(&backend, first, at(1)).await.expect("stored");
    for number in 0..2 * POLLS_MAX {
        let flood = poll(&number.to_string(), "1@g.us", &[]);
        kept.put(&backend, flood, at(1)).await.expect("stored");
    }
    assert_eq!(kept.slots.len(), 1 + CHAT_POLLS_MAX);
    assert_eq!(found(&mut kept, &backend, "A", 2).await.len(), 1);
    for number in 0..2 * POLLS_MAX {
        let one = poll("B", &format!("{number}@g.us"), &[]);
        kept.put(&backend, one, at(2)).await.expect("stored");
    }
    assert_eq!(kept.slots.len(), POLLS_MAX);
    assert!(found(&mut kept, &backend, "A", 2).await.is_empty());
}

#[test]
fn a_long_poll_loses_its_last_options() {
    let long = "ä".repeat(600);
    let poll = poll("P", ANN, &[&long, &long, "short"]);
    assert_eq!(poll.options().len(), 1);
    let stored = wire::encode_key_value(&poll);
    assert!(stored.len() < TEXT_BYTES_MAX + 512, "{}", stored.len());
}

#[test]
fn a_vote_in_another_group_is_not_on_this_poll() {
    let poll = poll("P", "1@g.us", &[]);
    let may_be_in = |chat: &str| poll.may_be_in(&chat.parse().expect("an id"));
    assert!(may_be_in("1@g.us"));
    assert!(!may_be_in("2@g.us") && !may_be_in(ANN));
}
