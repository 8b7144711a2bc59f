//! What the driver on epoll has beyond the rules of `driver/tests.rs`.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::*;
use crate::driver::tests::bench::{OnEpoll, bench, bench_with, clog, limits, stream};

#[test]
fn a_connection_takes_no_more_than_24_bytes() {
    assert!(size_of::<Connection>() <= 24, "{}", size_of::<Connection>());
}

#[test]
fn an_arrival_that_does_not_fill_a_buffer_takes_one_call() {
    let mut bench = bench::<OnEpoll>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    peer.write_all(b"short").unwrap();
    bench.poll();
    let connection = bench.driver.connections.get(key).unwrap();
    assert!(!connection.is_readable && bench.driver.ready.is_empty());
    assert_eq!(bench.bytes(), (key, b"short".to_vec()));
    peer.write_all(b"and last").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.bytes(), (key, b"and last".to_vec()));
    bench.ends(key, None);
}

/// The kernel told of the change before anybody wanted to know.
#[test]
fn a_change_that_was_reported_while_paused_is_remembered() {
    let mut bench = bench_with::<OnEpoll>(&limits(2, 64));
    let (key, mut peer) = bench.connect();
    peer.write_all(&stream(1, 200)).unwrap();
    bench.poll();
    assert!(bench.driver.connections.get(key).unwrap().is_readable);
    bench.driver.receive(key);
    bench.driver.receive(key);
    bench.driver.pause(key);
    bench.is_silent();
    bench.driver.receive(key);
    assert_eq!(bench.all_bytes(key, 200), stream(1, 200));
    assert!(bench.driver.ready.is_empty() && bench.driver.buffers.is_available());
}

/// As often as they have something left, each behind all who were there before.
#[test]
fn connections_that_found_no_buffer_go_on_in_the_order_in_which_they_asked() {
    let mut bench = bench_with::<OnEpoll>(&limits(2, 64));
    let mut connections: Vec<_> = (0..5).map(|_| bench.connect()).collect();
    for (_, peer) in &mut connections {
        peer.write_all(&[1; 3 * 64]).unwrap();
    }
    bench.is_silent();
    // Another one than that in which they came.
    let order: Vec<Key> = connections.iter().rev().map(|(key, _)| *key).collect();
    order.iter().for_each(|&key| bench.driver.receive(key));
    for _ in 0..3 {
        let turns: Vec<Key> = order.iter().map(|_| bench.bytes().0).collect();
        assert_eq!(turns, order);
    }
    assert!(bench.driver.stats().buffers_exhausted > 0);
}

#[test]
fn a_full_socket_that_has_room_again_is_reported_once() {
    let mut bench = bench::<OnEpoll>();
    let (key, mut peer) = bench.connect();
    let mut chunk = vec![0; 1 << 16];
    for _ in 0..5 {
        clog(&mut bench.driver, key);
        assert_eq!(bench.driver.stats().operations_in_flight, 1);
        loop {
            bench.poll();
            match bench.reported.pop_front() {
                Some(Completion::Sent(_, Ok(1..))) => break,
                Some(other) => panic!("{other:?}"),
                None => assert!(peer.read(&mut chunk).unwrap() > 0),
            }
        }
        assert_eq!(bench.driver.stats().operations_in_flight, 0);
        bench.is_silent();
    }
}

#[test]
fn memory_of_buffers_comes_with_the_first_bytes_and_goes_with_the_crowd() {
    let mut bench = bench_with::<OnEpoll>(&limits(4, 1024));
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    bench.is_silent();
    assert_eq!(bench.driver.buffers.grown(), 0);
    peer.write_all(&[1; 3_000]).unwrap();
    while bench.reported.len() < 3 {
        bench.poll();
    }
    assert_eq!(bench.driver.buffers.grown(), 3);
    bench.bytes();
    bench.driver.fit(0);
    assert_eq!(bench.driver.buffers.grown(), 2, "those that are held stay");
    bench.all_bytes(key, 1_000);
}

/// Such as a child process that was forked at that moment has.
#[test]
fn a_copy_of_a_closed_connections_descriptor_reports_nothing() {
    let mut bench = bench::<OnEpoll>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    let copy = bench.driver.socket(key).unwrap().try_clone().unwrap();
    bench.driver.close(key);
    peer.write_all(b"late").unwrap();
    bench.is_silent();
    let (next, mut other) = bench.connect();
    bench.driver.receive(next);
    peer.write_all(b"later").unwrap();
    bench.is_silent();
    other.write_all(b"mine").unwrap();
    assert_eq!(bench.bytes(), (next, b"mine".to_vec()));
    drop(copy);
}

/// `fs.epoll.max_user_watches` counts what all processes of a user watch.
#[test]
fn where_no_more_can_be_watched_those_who_are_there_are_served_and_others_wait() {
    let mut bench = bench::<OnEpoll>();
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    bench.driver.poll.is_full = true;
    for listener in bench.driver.listener_keys.clone() {
        bench.driver.unwatch(listener);
    }
    let _waiting = std::net::TcpStream::connect(bench.address).unwrap();
    bench.poll();
    assert_eq!(bench.driver.stats().accepts_refused, 1);
    peer.write_all(b"still here").unwrap();
    assert_eq!(bench.bytes(), (key, b"still here".to_vec()));
    bench.driver.poll.is_full = false;
    bench.accepted();
}
