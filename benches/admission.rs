//! Whether an attempt may be made now: the rate of an endpoint, its breaker, the client's share.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use wahook::{
    model::{ClientId, Priority},
    policy::{Admit, Breaker, Limiter, Shares},
};

const OPEN_FOR: Duration = Duration::from_secs(30);

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    // So fast that it never refuses, and so slow that it always does after its first call.
    let mut fast = Limiter::new(1_000_000_000, u32::MAX, Instant::now());
    let mut slow = Limiter::new(1, 1, Instant::now());
    let mut breaker = Breaker::new(5, OPEN_FOR);
    group.bench_function("allowed", |bencher| {
        bencher.iter(|| {
            let now = Instant::now();
            fast.check(now).is_ok() && breaker.admit(now) == Admit::Go
        });
    });
    group.bench_function("rate_exceeded", |bencher| {
        bencher.iter(|| black_box(slow.check(Instant::now())));
    });
    let mut open = Breaker::new(1, OPEN_FOR);
    let now = Instant::now();
    open.failure(now);
    group.bench_function("breaker_open", |bencher| {
        bencher.iter(|| open.admit(black_box(now)));
    });
    group.bench_function("new_limiter", |bencher| {
        bencher.iter(|| Limiter::new(black_box(50), 50, now));
    });
    let mut shares = Shares::new(1024, 16);
    let clients: Vec<_> = (1..=1000)
        .map(|id| ClientId::try_from(id).expect("in range"))
        .collect();
    let mut turns = clients.iter().cycle();
    group.bench_function("share_of_1000_clients", |bencher| {
        bencher.iter(|| {
            let client = *turns.next().expect("endless");
            let decision = shares.take(client, 1, Priority::Normal);
            shares.give_back(client, 1);
            decision
        });
    });
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
