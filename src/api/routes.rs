//! The one list of routes.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use super::{
    AppState,
    auth::{Guard, authorize},
    backfill, chats, contacts, dead_letters, events, media, messages, notices, page,
    problem::{Code, Problem},
    quotas, replays,
    request_context::request_context,
    send, session_list, sessions, stats, webhooks,
};
use crate::model::Scope::{
    self, EventsRead, EventsWrite, MessagesSend, MessagesWrite, SessionsRead, SessionsWrite,
    WebhooksRead, WebhooksWrite,
};

/// The query parameters of a list without filters.
const PAGED: &[&str] = &["limit", "cursor"];

/// The query parameter that names a session.
const SESSION: &[&str] = &["session_id"];

struct Route {
    method: &'static str,
    path: &'static str,
    scope: Scope,
    handler: MethodRouter<AppState>,
    /// The names of its query parameters.
    query: &'static [&'static str],
}

impl Route {
    /// The same with these query parameters.
    fn with_query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
}

fn route(
    method: &'static str,
    path: &'static str,
    scope: Scope,
    handler: MethodRouter<AppState>,
) -> Route {
    Route {
        method,
        path,
        scope,
        handler,
        query: &[],
    }
}

fn table() -> Vec<Route> {
    let groups = [
        webhook_routes(),
        operational_routes(),
        event_routes(),
        replay_routes(),
        message_routes(),
        session_routes(),
    ];
    groups.into_iter().flatten().collect()
}

fn webhook_routes() -> Vec<Route> {
    vec![
        route(
            "POST",
            "/api/webhooks/register",
            WebhooksWrite,
            post(webhooks::register),
        ),
        route(
            "GET",
            "/api/webhooks/list",
            WebhooksRead,
            get(webhooks::list::list),
        )
        .with_query(PAGED),
        route(
            "GET",
            "/api/webhooks/{webhook_id}",
            WebhooksRead,
            get(webhooks::get),
        ),
        route(
            "PATCH",
            "/api/webhooks/{webhook_id}",
            WebhooksWrite,
            patch(webhooks::patch),
        ),
        route(
            "DELETE",
            "/api/webhooks/{webhook_id}",
            WebhooksWrite,
            delete(webhooks::delete),
        ),
        route(
            "POST",
            "/api/webhooks/{webhook_id}/rotate-secret",
            WebhooksWrite,
            post(webhooks::rotate_secret),
        ),
        route(
            "POST",
            "/api/webhooks/{webhook_id}/test",
            EventsWrite,
            post(webhooks::test),
        ),
    ]
}

fn operational_routes() -> Vec<Route> {
    vec![
        route("GET", "/api/usage", WebhooksRead, get(quotas::get)),
        route(
            "PUT",
            "/api/operational-webhook",
            WebhooksWrite,
            put(notices::put),
        ),
        route(
            "GET",
            "/api/operational-webhook",
            WebhooksRead,
            get(notices::get),
        ),
        route(
            "DELETE",
            "/api/operational-webhook",
            WebhooksWrite,
            delete(notices::delete),
        ),
    ]
}

fn event_routes() -> Vec<Route> {
    vec![
        route(
            "GET",
            "/api/webhooks/{webhook_id}/events",
            EventsRead,
            get(events::list),
        )
        .with_query(&["status", "since", "until", "limit", "cursor", "include"]),
        route(
            "GET",
            "/api/webhooks/{webhook_id}/stats",
            EventsRead,
            get(stats::get),
        )
        .with_query(&["since", "until"]),
        route(
            "GET",
            "/api/webhooks/events/{event_id}",
            EventsRead,
            get(events::get),
        ),
        route(
            "POST",
            "/api/webhooks/events/{event_id}/retry",
            EventsWrite,
            post(events::retry),
        ),
        route(
            "GET",
            "/api/dead-letters",
            EventsRead,
            get(dead_letters::list),
        )
        .with_query(&[
            "webhook_id",
            "type",
            "since",
            "until",
            "limit",
            "cursor",
            "include",
        ]),
        route(
            "GET",
            "/api/dead-letters/{event_id}",
            EventsRead,
            get(dead_letters::get),
        ),
    ]
}

