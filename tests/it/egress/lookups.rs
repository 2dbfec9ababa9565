//! Look-ups, shared out by client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::future::join_all;
use wahook::{
    egress::{Lookup, NotMade},
    model::Outcome,
};

use super::{Server, answer_ok, asking, settings, tenant, try_post};

/// The name servers of `….hang.example` never answer.
#[derive(Default)]
struct Hanging {
    asked: AtomicUsize,
}

#[async_trait]
impl Lookup for Hanging {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host.ends_with(".hang.example") {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

#[tokio::test]
async fn hanging_name_servers_of_one_client_cost_no_other_client_an_attempt() {
    let server = Server::start(answer_ok).await;
    let hanging = Arc::new(Hanging::default());
    let client = asking(&settings(true), hanging.clone());
    let urls: Vec<String> = (0..200)
        .map(|number| format!("http://{number}.hang.example/"))
        .collect();
    let posts = join_all(urls.iter().map(|url| try_post(&client, tenant(1), url)));
    let other = async {
        let mut answers = Vec::new();
        for number in 0..50 {
            let url = server.url(&format!("{number}.example"));
            answers.push(try_post(&client, tenant(2), &url).await);
        }
        answers
    };
    let (stuck, others) = tokio::join!(posts, other);
    for answer in others {
        assert_eq!(answer.expect("is made").outcome, Outcome::Ok);
    }
    // Those that asked failed; those that found no place made no attempt.
    let asked = hanging.asked.load(Ordering::SeqCst);
    assert_eq!(asked, 16, "a quarter of the places");
    let failed = stuck.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(failed, asked);
    for answer in stuck {
        match answer {
            Ok(answer) => assert_eq!(answer.cause, Outcome::Dns),
            Err(why) => assert_eq!(why, NotMade::Lookups),
        }
    }
    // Nobody waits for them any more, but they hang still: they keep their places.
    let again = try_post(&client, tenant(1), "http://new.hang.example/").await;
    assert_eq!(again.expect_err("no place"), NotMade::Lookups);
    assert_eq!(hanging.asked.load(Ordering::SeqCst), asked);
}
