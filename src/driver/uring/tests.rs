//! What the driver on io_uring has beyond the rules of `driver/tests.rs`, on the real kernel and
//! the loopback interface. No test sleeps.

mod busy;
pub mod mischief;
mod pressure;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::thread;

use super::*;
use crate::base::limits::SLICES_PER_SEND;
use crate::driver::tests::bench::{
    Bench, FAR, OnUring, Queue, bench, bench_with, clog, limits, stream,
};

/// A driver that sends by the ring alone.
fn ring_only(limits: &Limits) -> Bench<Uring> {
    Bench::of(Uring::with(limits, SendMode::RingOnly, Features::ALL).unwrap())
}

#[test]
fn a_connection_takes_no_more_than_32_bytes() {
    assert!(size_of::<Connection>() <= 32, "{}", size_of::<Connection>());
}

#[test]
fn sends_on_the_ring_alone_give_the_same_bytes() {
    let mut bench = ring_only(&limits(16, 1024));
    let (key, mut peer) = bench.connect();
    let expected = stream(1, 12_000_000);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes)
    });
    Queue::new(&expected, 3_001).send_all(&mut bench, key);
    bench.driver.close(key);
    assert!(reader.join().unwrap().unwrap() == expected, "each byte arrives once, in order");
    assert_eq!(bench.driver.stats().sends_direct, 0);
}

#[test]
fn m49_frames_stay_in_memory_until_their_send_has_ended() {
    let mut bench = ring_only(&limits(2, 64));
    let (key, mut peer) = bench.connect();
    let bytes = stream(5, SLICES_PER_SEND * 100);
    let queue = Queue::new(&bytes, 100);
    assert_eq!(bench.driver.send(key, queue.gather()), Sent::Later);
    drop(queue);
    let sent = bench.next();
    assert!(matches!(sent, Completion::Sent(_, Ok(count)) if count == bytes.len()), "{sent:?}");
    let mut arrived = vec![0; bytes.len()];
    peer.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, bytes);
}

#[test]
fn a_closed_connection_leaves_the_buffers_as_they_were() {
    const CANARY: u8 = 0xa5;
    let mut bench = bench_with::<OnUring>(&limits(8, 256));
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (key, peer) = bench.connect();
        bench.driver.receive(key);
        peers.push((key, peer));
    }
    bench.poll();
    bench.driver.buffers.fill(CANARY);
    peers.iter().for_each(|(key, _)| bench.driver.close(*key));
    // The descriptors of the connections are open until their receives have ended.
    while bench.driver.stats().connections > 0 {
        bench.poll();
    }
    for (_, peer) in &mut peers {
        let _ = peer.write_all(&[1; 200]);
    }
    (0..5).for_each(|_| bench.poll());
    assert_eq!(bench.driver.buffers.altered(CANARY), 0);
    assert_eq!(bench.driver.buffers.available(), 8, "every buffer is back");
    assert!(bench.reported.is_empty());
}

#[test]
fn buffers_are_given_back_when_the_kernel_has_no_receive_and_are_as_good_as_new() {
    let mut bench = bench_with::<OnUring>(&limits(4, 1024));
    for _ in 0..2 {
        let (key, mut peer) = bench.connect();
        bench.driver.receive(key);
        peer.write_all(b"x").unwrap();
        assert_eq!(bench.bytes(), (key, b"x".to_vec()));
        bench.driver.buffers.fill(0xa5);
        bench.driver.fit(0);
        assert_eq!(bench.driver.buffers.altered(0xa5), 0, "the kernel may be filling one");
        bench.driver.close(key);
        bench.settle(0);
        bench.driver.fit(0);
        assert_eq!(bench.driver.buffers.altered(0xa5), 4 * 1024);
    }
}

#[test]
fn buffers_of_late_completions_go_back_to_the_ring() {
    let mut bench = bench_with::<OnUring>(&limits(2, 512));
    for _ in 0..50 {
        let (key, mut peer) = bench.connect();
        bench.driver.receive(key);
        bench.poll();
        peer.write_all(&[1; 700]).unwrap();
        bench.driver.close(key);
        bench.settle(0);
        assert!(bench.reported.is_empty());
        assert_eq!(bench.driver.buffers.available(), 2);
    }
}

#[test]
fn m48_a_descriptor_is_open_while_operations_on_it_are_in_flight() {
    let mut bench = bench::<OnUring>();
    let (key, _peer) = bench.connect();
    bench.driver.receive(key);
    clog(&mut bench.driver, key);
    bench.poll();
    bench.driver.close(key);
    assert!(bench.driver.socket(key).is_some());
    bench.settle(0);
    assert!(bench.driver.socket(key).is_none());
}

#[test]
fn a_listener_is_made_to_wait() {
    let mut bench = bench::<OnUring>();
    let (_, listeners) = net::listen(([127, 0, 0, 1], 0).into(), 1).unwrap();
    for listener in listeners {
        sys::set_blocking(listener.socket.as_fd(), false).unwrap();
        let flags = format!("/proc/self/fdinfo/{}", listener.socket.as_raw_fd());
        bench.driver.listen(listener);
        let flags = std::fs::read_to_string(flags).unwrap();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
        assert_eq!(i32::from_str_radix(flags, 8).unwrap() & libc::O_NONBLOCK, 0, "{flags}");
    }
}
