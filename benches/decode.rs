//! From received bytes to event names and arguments.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::Limits;
use fanfare::proto::http::{Head, HeadScanner};
use fanfare::proto::websocket::{Decoder, Opcode, write_masked};
use fanfare::proto::{engine, socket};

const REQUEST: &[u8] =
    b"GET /socket.io/?EIO=4&transport=polling&sid=AAEAAAAAAAATCXP8h8tcMj8wA2RcmWxP HTTP/1.1\r\n\
Host: localhost:3000\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n";

fn decode(criterion: &mut Criterion) {
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("request head", |bencher| {
        bencher.iter(|| {
            let end = HeadScanner::default().end(black_box(REQUEST), &limits).unwrap().unwrap();
            Head::parse(&REQUEST[..end], &limits).unwrap().keep_alive
        });
    });
    for size in [64, 1024] {
        let text = format!("42[\"message\",\"{}\"]", "x".repeat(size));
        group.bench_function(format!("event of {size} bytes"), |bencher| {
            bencher.iter(|| match engine::decode(black_box(text.as_bytes())) {
                Ok(engine::Packet::Message(packet)) => socket::decode(packet, &limits).is_ok(),
                _ => false,
            });
        });
        let mut frame = Vec::new();
        write_masked(&mut frame, true, Opcode::Text, [1, 2, 3, 4], text.as_bytes());
        let mut buffer = frame.clone();
        group.bench_function(format!("frame of {size} bytes"), |bencher| {
            bencher.iter(|| {
                // Unmasking changes the buffer: it is filled anew, as by the kernel.
                buffer.copy_from_slice(&frame);
                Decoder::default().decode(black_box(&mut buffer), &limits).unwrap().consumed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
