//! Parking while the server answers late how full WA_RETRY is.

use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use wahook::bus::Bus;

use super::delivery;
use crate::support::{app::let_pass, nats::NatsServer};

/// What stands before the names of the API's requests for the late bus.
const PREFIX: &str = "LATE.API";
/// Far longer than between two readings.
const LATE_BY: Duration = Duration::from_millis(900);

/// Passes requests on to the server, and is late with answers about WA_RETRY.
async fn pass_on(client: async_nats::Client) {
    let mut requests = client
        .subscribe(format!("{PREFIX}.>"))
        .await
        .expect("subscribes");
    // The server has it before the first request comes.
    client.flush().await.expect("answers");
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            tokio::spawn(answer(client.clone(), request));
        }
    });
}

async fn answer(client: async_nats::Client, request: Message) {
    let name = request.subject.strip_prefix(PREFIX).expect("its prefix");
    let answer = client
        .request(format!("$JS.API{name}"), request.payload.clone())
        .await
        .expect("the server answers");
    if name == ".STREAM.INFO.WA_RETRY" {
        let_pass(LATE_BY).await;
    }
    let reply = request.reply.expect("it waits for an answer");
    client
        .publish(reply, answer.payload)
        .await
        .expect("is sent");
}

#[tokio::test]
async fn retries_are_parked_although_the_server_tells_late_how_full_their_stream_is() {
    let server = NatsServer::start().await;
    server.bus().await;
    pass_on(async_nats::connect(server.url()).await.expect("connects")).await;
    let mut config = server.config();
    config.nats.jetstream_api_prefix = Some(PREFIX.to_owned());
    let late = Bus::connect(&config.nats, &config.bus, "late").await;
    let late = late.expect("connects");
    for number in 1..=3 {
        late.publish_delivery(&delivery(number))
            .await
            .expect("there is room");
    }
    assert_eq!(server.messages("WA_RETRY").await, 3);
}
