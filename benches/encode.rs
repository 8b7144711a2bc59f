//! From an event and its arguments to the bytes that every recipient shares.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::Arguments;
use fanfare::base::frame::Wire;
use fanfare::internal::Encoder;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let (mut json, mut attachments) = (Vec::new(), Vec::new());
    group.bench_function("typed arguments", |bencher| {
        let value = ("lobby", 42, serde_json::json!({ "text": "hello", "at": 1.5 }));
        bencher.iter(|| {
            json.clear();
            black_box(&value).write(&mut json, &mut attachments).is_ok()
        });
    });
    let mut encoder = Encoder::default();
    for size in [64, 1024] {
        let args = format!(",\"{}\"", "x".repeat(size)).into_bytes();
        group.bench_function(format!("event of {size} bytes"), |bencher| {
            bencher.iter(|| Wire::from(encoder.event("/", None, "message", black_box(&args), &[])));
        });
    }
    let attachment = [Bytes::from(vec![7; 1024])];
    let args = br#",{"_placeholder":true,"num":0}"#;
    group.bench_function("event with an attachment of 1024 bytes", |bencher| {
        bencher
            .iter(|| Wire::from(encoder.event("/", None, "message", black_box(args), &attachment)));
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
