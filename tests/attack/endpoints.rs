//! Attacks of an endpoint, whose owner is a tenant like any other.

use serde_json::json;

use crate::{
    endpoint::{Endpoint, Manner},
    lab,
};

/// Requests that one endpoint has at once.
const AT_ONCE: usize = 16;

async fn misbehaving(name: &'static str, manner: Manner) {
    let endpoint = Endpoint::start(manner).await;
    let settings = json!({
        "in_flight": 64, "rate_per_second": 1000, "burst": 1000, "retry_schedule": vec![1; 20],
    });
    lab::flood(name, endpoint.url(), settings, AT_ONCE, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_without_end() {
    misbehaving("interim answers without end", Manner::InterimFlood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips() {
    misbehaving("a body that drips", Manner::Drip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end() {
    misbehaving("a head without end", Manner::EndlessHead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end() {
    misbehaving("a body without end", Manner::EndlessBody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_close() {
    misbehaving("connections that close", Manner::Close).await;
}
