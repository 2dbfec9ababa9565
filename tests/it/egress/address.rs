//! Which addresses are called.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use wahook::{
    egress::{Client, Lookup},
    model::Outcome,
};

use super::{Server, TOTAL, answer_ok, post, settings};

/// A resolver that answers with the next of its answers, the last one for ever.
struct Answers {
    all: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Lookup for Answers {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.all[turn.min(self.all.len() - 1)].clone())
    }
}

#[tokio::test]
async fn no_spelling_of_a_private_address_reaches_a_socket() {
    let canary = Server::start(answer_ok).await;
    let client = Client::new(&settings(false), TOTAL).expect("a client");
    let hosts = [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
        "localhost",
        "169.254.169.254",
        "①②⑦.0.0.1",
        "a.localhost",
        "LOCALHOST.",
    ];
    for host in hosts {
        let answer = post(&client, &canary.url(host)).await;
        assert_eq!(
            (answer.outcome, answer.http_status),
            (Outcome::Blocked, None),
            "{host}"
        );
        assert!(!answer.request_written);
    }
    assert_eq!(canary.connections(), 0);
    // The canary can be reached, by a client that may: the test can fail.
    let allowed = Client::new(&settings(true), TOTAL).expect("a client");
    assert_eq!(
        post(&allowed, &canary.url("127.0.0.1")).await.outcome,
        Outcome::Ok
    );
    assert_eq!(canary.connections(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_reaches_no_private_address() {
    let canary = Server::start(answer_ok).await;
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    // 192.0.2.0/24 is forbidden too, so the public half of an answer is one that nothing listens
    // on.
    let public: IpAddr = "8.8.8.8".parse().expect("an address");
    for all in [
        vec![vec![local]],
        vec![vec![public, local]],
        vec![vec![local, public]],
    ] {
        let lookup = Arc::new(Answers {
            all,
            asked: AtomicUsize::new(0),
        });
        let client =
            Client::with_lookup(&settings(false), TOTAL, lookup.clone()).expect("a client");
        for _ in 0..3 {
            assert_eq!(
                post(&client, &canary.url("rebind.example")).await.outcome,
                Outcome::Blocked
            );
        }
        assert!(
            lookup.asked.load(Ordering::SeqCst) >= 3,
            "each request is judged again"
        );
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_resolver_that_never_answers_is_given_up() {
    struct Silent;
    #[async_trait]
    impl Lookup for Silent {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }
    let client = Client::with_lookup(&settings(false), TOTAL, Arc::new(Silent)).expect("a client");
    let answer = post(&client, "http://silent.example/").await;
    assert_eq!(answer.outcome, Outcome::Dns);
    assert!(
        answer.latency < TOTAL + Duration::from_millis(300),
        "{:?}",
        answer.latency
    );
}
