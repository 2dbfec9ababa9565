//! A release: sends held deliveries in order, at the webhook's rate.

use std::time::{Duration, Instant};

use super::{Error, context::Context, pacer::Pacer};
use crate::{
    model::{Job, JobState, JobWork, Phone, WebhookId},
    telemetry,
};

/// How often progress is stored. Nothing depends on it, since what is sent is no longer held.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
const STOPPED: &str = "the webhook takes no deliveries any more; the rest stays held";

/// Works until the job is over or this node stops.
///
/// # Errors
/// Why the job cannot go on now.
pub(super) async fn run(
    context: &Context,
    job: Job,
    webhook: WebhookId,
    phone: &Phone,
) -> Result<(), Error> {
    let jobs = context.bus.jobs();
    let held = context.bus.held_counts(job.client_id, Some(phone)).await?;
    let matched = job
        .matched
        .unwrap_or_else(|| held.get(phone.as_str()).copied().unwrap_or_default());
    let begin = |job: &mut Job| (job.matched, job.state) = (Some(matched), JobState::Running);
    let Some(mut job) = jobs.change(&job, begin).await? else {
        return Ok(());
    };
    loop {
        let seen = request_count(&job);
        match pass(context, &job, webhook, phone).await? {
            Pass::Complete => {
                if jobs.end_release(&job, seen, context.now()).await? {
                    return Ok(());
                }
                let Some(changed) = jobs.change(&job, |_| {}).await? else {
                    return Ok(());
                };
                job = changed;
            }
            Pass::Stopping => return Ok(()),
            Pass::NotActive => {
                let end = |job: &mut Job| {
                    job.error = Some(STOPPED.to_owned());
                    job.end(JobState::Cancelled, context.now());
                };
                jobs.change(&job, end).await?;
                return Ok(());
            }
        }
    }
}

fn request_count(job: &Job) -> u64 {
    match job.work {
        JobWork::Release { request_count, .. } => request_count,
        JobWork::Replay { .. } => 0,
    }
}

/// How one pass over the held deliveries ended.
enum Pass {
    /// All were sent.
    Complete,
    /// This node stops.
    Stopping,
    /// The webhook was paused again, or is deleted.
    NotActive,
}

async fn pass(context: &Context, job: &Job, id: WebhookId, phone: &Phone) -> Result<Pass, Error> {
    let webhooks = context.bus.webhooks();
    let mut reader = context.bus.read_held(job.client_id, phone).await?;
    let mut pacer: Option<Pacer> = None;
    let mut sent = 0;
    let mut dropped = 0;
    let mut stored_at = Instant::now();
    loop {
        let mut held = reader
            .next(batch_len(pacer.as_ref().map_or(1, Pacer::rate)))
            .await?;
        let is_end = held.is_empty();
        while !held.is_empty() {
            let webhook = webhooks
                .by_id(job.client_id, id)
                .await?
                .filter(|webhook| webhook.takes_deliveries());
            let Some(webhook) = webhook else {
                store_progress(context, job, &mut sent, &mut dropped).await?;
                return Ok(Pass::NotActive);
            };
            if context.cancel.is_cancelled() {
                store_progress(context, job, &mut sent, &mut dropped).await?;
                return Ok(Pass::Stopping);
            }
            if context.bus.is_full_of_retries(job.client_id).await? {
                store_progress(context, job, &mut sent, &mut dropped).await?;
                return Err(Error::Quota);
            }
            let pacer = pacer.get_or_insert_with(|| Pacer::new(webhook.rate_per_second));
            pacer.set(webhook.rate_per_second);
            let chunk = pacer.next().await.min(held.len());
            let rest = held.split_off(chunk);
            let released = context.bus.release(job.client_id, phone, id, &held).await?;
            sent += released;
            dropped += held.len() as u64 - released;
            held = rest;
        }
        if is_end || stored_at.elapsed() >= PROGRESS_INTERVAL {
            store_progress(context, job, &mut sent, &mut dropped).await?;
            stored_at = Instant::now();
        }
        if is_end {
            return Ok(Pass::Complete);
        }
    }
}

/// How many deliveries are read at once: ten seconds' work, since the server ends a reader that
/// does not ask for long.
fn batch_len(rate: u32) -> usize {
    rate.saturating_mul(10).clamp(10, 256) as usize
}

async fn store_progress(
    context: &Context,
    job: &Job,
    sent: &mut u64,
    dropped: &mut u64,
) -> Result<(), Error> {
    telemetry::job_events("release", "sent", *sent);
    telemetry::job_events("release", "skipped", *dropped);
    let more = std::mem::take(sent);
    let skipped = std::mem::take(dropped);
    let change = |job: &mut Job| {
        job.sent += more;
        job.skipped += skipped;
        job.error = None;
    };
    context.bus.jobs().change(job, change).await?;
    Ok(())
}
