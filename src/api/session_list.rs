//! The list of a client's sessions.

use axum::{Json, extract::State};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    AppState,
    auth::Caller,
    pages::{ListQuery, Page},
    problem::Problem,
    query::Params,
    sessions::{SessionView, view},
};
use crate::model::{Session, SessionId};

/// Statuses that are read at once.
const READS_AT_ONCE: usize = 16;

/// `GET /api/sessions`: oldest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Caller(client): Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Box<RawValue>>>, Problem> {
    let wanted = query.check(&app.cursor_key, format!("sessions {client}"))?;
    let after = wanted.after.map(|place| SessionId(Uuid::from_u128(place)));
    let sessions = app.bus.sessions();
    let sessions = sessions.page(client, after, wanted.limit + 1).await?;
    let views = sessions.into_iter().map(|session| placed(&app, session));
    let views: Vec<_> = stream::iter(views)
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(Json(wanted.page(views)))
}

/// A session with its place in the list.
async fn placed(app: &AppState, session: Session) -> Result<(u128, SessionView), Problem> {
    Ok((session.id.0.as_u128(), view(app, &session).await?))
}
