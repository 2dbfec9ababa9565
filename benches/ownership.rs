//! Which node owns which partition, for fleets of 1 to 16 nodes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wahook::policy::owners;

/// The largest value of `bus.partitions`.
const PARTITIONS: u16 = 64;

fn ownership(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("owners");
    for count in [1, 2, 4, 8, 16] {
        let nodes: Vec<String> = (0..count).map(|node| format!("node-{node}")).collect();
        group.bench_with_input(
            BenchmarkId::from_parameter(count),
            &nodes,
            |bencher, nodes| {
                bencher.iter(|| owners(black_box(nodes), PARTITIONS));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, ownership);
criterion_main!(benches);
