//! Pages of lists.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pages with bodies that are in memory at the same time, until their callers have read them. Each
/// has some megabytes.
const BODY_PAGES_MAX: usize = 16;

/// A page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
    pub(super) has_more: bool,
}

impl<T> Page<T> {
    /// A list that fits on one page.
    pub(super) fn whole(data: Vec<T>) -> Self {
        Self {
            data,
            next_cursor: None,
            has_more: false,
        }
    }
}

/// Whether a list shows what the messages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Shown,
    LeftOut,
}

/// Places for pages with bodies.
#[derive(Clone)]
pub(super) struct BodyPages(Arc<Semaphore>);

impl Default for BodyPages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODY_PAGES_MAX)))
    }
}

impl BodyPages {
    /// Waits for a place. Pages without bodies are small and need none.
    pub(super) async fn permit(&self, bodies: Bodies) -> Option<OwnedSemaphorePermit> {
        if bodies == Bodies::LeftOut {
            return None;
        }
        let permit = Arc::clone(&self.0).acquire_owned().await;
        Some(permit.expect("the semaphore is never closed"))
    }
}

/// The page as an answer. The place is free once the caller has read it, or its connection ends.
pub(super) fn answer<T: Serialize>(
    page: &Page<T>,
    permit: Option<OwnedSemaphorePermit>,
) -> Response {
    let response = Json(page).into_response();
    let Some(permit) = permit else {
        return response;
    };
    response.map(|body| {
        let pieces = body.into_data_stream().inspect(move |_| {
            let _held = &permit;
        });
        Body::from_stream(pieces)
    })
}
