//! The logs of sessions' keys.

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;
use wahook::{
    bus::{Bus, Error, KeyLog},
    model::{KeyChange, KeyTables, SessionId},
    wire::Keyring,
};

use crate::support::{
    nats::NatsServer,
    proxy::{At, NatsProxy},
};

fn session() -> SessionId {
    SessionId(Uuid::now_v7())
}

fn put(key: &str, value: impl Into<Bytes>) -> KeyChange {
    KeyChange {
        table: 1,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(value.into()),
    }
}

fn tables(changes: &[KeyChange]) -> KeyTables {
    let mut tables = KeyTables::default();
    for change in changes {
        tables.apply(change);
    }
    tables
}

async fn owner(bus: &Bus, session: SessionId, epoch: u64) -> (KeyLog, KeyTables) {
    let taken = bus.take_over_keys(session, epoch, 0).await;
    taken.expect("the later epoch gets it")
}

async fn read(bus: &Bus, session: SessionId) -> KeyTables {
    bus.read_keys(session).await.expect("they can be read")
}

#[tokio::test]
async fn an_owner_of_the_past_can_neither_write_nor_shorten_nor_erase() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = session();
    let (mut first, empty) = owner(&bus, session, 1).await;
    assert!(empty.is_empty());
    let a = put("a", "1");
    first.append(vec![a.clone()]).await.expect("its own");
    let (mut second, found) = owner(&bus, session, 2).await;
    assert_eq!(found, tables(std::slice::from_ref(&a)));

    let refused = first.append(vec![put("a", "2")]).await;
    assert!(matches!(refused, Err(Error::TakenOver)), "{refused:?}");
    let refused = first.append(vec![put("a", "3")]).await;
    assert!(matches!(refused, Err(Error::TakenOver)), "once and for all");
    let b = put("b", "1");
    second.append(vec![b.clone()]).await.expect("its own");
    assert_eq!(read(&bus, session).await, tables(&[a.clone(), b.clone()]));

    let (mut third, _) = owner(&bus, session, 3).await;
    let refused = second.snapshot(&KeyTables::default()).await;
    assert!(matches!(refused, Err(Error::TakenOver)), "{refused:?}");
    let (fourth, found) = owner(&bus, session, 4).await;
    assert_eq!(found, tables(&[a, b]));
    let earlier = bus.take_over_keys(session, 3, 0).await;
    assert!(matches!(earlier.map(drop), Err(Error::TakenOver)));
    let refused = third.append(vec![put("c", "1")]).await;
    assert!(matches!(refused, Err(Error::TakenOver)));
    let refused = third.erase().await;
    assert!(matches!(refused, Err(Error::TakenOver)));
    fourth.erase().await.expect("its own");
    assert!(read(&bus, session).await.is_empty());
}

#[tokio::test]
async fn an_owner_of_the_past_cannot_go_on_after_the_keys_are_erased() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = session();
    let (mut first, _) = owner(&bus, session, 1).await;
    first.append(vec![put("a", "1")]).await.expect("its own");
    bus.erase_keys(session, 2).await.expect("erased");
    assert!(first.append(vec![put("a", "2")]).await.is_err());
    assert!(read(&bus, session).await.is_empty());
    let (mut next, found) = owner(&bus, session, 3).await;
    assert!(found.is_empty());
    next.append(vec![put("b", "1")]).await.expect("its own");
    assert_eq!(read(&bus, session).await, tables(&[put("b", "1")]));
}

#[tokio::test]
async fn of_two_takeovers_at_once_one_owns_the_keys_and_none_is_lost() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = session();
    let (mut log, _) = owner(&bus, session, 1).await;
    let mut all = vec![put("0", "x")];
    log.append(all.clone()).await.expect("its own");
    for round in 1..20_u64 {
        let epoch = round * 2;
        let (one, two) = tokio::join!(
            bus.take_over_keys(session, epoch, 0),
            bus.take_over_keys(session, epoch + 1, 0)
        );
        let mut stored = 0;
        for (name, taken) in [("one", one), ("two", two)] {
            let Ok((mut log, found)) = taken else {
                continue;
            };
            assert_eq!(found, tables(&all));
            let change = put(&format!("{round} {name}"), "x");
            if log.append(vec![change.clone()]).await.is_ok() {
                all.push(change);
                stored += 1;
            }
        }
        assert_eq!(stored, 1, "round {round}");
        assert_eq!(read(&bus, session).await, tables(&all));
    }
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_known_for_the_own_one() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let proxy = NatsProxy::start(nats.port()).await;
    let mut config = nats.config();
    config.nats.url = proxy.url();
    let bus_behind = nats.load(nats.connect_with(&config).await).await;
    let session = session();
    let (mut log, _) = owner(&bus_behind, session, 1).await;
    let lost = proxy.trap(At::LostAck, &format!("wa.keys.{session}"));
    log.append(vec![put("a", "1")]).await.expect("stored once");
    lost.await.expect("an answer was lost");
    log.append(vec![put("b", "1")]).await.expect("it goes on");
    assert_eq!(
        read(&bus, session).await,
        tables(&[put("a", "1"), put("b", "1")])
    );
    assert_eq!(nats.messages("WA_KEYS").await, 3, "none is there twice");
}

