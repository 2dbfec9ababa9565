//! What a route asks of a request: a token or the page's cookie, its scope, and known query
//! parameters.

use std::time::{Duration, Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::sleep;
use tracing::Span;

use super::{
    AppState,
    page::{cookie, origin},
    problem::{Code, Problem},
    query,
    server::{Peer, peer_of},
};
use crate::{
    model::{ClientId, Scope, Token, TokenHash},
    telemetry,
};

/// Longer tokens are not even hashed.
pub(super) const TOKEN_BYTES_MAX: usize = 256;
/// How many wrong tokens a peer may send per minute before its answers are delayed.
pub(super) const WRONG_TOKENS_PER_MINUTE: u32 = 60;
/// The delay of each answer beyond that. Answers to valid tokens are never delayed, since the peer
/// may be a proxy with many callers.
const WRONG_TOKEN_DELAY: Duration = Duration::from_secs(1);

/// The client that a request acts for: all it can see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) ClientId);

/// What one route asks of its requests.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) app: AppState,
    pub(super) scope: Scope,
    /// The names of its query parameters.
    pub(super) query: &'static [&'static str],
}

/// Lets a request through when its token has the scope, and notes its client.
pub(super) async fn authorize(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Guard { app, scope, query } = guard;
    let peer = peer_of(&request);
    let Some(token) = token(&app, request.method(), request.headers()).await? else {
        return Ok(refuse(&app, peer).await);
    };
    if !token.scopes.contains(&scope) {
        return Err(Problem::new(
            Code::MissingScope,
            format!("this needs a token with the scope {scope}"),
        ));
    }
    query::check(request.uri().query().unwrap_or_default(), query)?;
    // The span of the request.
    Span::current().record("client.id", token.client_id.get());
    request.extensions_mut().insert(Caller(token.client_id));
    Ok(next.run(request).await)
}

/// The request's token; `None` when it has none that is valid.
pub(super) async fn token(
    app: &AppState,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Token>, Problem> {
    match presented(app, method, headers).await? {
        Some(hash) => valid_token(app, &hash).await,
        None => Ok(None),
    }
}

/// What the request presents: a bearer token, or without one the cookie of the page.
async fn presented(
    app: &AppState,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<TokenHash>, Problem> {
    if headers.contains_key(header::AUTHORIZATION) || !app.settings.page {
        return Ok(bearer(headers).map(TokenHash::of));
    }
    let Some(session) = cookie::session(&app.cursor_key, headers, app.bus.now()) else {
        return Ok(None);
    };
    origin::check(method, headers)?;
    let has_ended = app.bus.has_page_session_ended(session.id).await?;
    Ok((!has_ended).then_some(session.token))
}

/// The token of this hash, if it exists and has not expired.
pub(super) async fn valid_token(
    app: &AppState,
    hash: &TokenHash,
) -> Result<Option<Token>, Problem> {
    let token = app.bus.tokens().get(hash).await?;
    let is_valid = |token: &Token| token.expires_at.is_none_or(|end| end > app.bus.now());
    Ok(token.filter(is_valid))
}

/// The answer to a wrong token. When the peer has sent many, it comes after a delay and ends the
/// connection, so that requests behind it do not keep the connection for as many delays.
pub(super) async fn refuse(app: &AppState, peer: Option<Peer>) -> Response {
    const DETAIL: &str = "send `authorization: Bearer …` with a token from `wahook token create`";
    let allow = |peer: Peer| app.wrong_tokens.check(peer.network(), Instant::now());
    let is_slowed = peer.is_some_and(|peer| allow(peer).is_err());
    telemetry::wrong_token(is_slowed);
    let mut response = Problem::new(Code::Unauthorized, DETAIL).into_response();
    if is_slowed {
        sleep(WRONG_TOKEN_DELAY).await;
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_BYTES_MAX).contains(&token.len()))
        .then_some(token)
}
