use uuid::Uuid;

use super::*;
use crate::model::{EventStatus, JobFilter, JobWork, Timestamp, WebhookId};

fn client(id: u64) -> ClientId {
    ClientId::try_from(id).expect("in range")
}

fn replay(client_id: u64, id: u128, at: i64) -> Job {
    let filter = JobFilter {
        webhook: None,
        status: EventStatus::Failed,
        kind: None,
        since: None,
        until: Timestamp::from_millis(at),
    };
    let work = JobWork::Replay {
        filter,
        rate_per_second: 1,
        place: None,
    };
    Job::new(
        JobId(Uuid::from_u128(id)),
        client(client_id),
        work,
        Timestamp::from_millis(at),
    )
}

fn release(client_id: u64, id: u128, at: i64) -> Job {
    let phone = "4915112345678".parse().expect("valid");
    let work = JobWork::Release {
        webhook: WebhookId(Uuid::from_u128(id)),
        phone,
        request_count: 1,
    };
    Job::new(
        JobId(Uuid::from_u128(id)),
        client(client_id),
        work,
        Timestamp::from_millis(at),
    )
}

#[test]
fn a_clients_replays_go_one_by_one_and_releases_wait_for_nobody() {
    let now = Instant::now();
    let jobs = [
        replay(1, 10, 2),
        replay(1, 11, 1),
        replay(2, 12, 3),
        release(1, 13, 4),
        release(1, 14, 0),
    ];
    let mut active: HashMap<Key, (Job, Option<Instant>)> = jobs
        .into_iter()
        .map(|job| ((job.client_id, job.id), (job, None)))
        .collect();
    let ids =
        |keys: Vec<Key>| -> Vec<u128> { keys.into_iter().map(|(_, id)| id.0.as_u128()).collect() };
    let none = Busy::default();
    assert_eq!(
        ids(due(&active, &none, now, 9)),
        [14, 11, 12, 13],
        "the oldest first, one replay per client"
    );
    assert_eq!(
        ids(due(&active, &none, now, 1)),
        [14, 11],
        "one place for each kind"
    );
    let running = |ids: &[u128], work| {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| ((client(9), JobId(Uuid::from_u128(*id))), work))
            .collect();
        Busy::new(keys.into_iter())
    };
    let replays = running(&[1, 2], Work::Replay);
    assert_eq!(
        ids(due(&active, &replays, now, 2)),
        [14, 13],
        "releases do not wait behind replays"
    );
    let releases = running(&[1, 2], Work::Release);
    assert_eq!(ids(due(&active, &releases, now, 2)), [11, 12]);

    // The first replay runs here, or was just tried: the second one waits all the same.
    let first = (client(1), JobId(Uuid::from_u128(11)));
    assert_eq!(
        ids(due(
            &active,
            &Busy::new([(first, Work::Replay)].into_iter()),
            now,
            9
        )),
        [14, 12, 13]
    );
    active.get_mut(&first).expect("is there").1 = Some(now);
    assert_eq!(ids(due(&active, &none, now, 9)), [14, 12, 13]);
    assert_eq!(
        ids(due(&active, &none, now + RETRY_INTERVAL, 9)),
        [14, 11, 12, 13],
        "its node may have died"
    );

    active.remove(&first);
    assert_eq!(ids(due(&active, &none, now, 9)), [14, 10, 12, 13]);
}
