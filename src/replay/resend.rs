//! A replay: reads events from the store and puts them into the retry stream.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    EVENTS_MAX, Error, Page, Scan,
    context::Context,
    count,
    pacer::{Pacer, page, replay_rate},
    window::Window,
};
use crate::{
    model::{Delivery, Event, EventId, Job, JobCursor, JobFilter, JobState, JobWork, Priority},
    telemetry,
};

/// The rate until the webhook's own is known.
const FIRST_RATE_PER_SECOND: u32 = 10;

/// Works until the job is over or this node stops.
///
/// # Errors
/// Why the job cannot go on now.
pub(super) async fn run(
    context: &Context,
    job: Job,
    filter: &JobFilter,
    rate: u32,
) -> Result<(), Error> {
    let Some(mut job) = counted(context, job, filter).await? else {
        return Ok(());
    };
    // Small pages until a webhook's own rate is known.
    let mut pacer = Pacer::new(rate.min(FIRST_RATE_PER_SECOND));
    let mut scan = scan(context, &job, filter, place_of(&job)).await?;
    let mut window = Window::default();
    while !context.cancel.is_cancelled() {
        if !window.room(context, &job).await? {
            return cancelled(context, &job).await;
        }
        let Some(mut page) = scan.next(page(pacer.rate())).await? else {
            let jobs = context.bus.jobs();
            jobs.change(&job, |job| job.end(JobState::Done, context.now()))
                .await?;
            return Ok(());
        };
        let webhook = context
            .bus
            .webhooks()
            .by_id(job.client_id, page.webhook)
            .await?;
        let webhook = webhook.filter(|webhook| webhook.takes_deliveries());
        let found = page.events.len();
        page.events.retain(|event| {
            webhook
                .as_ref()
                .is_some_and(|webhook| webhook.wants(&event.last().delivery.kind))
                && !event.last().delivery.is_cut()
        });
        let skipped = found - page.events.len();
        if let Some(webhook) = webhook {
            pacer.set(replay_rate(rate, webhook.rate_per_second));
        }
        let done = send(context, &job, &page, &mut pacer).await?;
        window.add(&page, done);
        telemetry::job_events("replay", "sent", done as u64);
        telemetry::job_events("replay", "skipped", skipped as u64);
        let place = place_after(&page, done);
        let changed = context.bus.jobs().change(&job, |job| {
            job.sent += done as u64;
            job.skipped += skipped as u64;
            job.error = None;
            set_place(job, place);
            if job.cancel_requested && job.state.is_active() {
                job.end(JobState::Cancelled, context.now());
            }
        });
        match changed.await? {
            Some(changed) if changed.state.is_active() => job = changed,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Ends the job if its owner wants that; otherwise this node stops.
async fn cancelled(context: &Context, job: &Job) -> Result<(), Error> {
    let end = |job: &mut Job| {
        if job.cancel_requested && job.state.is_active() {
            job.end(JobState::Cancelled, context.now());
        }
    };
    context.bus.jobs().change(job, end).await?;
    Ok(())
}

async fn scan(
    context: &Context,
    job: &Job,
    filter: &JobFilter,
    place: Option<JobCursor>,
) -> Result<Scan, Error> {
    Scan::new(
        &context.bus,
        Arc::clone(&context.store),
        job.client_id,
        filter.clone(),
        place,
    )
    .await
}

/// The job with the number of events that match; `None` when it is over already.
async fn counted(context: &Context, job: Job, filter: &JobFilter) -> Result<Option<Job>, Error> {
    let jobs = context.bus.jobs();
    let counted = match job.matched {
        Some(matched) => Some(matched),
        None => {
            jobs.change(&job, |job| job.state = JobState::Counting)
                .await?;
            let count = count(scan(context, &job, filter, None).await?, EVENTS_MAX, None).await?;
            count.is_complete.then_some(count.matched)
        }
    };
    let changed = jobs.change(&job, |job| {
        job.error = None;
        match counted {
            _ if job.cancel_requested => job.end(JobState::Cancelled, context.now()),
            Some(matched) => (job.matched, job.state) = (Some(matched), JobState::Running),
            None => {
                job.error = Some(format!(
                    "more than {EVENTS_MAX} events match: ask for fewer, by time or webhook"
                ));
                job.end(JobState::Failed, context.now());
            }
        }
    });
    Ok(changed.await?.filter(|job| job.state == JobState::Running))
}

/// How many of the page went out; fewer than all when this node stops.
async fn send(
    context: &Context,
    job: &Job,
    page: &Page,
    pacer: &mut Pacer,
) -> Result<usize, Error> {
    let again = |event: &Event| {
        event
            .last()
            .delivery
            .for_new_round(event.last().number, Priority::Low)
    };
    let mut left: Vec<Delivery> = page.events.iter().map(again).collect();
    let all = left.len();
    while !left.is_empty() && !context.cancel.is_cancelled() {
        let chunk = pacer.next().await.min(left.len());
        let rest = left.split_off(chunk);
        if context.bus.used_up(job.client_id).await?.is_some() {
            return Err(Error::Quota);
        }
        context.bus.publish_again(job.id, &left).await?;
        left = rest;
    }
    Ok(all - left.len())
}

/// Where to go on once the first `done` events of a page are done.
fn place_after(page: &Page, done: usize) -> JobCursor {
    if done >= page.events.len() {
        return page.place;
    }
    let last = done.checked_sub(1).and_then(|last| page.events.get(last));
    // None of them: again with this page. Those before it are newer than its first event.
    let first = page
        .events
        .first()
        .map(|event| just_before(event.last().delivery.event_id));
    let after = last.map(|event| event.last().delivery.event_id).or(first);
    JobCursor {
        webhook: page.webhook,
        after,
        is_done: false,
    }
}

/// The place from which this event comes next.
fn just_before(event: EventId) -> EventId {
    EventId(Uuid::from_u128(event.0.as_u128().saturating_add(1)))
}

fn place_of(job: &Job) -> Option<JobCursor> {
    match job.work {
        JobWork::Replay { place, .. } => place,
        JobWork::Release { .. } => None,
    }
}

fn set_place(job: &mut Job, to: JobCursor) {
    if let JobWork::Replay { place, .. } = &mut job.work {
        *place = Some(to);
    }
}
