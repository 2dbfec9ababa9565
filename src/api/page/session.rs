//! Signing in with a token, and signing out.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    super::{
        AppState,
        auth::{self, TOKEN_BYTES_MAX},
        body::Body,
        problem::Problem,
        server::peer_of,
    },
    cookie::{self, PageSession, SESSION_MAX},
    origin,
};
use crate::model::{ClientId, Scope, Timestamp, Token, TokenHash};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// Who is signed in, and what the token may do.
#[derive(Serialize)]
pub(super) struct SessionView {
    client_id: ClientId,
    name: String,
    scopes: Vec<Scope>,
    /// When the token expires, if ever.
    token_expires_at: Option<String>,
}

impl From<Token> for SessionView {
    fn from(token: Token) -> Self {
        Self {
            client_id: token.client_id,
            name: token.name,
            scopes: token.scopes,
            token_expires_at: token.expires_at.map(|end| end.to_string()),
        }
    }
}

/// `POST /api/page/session`: checks a token, and answers with the cookie that stands for it.
pub(super) async fn sign_in(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let peer = peer_of(&request);
    origin::check(request.method(), request.headers())?;
    let transport = origin::transport(request.headers());
    let Body(SignIn { token: text }) = Body::from_request(request, &app).await?;
    let text = text.trim();
    let hash = (text.len() <= TOKEN_BYTES_MAX).then(|| TokenHash::of(text));
    let token = match &hash {
        Some(hash) => auth::valid_token(&app, hash).await?,
        None => None,
    };
    let Some((hash, token)) = hash.zip(token) else {
        return Ok(auth::refuse(&app, peer).await);
    };

    let now = app.bus.now();
    let ends_at = end(&token, now);
    let session = PageSession {
        token: hash,
        id: Uuid::now_v7(),
        ends_at,
    };
    let sealed = session.seal(&app.cursor_key, token.client_id);
    let cookie = cookie::set(&sealed, ends_at.since(now), transport);
    let headers = [(header::SET_COOKIE, cookie)];
    Ok((headers, not_stored(), Json(SessionView::from(token))).into_response())
}

/// A session never outlives its token.
fn end(token: &Token, now: Timestamp) -> Timestamp {
    let longest = now.after(SESSION_MAX);
    token.expires_at.map_or(longest, |end| end.min(longest))
}

/// `GET /api/page/session`: whose token the request has.
pub(super) async fn show(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let peer = peer_of(&request);
    let token = auth::token(&app, request.method(), request.headers()).await?;
    Ok(match token {
        Some(token) => (not_stored(), Json(SessionView::from(token))).into_response(),
        None => auth::refuse(&app, peer).await,
    })
}

/// `DELETE /api/page/session`: the cookie is taken away, and no copy of it counts any more.
pub(super) async fn sign_out(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    origin::check(request.method(), request.headers())?;
    let session = cookie::session(&app.cursor_key, request.headers(), app.bus.now());
    if let Some(session) = session {
        app.bus.end_page_session(session.id).await?;
    }
    let mut headers = HeaderMap::new();
    for cookie in cookie::take_away() {
        headers.append(header::SET_COOKIE, cookie);
    }
    Ok((StatusCode::NO_CONTENT, headers, not_stored()).into_response())
}

fn not_stored() -> [(header::HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}
