//! The listener for people and probes: nothing of it needs a token, so it is bound to loopback by
//! default.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use serde_json::json;

use crate::telemetry::Metrics;

/// Asks for all conditions of readiness: their names, and why they are not met.
pub type Readiness = Arc<dyn Fn() -> Vec<(String, Result<(), String>)> + Send + Sync>;

/// `/livez` `/readyz` `/metrics` `/version`.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        // That this is answered at all is the proof: no dependency may restart the fleet.
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(async move || metrics.render()))
        .route(
            "/version",
            get(async || Json(json!({"name": "wahook", "version": env!("CARGO_PKG_VERSION")}))),
        )
}

/// The status decides; `?verbose` adds a line per condition. What is not met is always named.
async fn readyz(
    State(readiness): State<Readiness>,
    Query(query): Query<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let mut text = String::new();
    let mut ready = true;
    for (name, condition) in readiness() {
        match condition {
            Ok(()) if query.contains_key("verbose") => _ = writeln!(text, "{name}: ok"),
            Ok(()) => {}
            Err(why) => {
                ready = false;
                _ = writeln!(text, "{name}: {why}");
            }
        }
    }
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    (status, format!("{text}{word}\n"))
}
