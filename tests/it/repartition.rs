//! Another number of partitions.

use serde_json::Value;

use crate::support::{
    app::{App, Client, eventually},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_partitions_changes_only_while_nobody_runs_and_nothing_waits() {
    let mut app = App::playing("api,deliver,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(app.nats.consumers("WA_MSG").await, 8);

    let three = [("BUS__PARTITIONS", "3".to_owned())];
    let refused = async |app: &App, why: &str| {
        let (code, _, said) = app.attempt(&["bus", "apply"], &three).await;
        assert_eq!(code, Some(1));
        assert!(
            said.contains("the streams have 8 partitions and bus.partitions is 3")
                && said.contains(why),
            "{said}"
        );
    };
    refused(&app, "delivers").await;
    assert_eq!(app.terminate().await, Some(0));
    let mut api = app.second("api");
    api.ready().await;
    client.publish(PHONE, "M2").await;
    assert_eq!(api.terminate().await, Some(0));
    refused(&app, "WA_MSG has 1 messages").await;
    // Nor does a node run that would look for messages elsewhere.
    let (code, _, said) = app.attempt(&["serve", "--roles", "deliver"], &three).await;
    assert!(
        code == Some(1) && said.contains("stream WA_MSG: bus.partitions is 8, declared 3"),
        "{said}"
    );
    assert_eq!(app.nats.consumers("WA_MSG").await, 8);
    app.restart().await;
    client.event_when(&webhook, "M2", "delivered").await;
    assert_eq!(app.terminate().await, Some(0));

    for (count, change) in [("3", "from 8 to 3"), ("12", "from 3 to 12")] {
        changes(&app, &client, &receiver, count, change).await;
    }
}

/// The number of partitions becomes `count`, and messages go through all of them.
async fn changes(app: &App, client: &Client, receiver: &Receiver, count: &str, change: &str) {
    let more = [("BUS__PARTITIONS", count.to_owned())];
    // What the node acknowledged last may be on its way.
    let said = eventually("the streams are empty", async || {
        let (code, said, _) = app.attempt(&["bus", "apply"], &more).await;
        (code == Some(0)).then_some(said)
    })
    .await;
    assert!(
        said.contains(&format!("updated number of partitions {change}\n")),
        "{said}"
    );
    let (code, said, _) = app.attempt(&["bus", "check"], &more).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "the streams are as declared\n")
    );
    let counted = [
        app.nats.consumers("WA_MSG").await,
        app.nats.consumers("WA_RETRY").await,
    ];
    assert_eq!(
        counted.map(|consumers| consumers.to_string()),
        [count, count]
    );
    // What an operator sees is what the streams have, whatever the settings say.
    let shown: Value =
        serde_json::from_str(&app.command(&["partitions", "--json"]).await).expect("JSON");
    assert_eq!(
        shown.as_array().map(|all| all.len().to_string()).as_deref(),
        Some(count)
    );
    let mut node = app.second_with("api,deliver,record", &[("BUS__PARTITIONS", count)]);
    node.ready().await;
    for number in 0..20 {
        let phone = format!("491510000{count:0>2}{number:02}");
        let webhook = client.register(&phone, &receiver.url("/")).await;
        client.publish(&phone, "M1").await;
        client.event_when(&webhook, "M1", "delivered").await;
    }
    assert_eq!(node.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_published_while_the_partitions_change_are_delivered() {
    let mut app = App::playing("api,deliver,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let phone = |number: usize| format!("49151000001{:02}", number % 12);
    for number in 0..12 {
        client.register(&phone(number), &receiver.url("/")).await;
    }
    assert_eq!(app.terminate().await, Some(0));
    let mut api = app.second("api");
    api.ready().await;
    let publish = async {
        for number in 0..150 {
            client.publish(&phone(number), &format!("M{number}")).await;
        }
    };
    let apply = async {
        for _ in 0..3 {
            app.attempt(&["bus", "apply"], &[("BUS__PARTITIONS", "3".to_owned())])
                .await;
        }
    };
    tokio::join!(apply, publish);
    assert_eq!(api.terminate().await, Some(0));
    // Whether the change was made depends on who came first.
    let shown: Value =
        serde_json::from_str(&app.command(&["partitions", "--json"]).await).expect("JSON");
    let count = shown.as_array().expect("a list").len().to_string();
    assert!(["3", "8"].contains(&count.as_str()), "{count}");
    let mut node = app.second_with("api,deliver,record", &[("BUS__PARTITIONS", &count)]);
    node.ready().await;
    receiver.wait_for(150).await;
    app.settled().await;
    assert_eq!(receiver.received().len(), 150);
}
