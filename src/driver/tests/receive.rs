//! Bytes come in order, until the end; a connection is paused and goes on; buffers are few.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use super::bench::{
    Bench, Peer, Queue, Subject, Tested, bench, bench_with, limits, pattern, stream,
};
use crate::base::limits::Limits;
use crate::driver::net::Handle;
use crate::driver::{BufferId, Completion, Driver, Sent};

on_every_driver!(
    a_client_is_accepted_and_what_it_sends_arrives_until_it_finishes,
    a_connection_that_is_reset_ends_with_the_error,
    what_came_before_the_end_is_reported_before_it,
    an_end_that_comes_behind_bytes_in_the_same_moment_is_reported,
    what_comes_while_nobody_receives_is_there_later,
    a_paused_connection_goes_on_where_it_stopped,
    a_pause_with_bytes_left_keeps_them,
    with_two_buffers_every_connection_gets_its_bytes_in_order_and_its_turn,
    a_connection_that_waited_for_a_buffer_in_vain_is_the_first_to_get_one,
    m46_receiving_starts_again_only_when_a_buffer_was_released,
    a_buffer_that_is_held_keeps_its_bytes_when_others_are_given_back,
    #[should_panic(expected = "released once")]
    releasing_a_buffer_twice_is_a_programming_error,
    #[should_panic(expected = "the driver's")]
    looking_at_a_released_buffer_is_a_programming_error,
    a_connection_that_cannot_be_received_from_ends_with_the_error,
);

fn a_client_is_accepted_and_what_it_sends_arrives_until_it_finishes<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    assert_eq!(bench.driver.peer(key), Some(peer.address()));
    bench.driver.receive(key);
    bench.driver.receive(key);
    for message in [b"one".as_slice(), b"two"] {
        peer.write_all(message).unwrap();
        assert_eq!(bench.bytes(), (key, message.to_vec()));
    }
    peer.finish();
    bench.ends(key, None);
    bench.driver.receive(key);
    bench.is_silent();
    bench.send(key, b"bye");
    bench.driver.shutdown(key);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"bye");
    bench.driver.close(key);
    assert_eq!(bench.driver.peer(key), None);
    assert_eq!(bench.driver.stats().connections, 0);
}

fn a_connection_that_is_reset_ends_with_the_error<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, peer) = bench.connect();
    bench.driver.receive(key);
    bench.send(key, b"unread");
    peer.wait();
    drop(peer);
    bench.ends(key, Some(libc::ECONNRESET));
    let sent = bench.driver.send(key, Queue::new(b"late", 4).gather());
    assert!(matches!(sent, Sent::Failed(libc::EPIPE)), "{sent:?}");
}

/// Also when they fill buffers to the last byte, and when all of it was there before the first
/// receive.
fn what_came_before_the_end_is_reported_before_it<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(4, 256));
    for length in [1, 255, 256, 257, 512, 4 * 256, 5 * 256 + 1] {
        for is_early in [true, false] {
            let (key, mut peer) = bench.connect();
            if is_early {
                bench.driver.receive(key);
            }
            peer.write_all(&stream(8, length)).unwrap();
            peer.finish();
            bench.poll();
            bench.driver.receive(key);
            assert_eq!(bench.all_bytes(key, length), stream(8, length));
            bench.ends(key, None);
            bench.driver.close(key);
            bench.settle(0);
        }
    }
}

fn an_end_that_comes_behind_bytes_in_the_same_moment_is_reported<S: Subject>() {
    let mut bench = bench::<S>();
    for _ in 0..200 {
        let (key, mut peer) = bench.connect();
        bench.driver.receive(key);
        let leaving = thread::spawn(move || peer.write_all(b"bye"));
        assert_eq!(bench.bytes(), (key, b"bye".to_vec()));
        bench.ends(key, None);
        leaving.join().unwrap().unwrap();
        bench.driver.close(key);
        bench.settle(0);
    }
}

fn what_comes_while_nobody_receives_is_there_later<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    peer.write_all(b"early ").unwrap();
    bench.is_silent();
    peer.write_all(b"and more").unwrap();
    peer.finish();
    bench.is_silent();
    bench.driver.receive(key);
    assert_eq!(bench.all_bytes(key, 14), b"early and more");
    bench.ends(key, None);
}

fn a_paused_connection_goes_on_where_it_stopped<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    let expected = stream(2, 200_000);
    let copy = expected.clone();
    let writer = thread::spawn(move || peer.write_all(&copy).map(|()| peer).unwrap());
    let mut arrived = Vec::new();
    let mut chunks = 0;
    while arrived.len() < expected.len() {
        arrived.extend(bench.bytes().1);
        chunks += 1;
        match chunks % 4 {
            1 => bench.driver.pause(key),
            2 => bench.driver.receive(key),
            3 => {
                bench.driver.pause(key);
                bench.driver.receive(key);
            }
            _ => {}
        }
        if chunks % 4 == 1 && bench.reported.is_empty() {
            bench.poll();
            bench.driver.receive(key);
        }
    }
    assert_eq!(arrived, expected);
    bench.driver.pause(key);
    bench.is_silent();
    let mut peer = writer.join().unwrap();
    peer.write_all(b"more").unwrap();
    bench.is_silent();
    bench.driver.receive(key);
    assert_eq!(bench.bytes(), (key, b"more".to_vec()));
}