#[tokio::test]
async fn keys_are_the_same_after_any_record_and_any_snapshot() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let session = session();
    let (mut log, mut model) = owner(&bus, session, 1).await;
    for step in 0..150_u64 {
        if random.random_range(0..10) == 0 {
            log.snapshot(&model).await.expect("its own");
            assert!(!log.is_long());
        }
        if random.random_range(0..10) == 0 {
            let (next, found) = owner(&bus, session, step + 2).await;
            assert_eq!(found, model);
            log = next;
        }
        let count = random.random_range(1..5);
        let changes: Vec<KeyChange> = (0..count)
            .map(|_| {
                let bytes = random.random_range(0..2000);
                let change = put(&random.random_range(0..20).to_string(), vec![7; bytes]);
                KeyChange {
                    value: change.value.filter(|_| random.random_range(0..3) > 0),
                    ..change
                }
            })
            .collect();
        changes.iter().for_each(|change| {
            model.apply(change);
        });
        log.append(changes).await.expect("its own");
        assert_eq!(read(&bus, session).await, model, "step {step}");
    }
}

#[tokio::test]
async fn a_snapshot_larger_than_a_message_is_in_parts_and_replaces_its_own() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = session();
    let (mut log, _) = owner(&bus, session, 1).await;
    let large = |name: &str, letter: u8| put(name, vec![letter; 600 * 1024]);
    let mut all: Vec<KeyChange> = (0..5).map(|at| large(&at.to_string(), at)).collect();
    log.append(all.clone()).await.expect("in several records");
    assert!(log.is_long());
    for round in 0..2 {
        log.snapshot(&tables(&all)).await.expect("its own");
        assert!(!log.is_long());
        assert_eq!(nats.messages("WA_KEYS").await, 6, "five parts and a record");
        assert_eq!(read(&bus, session).await, tables(&all));
        all[0] = large("0", 100 + round);
        log.append(vec![all[0].clone()]).await.expect("its own");
        assert_eq!(read(&bus, session).await, tables(&all));
    }
    let (mut next, found) = owner(&bus, session, 2).await;
    assert_eq!(found, tables(&all));
    assert!(log.snapshot(&found).await.is_err(), "an owner of the past");
    assert_eq!(read(&bus, session).await, found);
    next.snapshot(&found).await.expect("its own");
    assert_eq!(
        nats.messages("WA_KEYS").await,
        6,
        "what the other left is gone"
    );
    bus.erase_keys(session, 3).await.expect("erased");
    assert_eq!(nats.messages("WA_KEYS").await, 1);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_refused() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let session = session();
    let (mut log, _) = owner(&bus, session, 1).await;
    log.append(vec![put("a", "1")]).await.expect("its own");
    log.append(vec![put("a", "2")]).await.expect("its own");
    let known = log.number();
    let context = nats.jetstream().await;
    let stream = context.get_stream("WA_KEYS").await.expect("is there");
    let last = stream.cached_info().state.last_sequence;
    stream.delete_message(last).await.expect("deleted");
    let refused = bus.take_over_keys(session, 2, known).await.map(drop);
    assert!(
        matches!(refused, Err(Error::KeysRolledBack { found, known: of }) if found + 1 == of),
        "{refused:?}"
    );
    let (_, found) = owner(&bus, session, 2).await;
    assert_eq!(found, tables(&[put("a", "1")]), "nothing was written by it");
}

#[tokio::test]
async fn a_record_of_another_session_or_one_twice_is_refused() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let one = session();
    let two = session();
    let (mut log, _) = owner(&bus, one, 1).await;
    log.append(vec![put("a", "1")]).await.expect("its own");
    let context = nats.jetstream().await;
    let stream = context.get_stream("WA_KEYS").await.expect("is there");
    let subject = format!("wa.keys.{one}");
    let stored = stream.get_last_raw_message_by_subject(&subject).await;
    let payload = stored.expect("is there").payload;
    for subject in [format!("wa.keys.{two}"), subject] {
        let published = context.publish(subject, payload.clone()).await;
        published.expect("sent").await.expect("stored");
    }
    for session in [one, two] {
        let refused = bus.take_over_keys(session, 2, 0).await.map(drop);
        assert!(
            matches!(refused, Err(Error::SessionKeys { .. })),
            "{refused:?}"
        );
        bus.erase_keys(session, 2).await.expect("it can be erased");
        assert!(read(&bus, session).await.is_empty());
    }
}

#[tokio::test]
async fn keys_that_no_node_took_over_are_sealed_again_too() {
    let nats = NatsServer::start().await;
    let old = Keyring::new_line("old").expect("an id");
    let new = Keyring::new_line("new").expect("an id");
    let keys = |text: &str| Keyring::parse(text).expect("keys");
    let with = async |text: &str| {
        let bus = nats.connect().await;
        bus.apply().await.expect("applies");
        bus.load_keys(keys(text)).await.expect("its keys");
        bus
    };
    let before = with(&old).await;
    let [idle, running] = [session(), session()];
    let a = put("a", "1");
    let mut logs = Vec::new();
    for session in [idle, running] {
        let (mut log, _) = owner(&before, session, 1).await;
        log.append(vec![a.clone()]).await.expect("its own");
        logs.push(log);
    }
    let mut log_of_running = logs.pop().expect("of the second");

    let both = keys(&format!("{new}\n{old}"));
    let after = nats.connect().await;
    let done = after.reseal(&both).await.expect("seals");
    assert_eq!((done.sessions, done.sessions_again), (2, 2), "{done:?}");
    let again = after.reseal(&both).await.expect("seals");
    assert_eq!((again.sessions, again.sessions_again), (2, 0), "{again:?}");
    let third = with(&new).await;
    for session in [idle, running] {
        assert_eq!(
            read(&third, session).await,
            tables(std::slice::from_ref(&a))
        );
    }
    // The node that runs one of them reads it again, under the lease that it has.
    let refused = log_of_running.append(vec![put("b", "1")]).await;
    assert!(matches!(refused, Err(Error::TakenOver)), "{refused:?}");
    let (mut log, _) = owner(&third, running, 1).await;
    log.append(vec![put("b", "2")]).await.expect("its own");
    let all = tables(&[a, put("b", "2")]);
    assert_eq!(read(&third, running).await, all);
}