fn replay_routes() -> Vec<Route> {
    vec![
        route(
            "POST",
            "/api/webhooks/{webhook_id}/replay",
            EventsWrite,
            post(replays::create_for),
        ),
        route("POST", "/api/replays", EventsWrite, post(replays::create)),
        route("GET", "/api/replays", EventsRead, get(replays::list)).with_query(PAGED),
        route(
            "GET",
            "/api/replays/{replay_id}",
            EventsRead,
            get(replays::get),
        ),
        route(
            "POST",
            "/api/replays/{replay_id}/cancel",
            EventsWrite,
            post(replays::cancel),
        ),
    ]
}

fn message_routes() -> Vec<Route> {
    vec![
        route(
            "POST",
            "/api/messages",
            MessagesWrite,
            post(messages::publish),
        ),
        route("POST", "/api/messages/send", MessagesSend, post(send::send)),
        route("GET", "/api/media/{media_id}", EventsRead, get(media::get)),
        route("POST", "/api/chats/read", MessagesSend, post(chats::read)),
        route(
            "POST",
            "/api/chats/typing",
            MessagesSend,
            post(chats::typing),
        ),
        route(
            "GET",
            "/api/contacts/{phone_number}",
            MessagesSend,
            get(contacts::by_number),
        )
        .with_query(SESSION),
        route(
            "GET",
            "/api/contacts/lid/{lid}",
            MessagesSend,
            get(contacts::by_lid),
        )
        .with_query(SESSION),
    ]
}

fn session_routes() -> Vec<Route> {
    vec![
        route(
            "POST",
            "/api/sessions",
            SessionsWrite,
            post(sessions::create),
        ),
        route(
            "GET",
            "/api/sessions",
            SessionsRead,
            get(session_list::list),
        )
        .with_query(PAGED),
        route(
            "GET",
            "/api/sessions/{session_id}",
            SessionsRead,
            get(sessions::get),
        ),
        route(
            "DELETE",
            "/api/sessions/{session_id}",
            SessionsWrite,
            delete(sessions::delete),
        ),
        route(
            "POST",
            "/api/sessions/{session_id}/restart",
            SessionsWrite,
            post(sessions::restart),
        ),
        route(
            "POST",
            "/api/sessions/{session_id}/backfill",
            SessionsWrite,
            post(backfill::start),
        ),
        route(
            "GET",
            "/api/sessions/{session_id}/qr",
            SessionsWrite,
            get(sessions::qr),
        )
        .with_query(&["format"]),
        route(
            "POST",
            "/api/sessions/{session_id}/pair-code",
            SessionsWrite,
            post(sessions::pair_code),
        ),
    ]
}

/// Every route: its method, its path with `{webhook_id}`, `{event_id}`, `{session_id}`,
/// `{replay_id}`, `{media_id}`, `{phone_number}` or `{lid}`, and the scope it asks for.
pub fn routes() -> Vec<(String, String, Scope)> {
    table()
        .into_iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned(), route.scope))
        .collect()
}

/// The admin API.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for Route {
        path,
        scope,
        handler,
        query,
        ..
    } in table()
    {
        let app = app.clone();
        let guard = Guard { app, scope, query };
        // A layer per route: none can be without its scope.
        let handler = handler.route_layer(from_fn_with_state(guard, authorize));
        router = router.route(path, handler);
    }
    if app.settings.page {
        router = router.merge(page::router());
    }
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::new(
                Code::MethodNotAllowed,
                "see the allow header, and docs/api.md",
            )
        })
        .layer(DefaultBodyLimit::max(app.settings.body_bytes_max))
        .layer(from_fn_with_state(
            Arc::clone(&app.settings),
            request_context,
        ))
        .with_state(app)
}
