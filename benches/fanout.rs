//! One event to many: encoded once, and a reference to it queued for every recipient.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::base::frame::Frame;
use fanfare::internal::{Encoder, Queue, SpareQueues};

/// The queues of so many WebSocket connections of one shard.
struct Recipients {
    encoder: Encoder,
    queues: Vec<Queue>,
    spare: SpareQueues,
}

impl Recipients {
    fn new(count: usize) -> Recipients {
        let queues = (0..count).map(|_| Queue::default()).collect();
        Recipients { encoder: Encoder::default(), queues, spare: SpareQueues::default() }
    }

    /// One event for all of them, as by `emit` and the shard's part of a broadcast.
    fn broadcast(&mut self, args: &[u8]) {
        let wire = self.encoder.event("/", None, "broadcast", args, &[]);
        let frame = Frame::shared(Arc::new(wire.into()));
        for queue in &mut self.queues {
            queue.push(frame.clone(), &mut self.spare);
        }
    }

    /// The end of the turn, for sockets that take everything: what a send of each would gather.
    fn flush(&mut self) -> usize {
        let mut slices = 0;
        for queue in &mut self.queues {
            slices += black_box(queue.gather()).slices().count();
            let bytes = queue.bytes();
            queue.advance(bytes, &mut self.spare);
        }
        slices
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    let args = format!(",\"{}\"", "x".repeat(64)).into_bytes();
    for count in [10, 1_000, 10_000] {
        for events in [1, 16] {
            let mut recipients = Recipients::new(count);
            group.throughput(Throughput::Elements((count * events) as u64));
            group.bench_function(format!("{events} events of a turn to {count}"), |bencher| {
                bencher.iter(|| {
                    (0..events).for_each(|_| recipients.broadcast(black_box(&args)));
                    recipients.flush()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
