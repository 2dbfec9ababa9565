use whatsapp_rust::{types::message::MessageSource, wacore::store::InMemoryBackend};

use super::{memory::HASHES_MAX, *};

fn info(id: &str, chat: &str, at: i64) -> MessageInfo {
    MessageInfo {
        id: id.to_owned(),
        source: MessageSource {
            chat: chat.parse().expect("an id"),
            is_group: chat.ends_with("@g.us"),
            ..MessageSource::default()
        },
        timestamp: whatsapp_rust::wacore::time::from_secs_or_now(at),
        ..MessageInfo::default()
    }
}

const ANN: &str = "4915200000001@s.whatsapp.net";
const ANN_LID: &str = "90001@lid";

#[tokio::test]
async fn what_was_published_is_known_after_a_restart_and_under_both_names_of_a_chat() {
    let backend = InMemoryBackend::new();
    let seen = Seen::default();
    let now = Timestamp::from_millis(1_000_000);
    seen.load(&backend, Timestamp::EPOCH).await.expect("loads");
    for number in 0..100 {
        seen.note(
            &info(&number.to_string(), ANN, 500 + number),
            "4915200000001",
        );
    }
    seen.note(&info("G", "1@g.us", 900), "1@g.us");
    seen.store(&backend).await;
    seen.note(&info("late", ANN, 700), "4915200000001");
    seen.store(&backend).await;

    let later = Seen::default();
    let loaded = later.load(&backend, now).await;
    loaded.expect("loads");
    assert_eq!(later.complete_since().millis(), 0);
    for id in ["0", "99", "late"] {
        assert!(later.published().has(&info(id, ANN_LID, 500)), "{id}");
    }
    assert!(!later.published().has(&info("100", ANN, 500)));
    assert!(later.published().has(&info("G", "1@g.us", 500)));
    assert!(
        !later.published().has(&info("G", "2@g.us", 500)),
        "another group"
    );
    let anchors = later.anchors();
    let newest: Vec<_> = anchors.iter().map(|one| one.message_id.as_str()).collect();
    assert_eq!(newest, ["G", "late"]);
}

#[tokio::test]
async fn a_full_memory_says_where_it_begins_and_one_of_a_linked_session_begins_now() {
    let backend = InMemoryBackend::new();
    let seen = Seen::default();
    let now = Timestamp::from_millis(5_000);
    let loaded = seen.load(&backend, now).await;
    loaded.expect("loads");
    assert!(
        seen.published().has(&info("A", ANN, 4)),
        "it may have been published"
    );
    assert!(!seen.published().has(&info("A", ANN, 5)));
    for number in 0..=HASHES_MAX {
        let at = 10 + i64::try_from(number).expect("small");
        seen.note(&info(&number.to_string(), ANN, at), "4915200000001");
    }
    assert_eq!(seen.complete_since().millis(), 10_001);
    seen.store(&backend).await;
    let later = Seen::default();
    let loaded = later.load(&backend, now).await;
    loaded.expect("loads");
    assert_eq!(later.complete_since().millis(), 10_001);
    assert!(
        later.published().has(&info("1", ANN, 11)) && !later.published().has(&info("0", ANN, 11))
    );
    // The next takes the place of the oldest.
    later.note(&info("next", ANN, 9_000), "4915200000001");
    assert!(
        !later.published().has(&info("1", ANN, 9_000))
            && later.published().has(&info("2", ANN, 9_000))
    );
}
