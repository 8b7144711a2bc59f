//! A whole shard but for the kernel: from the bytes that arrive to those that are sent.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

#[path = "support/null.rs"]
mod null;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use null::{Bench, frame, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn packets(packet: &str, count: usize) -> Vec<u8> {
    frame(&packet.replace("PAYLOAD", &"x".repeat(64))).repeat(count)
}

fn shard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    for (clients, window) in [(1_000, 1), (1_000, 16), (10_000, 1)] {
        let io = server();
        let mut bench = Bench::new(&io, Duration::ZERO);
        bench.grow_to(clients);
        let publishes = packets("42[\"publish\",\"PAYLOAD\"]", window);
        group.throughput(Throughput::Elements((clients * window) as u64));
        group.bench_function(format!("fan-out to {clients}, {window} under way"), |bencher| {
            bencher.iter(|| {
                bench.arrive(0, &publishes);
                bench.turn()
            });
        });
    }
    for window in [1, 16] {
        let io = server();
        let mut bench = Bench::new(&io, Duration::ZERO);
        bench.grow_to(100);
        let events = packets("4217[\"echo\",\"PAYLOAD\"]", window);
        let mut client = 0;
        group.throughput(Throughput::Elements(window as u64));
        group.bench_function(format!("echo, {window} under way"), |bencher| {
            bencher.iter(|| {
                client = (client + 1) % 100;
                bench.arrive(client, &events);
                bench.turn()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, shard);
criterion_main!(benches);
