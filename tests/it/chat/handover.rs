//! Partitions that change hands under load keep the order of their chats.

use std::{
    collections::BTreeMap,
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::at_last;
use crate::{
    pipeline::fleet::settled,
    support::{
        app::{App, Client},
        receiver::Receiver,
    },
};

const PHONES: usize = 8;
const CHATS_PER_PHONE: usize = 3;
/// Times that a second node joins and leaves.
const ROUNDS: usize = 3;
/// Threads that keep the processors busy, so that what takes turns on them takes long.
const BUSY_THREADS: usize = 6;
/// The pace of one chat.
const PACE: Duration = Duration::from_millis(40);

/// Publishes message after message in one chat, each once the one before is accepted; how many.
async fn talk(client: &Client, phone: &str, chat: &str, stop: &AtomicBool) -> usize {
    let mut count = 0;
    let mut ticks = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let id = format!("{chat}-{count}");
        client.publish_from(phone, chat, &id, "text").await;
        count += 1;
    }
    count
}

/// Also when the test fails: threads that stay busy disturb all tests after it.
struct StopAtEnd(Arc<AtomicBool>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Messages that came after a later one of their chat.
fn overtaken(ids: &[String]) -> Vec<String> {
    let mut latest = BTreeMap::<&str, usize>::new();
    let mut found = Vec::new();
    for id in ids {
        let (chat, number) = id.split_once('-').expect("chat and number");
        let number = number.parse().expect("a number");
        let latest = latest.entry(chat).or_insert(number);
        if number < *latest {
            found.push(id.clone());
        }
        *latest = number.max(*latest);
    }
    found
}

#[test]
fn a_later_message_that_came_first_is_found() {
    let ids = ["a-0", "b-0", "a-2", "a-1", "b-1"].map(str::to_owned);
    assert_eq!(overtaken(&ids), ["a-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_keep_their_order_while_nodes_join_and_leave() {
    let app = App::playing("api,record", &[("DELIVER__TIMEOUT", "10s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let mut first = app.second("deliver");
    first.ready().await;
    let phones: Vec<String> = (0..PHONES).map(|n| format!("49151{n:08}")).collect();
    for phone in &phones {
        client.register_ordered(phone, &receiver.url("/")).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let _stop_at_end = StopAtEnd(Arc::clone(&stop));
    let busy: Vec<_> = (0..BUSY_THREADS)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })
        })
        .collect();
    let talks = phones.iter().enumerate().flat_map(|(n, phone)| {
        (0..CHATS_PER_PHONE).map(move |chat| (phone, format!("4917{n}{chat}")))
    });
    let talks: Vec<_> = talks.collect();
    let talks = talks
        .iter()
        .map(|(phone, chat)| talk(&client, phone, chat, &stop));
    let hand_over = async {
        for _ in 0..ROUNDS {
            let mut second = app.second("deliver");
            settled(&app, 2).await;
            assert_eq!(second.terminate().await, Some(0));
            settled(&app, 1).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (counts, ()) = tokio::join!(futures_util::future::join_all(talks), hand_over);
    for thread in busy {
        thread.join().expect("it does not panic");
    }
    let count: usize = counts.iter().sum();
    at_last("all came", async || receiver.received().len() >= count).await;
    let ids = receiver.ids();
    let found = overtaken(&ids);
    println!(
        "{} of {count} messages were overtaken: {found:?}",
        found.len()
    );
    assert_eq!(ids.len(), count, "none twice");
    assert!(
        found.is_empty(),
        "{} of {count} overtaken: {found:?}",
        found.len()
    );
}
