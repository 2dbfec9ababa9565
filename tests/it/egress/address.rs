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
use wahook::{config, egress::Lookup, model::Outcome};

use super::{Server, TOTAL, answer_ok, asking, client, names, post, settings, tenant};

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
    let client = client(&settings(false));
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
    let allowed = super::client(&settings(true));
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
        let client = asking(&settings(false), lookup.clone());
        for _ in 0..3 {
            let answer = post(&client, &canary.url("rebind.example")).await;
            // The client is told no more than of a closed port.
            assert_eq!(
                (answer.outcome, answer.cause),
                (Outcome::Connect, Outcome::Blocked)
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
    let client = asking(&settings(false), Arc::new(Silent));
    let answer = post(&client, "http://silent.example/").await;
    assert_eq!(answer.cause, Outcome::Dns);
    assert!(
        answer.latency < TOTAL + Duration::from_millis(300),
        "{:?}",
        answer.latency
    );
}

/// Neither events nor refused media tell a tenant which names its operator's network has.
#[tokio::test]
async fn a_private_name_an_absent_one_and_a_closed_port_read_alike() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let allowed = config::Egress {
        allow_cidrs: vec!["127.0.0.1/32".parse().expect("a range")],
        ..settings(false)
    };
    let lookup = names([
        ("closed.example", "127.0.0.1"),
        ("private.example", "127.0.0.2"),
    ]);
    let client = asking(&allowed, lookup);
    let mut seen = Vec::new();
    for (name, cause) in [
        ("closed.example", Outcome::Connect),
        ("private.example", Outcome::Blocked),
        ("absent.example", Outcome::Dns),
    ] {
        let url = format!("http://{name}:{port}/");
        let answer = post(&client, &url).await;
        assert_eq!(answer.cause, cause, "operators can tell");
        let refused = client.get(tenant(1), &url, 10).await.expect_err("no file");
        assert_eq!(answer.error.as_ref(), Some(&refused));
        seen.push((answer.outcome, answer.error, answer.request_written));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}
