//! Who is meant: rooms of ten thousand sockets.

#![allow(missing_docs, reason = "criterion makes a public function of a group")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::internal::{Memberships, Rooms, Selection};

const SOCKETS: u32 = 10_000;

fn select(criterion: &mut Criterion) {
    let mut rooms = Rooms::new();
    let mut sockets: Vec<Memberships> = (0..SOCKETS).map(|_| Memberships::default()).collect();
    for (index, memberships) in (0..).zip(&mut sockets) {
        rooms.join(index, memberships, "everybody");
        rooms.join(index, memberships, &format!("tens {}", index / 10));
    }
    let mut chosen = Vec::with_capacity(SOCKETS as usize);
    let mut group = criterion.benchmark_group("select");
    let everybody = Selection::default();
    let room = Selection { to: vec!["everybody".into()], except: Vec::new() };
    let small = Selection { to: vec!["tens 77".into()], except: Vec::new() };
    let except = Selection { to: vec!["everybody".into()], except: vec!["tens 77".into()] };
    for (name, selection, count) in [
        ("the namespace of 10,000", &everybody, SOCKETS),
        ("a room of 10,000", &room, SOCKETS),
        ("a room of 10", &small, 10),
        ("a room of 10,000 but one of 10", &except, SOCKETS - 10),
    ] {
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                chosen.clear();
                rooms.select(black_box(selection), 0..SOCKETS, |_| None, &mut chosen);
                chosen.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, select);
criterion_main!(benches);