/// They are reported without anything new that comes.
fn a_pause_with_bytes_left_keeps_them<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 100));
    let (key, mut peer) = bench.connect();
    let expected = stream(9, 1_000);
    peer.write_all(&expected).unwrap();
    let mut arrived = Vec::new();
    while arrived.len() < expected.len() {
        bench.driver.receive(key);
        arrived.extend(bench.bytes().1);
        bench.driver.pause(key);
        (0..3).for_each(|_| bench.poll());
        while !bench.reported.is_empty() {
            arrived.extend(bench.bytes().1);
        }
    }
    assert_eq!(arrived, expected);
    bench.driver.receive(key);
    bench.is_silent();
    peer.write_all(b"new").unwrap();
    assert_eq!(bench.bytes(), (key, b"new".to_vec()));
}

fn with_two_buffers_every_connection_gets_its_bytes_in_order_and_its_turn<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 512));
    let (greedy, mut endless) = bench.connect();
    let flood = thread::spawn(move || while endless.write_all(&[0; 65_536]).is_ok() {});
    let (count, length) = (20, 20_000);
    let mut arrived = HashMap::new();
    let mut peers = Vec::new();
    for seed in 0..count {
        let (key, mut peer) = bench.connect();
        peer.write_all(&stream(seed, length)).unwrap();
        arrived.insert(key, (seed, 0));
        peers.push(peer);
    }
    bench.driver.receive(greedy);
    arrived.keys().for_each(|&key| bench.driver.receive(key));
    let mut left = count * length;
    while left > 0 {
        let (key, bytes) = bench.bytes();
        if let Some((seed, position)) = arrived.get_mut(&key) {
            for byte in bytes {
                assert_eq!(byte, pattern(*seed, *position));
                *position += 1;
                left -= 1;
            }
        }
    }
    assert!(bench.driver.stats().buffers_exhausted > 0);
    bench.driver.close(greedy);
    bench.settle(count as u64);
    flood.join().unwrap();
}

fn a_connection_that_waited_for_a_buffer_in_vain_is_the_first_to_get_one<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 512));
    let (greedy, mut flood) = bench.connect();
    let (modest, mut peer) = bench.connect();
    flood.write_all(&[0; 100_000]).unwrap();
    peer.write_all(b"modest").unwrap();
    bench.driver.receive(greedy);
    bench.driver.receive(modest);
    let mut chunks = 0;
    while bench.bytes().0 != modest {
        chunks += 1;
        assert!(chunks < 10, "the busy connection took the free buffers again and again");
    }
}

/// The next two reports, which are bytes.
fn two_buffers(bench: &mut Bench<impl Tested>) -> [(BufferId, usize); 2] {
    [(); 2].map(|()| match bench.next() {
        Completion::Received { buffer, length, .. } => (buffer, length),
        other => panic!("{other:?}"),
    })
}

fn m46_receiving_starts_again_only_when_a_buffer_was_released<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 512));
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    let expected = stream(0, 2048);
    peer.write_all(&expected).unwrap();
    let held = two_buffers(&mut bench);
    while bench.driver.stats().buffers_exhausted == 0 {
        bench.poll();
    }
    let waits = bench.driver.stats().waits;
    let soon = bench.driver.now().after(Duration::from_millis(5));
    bench.turn(soon);
    assert!(bench.driver.now() >= soon && bench.reported.is_empty());
    assert!(bench.driver.stats().waits <= waits + 2, "a starved receive is not polled for");
    let mut position = 0;
    for (buffer, length) in held {
        assert_eq!(bench.driver.buffer(buffer)[..length], expected[position..][..length]);
        bench.driver.release(buffer);
        position += length;
    }
    assert_eq!(bench.all_bytes(key, expected.len() - position), expected[position..]);
}

fn a_buffer_that_is_held_keeps_its_bytes_when_others_are_given_back<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    peer.write_all(b"held").unwrap();
    let Completion::Received { buffer, length, .. } = bench.next() else { panic!("no bytes") };
    bench.driver.close(key);
    bench.settle(0);
    bench.driver.fit(0);
    assert_eq!(bench.driver.buffer(buffer)[..length], *b"held");
    bench.driver.release(buffer);
    bench.driver.fit(0);
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    peer.write_all(b"as good as new").unwrap();
    assert_eq!(bench.bytes(), (key, b"as good as new".to_vec()));
}

/// A buffer that was released.
fn released<S: Subject>() -> (Bench<S::Driver>, BufferId) {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    peer.write_all(b"x").unwrap();
    let Completion::Received { buffer, .. } = bench.next() else { panic!("no bytes") };
    bench.driver.release(buffer);
    (bench, buffer)
}

fn releasing_a_buffer_twice_is_a_programming_error<S: Subject>() {
    let (mut bench, buffer) = released::<S>();
    bench.driver.release(buffer);
}

fn looking_at_a_released_buffer_is_a_programming_error<S: Subject>() {
    let (mut bench, buffer) = released::<S>();
    bench.driver.buffer(buffer);
}

/// Such as one that the kernel does not watch.
fn a_connection_that_cannot_be_received_from_ends_with_the_error<S: Subject>() {
    let mut bench = Bench::of(S::make(&Limits::default()));
    let file = std::fs::File::open("/dev/null").unwrap();
    let socket = Handle::of(std::os::fd::OwnedFd::from(file).into());
    let key = bench.driver.attach(Box::new(socket)).unwrap();
    bench.driver.receive(key);
    let end = bench.next();
    assert!(matches!(end, Completion::Ended(ended, Some(_)) if ended == key), "{end:?}");
    bench.driver.close(key);
    bench.settle(0);
}
