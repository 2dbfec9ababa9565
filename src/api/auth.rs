//! The client and the scope of a request's token.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use tracing::Span;

use super::{
    AppState,
    clock::now,
    problem::{Code, Problem},
};
use crate::model::{ClientId, Scope, TokenHash};

/// Longer tokens are not even hashed.
const TOKEN_BYTES_MAX: usize = 256;

/// The client that a request acts for: all it can see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) ClientId);

/// Lets a request through when its token has the scope, and notes its client.
pub(super) async fn authorize(
    State((app, scope)): State<(AppState, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    const UNAUTHORIZED: &str =
        "send `authorization: Bearer …` with a token from `wahook token create`";
    let unauthorized = || Problem::new(Code::Unauthorized, UNAUTHORIZED);
    let text = bearer(request.headers()).ok_or_else(unauthorized)?;
    let token = app
        .bus
        .tokens()
        .get(&TokenHash::of(text))
        .await?
        .ok_or_else(unauthorized)?;
    if token.expires_at.is_some_and(|end| end <= now()) {
        return Err(unauthorized());
    }
    if !token.scopes.contains(&scope) {
        return Err(Problem::new(
            Code::MissingScope,
            format!("this needs a token with the scope {scope}"),
        ));
    }
    // The span of the request.
    Span::current().record("client.id", token.client_id.get());
    request.extensions_mut().insert(Caller(token.client_id));
    Ok(next.run(request).await)
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
