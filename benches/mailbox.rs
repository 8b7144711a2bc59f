//! A command on its way to another shard.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::internal::{Bell, Mailbox};

fn mailbox(criterion: &mut Criterion) {
    let bell = Arc::new(Bell::new(Waker::noop().clone()));
    let mailbox = Mailbox::new(1024, bell);
    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(1));
    group.bench_function("post to one that is awake, and take", |bencher| {
        bencher.iter(|| {
            mailbox.post(black_box(7_u64)).unwrap();
            mailbox.take()
        });
    });
    group.bench_function("post to one that sleeps, and take", |bencher| {
        bencher.iter(|| {
            mailbox.bell().announce_sleep();
            mailbox.post(black_box(7_u64)).unwrap();
            mailbox.take()
        });
    });
    group.finish();
}

criterion_group!(benches, mailbox);
criterion_main!(benches);
