//! The page at `/`: files that are compiled in, and sign-in.
//!
//! The page is a client of the API like any other. What it adds is a way to present a token:
//! signing in turns the token into a cookie ([`cookie`]) that scripts cannot read, and
//! [`super::auth`] takes that cookie as it takes the token itself, with the same scopes. A browser
//! sends cookies by itself, so a request with the cookie alone counts only when it came from the
//! page ([`origin`]).
//!
//! The sources are in `web/`; `web/build.sh` puts the built files into `assets/`, where they are
//! committed, so that nobody needs Node.js to build wahook ([ADR
//! 17](../../../docs/adr/0017-a-page-in-the-binary.md)).

pub(super) mod cookie;
mod files;
pub(super) mod origin;
mod session;

use axum::{
    Router,
    routing::{get, post},
};

use super::AppState;

/// The page's files, and sign-in and sign-out. None of these asks for a scope.
pub(super) fn router() -> Router<AppState> {
    let session = post(session::sign_in)
        .get(session::show)
        .delete(session::sign_out);
    Router::new()
        .route("/", get(files::index))
        .route("/page/{file}", get(files::file))
        .route("/api/page/session", session)
}
