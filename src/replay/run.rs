//! One job, from its lease to its end on this node.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::Instrument;

use super::{Error, context::Context, release, resend};
use crate::{
    model::{Job, JobWork},
    telemetry,
};

/// The pause after a failed step; it doubles up to the maximum.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Does a job, unless another node does.
pub(super) async fn take(context: Arc<Context>, job: Job) {
    let kind = if job.is_release() {
        "release"
    } else {
        "replay"
    };
    // At the level error, so that no filter takes it from an error's line.
    let span = tracing::error_span!(
        "job",
        job.id = %job.id,
        job.kind = kind,
        client.id = %job.client_id,
    );
    lead(&context, &job, kind).instrument(span).await;
}

/// Works on the job for as long as this node holds its lease.
async fn lead(context: &Context, job: &Job, kind: &'static str) {
    let name = format!("{kind}.{}.{}", job.client_id, job.id);
    let lease = match context.bus.acquire_lease(&name, &context.node).await {
        Ok(Some(lease)) => lease,
        Ok(None) => return,
        Err(error) => return tracing::warn!(%error, "no lease for a job; it is tried again"),
    };
    let _running = Running::new(kind);
    tokio::select! {
        () = work(context, job) => {}
        // Another node may do the job now, so this one stops at once.
        () = lease.keep() => tracing::warn!("the lease of a job was lost"),
    }
    lease.release().await;
}

/// Until the job is over or this node stops. A step that fails is tried again after a pause.
async fn work(context: &Context, job: &Job) {
    let mut pause = RETRY_PAUSE_MIN;
    while !context.cancel.is_cancelled() {
        match step(context, job).await {
            Ok(()) => return,
            Err(error) => {
                telemetry::error("replay", "job");
                let explanation = error.explanation();
                let error = telemetry::report(&error);
                tracing::warn!(error, "a job waits");
                // Only the owner reads this: a job goes on without it.
                let _ = context
                    .bus
                    .jobs()
                    .change(job, |job| job.error = Some(explanation.to_owned()))
                    .await;
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => {}
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// From where the bucket says it is.
async fn step(context: &Context, job: &Job) -> Result<(), Error> {
    let now = context.now();
    let begun = context.bus.jobs().change(job, |job| {
        if job.state.is_active() {
            job.started_at.get_or_insert(now);
        }
    });
    let Some(job) = begun.await?.filter(|job| job.state.is_active()) else {
        return Ok(());
    };
    match job.work.clone() {
        JobWork::Replay {
            filter,
            rate_per_second,
            ..
        } => resend::run(context, job, &filter, rate_per_second).await,
        JobWork::Release { webhook, phone, .. } => {
            release::run(context, job, webhook, &phone).await
        }
    }
}

/// Counts a job as running, however it ends.
struct Running(&'static str);

impl Running {
    fn new(kind: &'static str) -> Self {
        telemetry::jobs_running(kind, 1);
        Self(kind)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        telemetry::jobs_running(self.0, -1);
    }
}
