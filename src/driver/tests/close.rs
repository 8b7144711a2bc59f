//! A connection that is closed is never heard of again, and what it was sent arrives.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::bench::{Queue, Subject, Tested, bench, bench_with, clog, in_child, limits};
use crate::driver::net::Handle;
use crate::driver::{Driver, Sent};

on_every_driver!(
    m48_after_a_close_no_completion_reaches_the_connection_with_the_same_descriptor,
    what_the_kernel_had_taken_arrives_although_input_was_left_unread,
    bytes_that_come_as_the_connection_is_closed_are_not_reported,
    dropping_a_driver_ends_what_is_in_flight_and_closes_its_connections,
    what_a_dropped_driver_has_sent_arrives_although_input_was_left_unread,
);

fn m48_after_a_close_no_completion_reaches_the_connection_with_the_same_descriptor<S: Subject>() {
    let rule = "m48_after_a_close_no_completion_reaches_the_connection_with_the_same_descriptor";
    // Alone in its process, so that no other thread takes the descriptor.
    in_child::<S>(module_path!(), rule, || {
        let mut bench = bench::<S>();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for round in 0..200 {
            let mut next = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let served = listener.accept().unwrap().0;
            let (old, mut peer) = bench.connect();
            bench.driver.receive(old);
            if round % 2 == 0 {
                clog(&mut bench.driver, old);
            }
            bench.poll();
            let descriptor = bench.driver.descriptor(old);
            peer.write_all(b"old").unwrap();
            bench.driver.close(old);
            bench.settle(0);
            let socket = Box::new(Handle::of(served.try_clone().unwrap()));
            let new = bench.driver.attach(socket).unwrap();
            let reused = bench.driver.descriptor(new);
            assert_eq!((new.index, reused), (old.index, descriptor));
            bench.driver.receive(new);
            let _ = peer.write_all(b"old");
            bench.poll();
            next.write_all(b"new").unwrap();
            assert_eq!(bench.bytes(), (new, b"new".to_vec()));
            bench.send(new, b"new");
            bench.driver.close(new);
            bench.settle(0);
            assert!(bench.reported.is_empty(), "{:?}", bench.reported);
        }
    });
}

fn what_the_kernel_had_taken_arrives_although_input_was_left_unread<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    peer.write_all(&[1; 50_000]).unwrap();
    let taken = clog(&mut bench.driver, key);
    bench.poll();
    bench.driver.close(key);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes.len())
    });
    bench.settle(0);
    assert!(reader.join().unwrap().unwrap() >= taken);
}

fn bytes_that_come_as_the_connection_is_closed_are_not_reported<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 512));
    for _ in 0..50 {
        let (key, mut peer) = bench.connect();
        bench.driver.receive(key);
        bench.poll();
        peer.write_all(&[1; 700]).unwrap();
        bench.driver.close(key);
        bench.settle(0);
        bench.is_silent();
        assert_eq!(bench.driver.send(key, Queue::new(b"x", 1).gather()), Sent::Failed(libc::EBADF));
    }
}

fn dropping_a_driver_ends_what_is_in_flight_and_closes_its_connections<S: Subject>() {
    let mut bench = bench::<S>();
    let mut connections: Vec<_> = (0..20).map(|_| bench.connect()).collect();
    for (round, (key, peer)) in connections.iter_mut().enumerate() {
        match round % 4 {
            0 => bench.driver.receive(*key),
            1 => drop(clog(&mut bench.driver, *key)),
            2 => {
                bench.driver.receive(*key);
                bench.driver.detach(*key);
            }
            _ => {
                peer.write_all(b"late").unwrap();
                bench.driver.receive(*key);
                bench.driver.close(*key);
            }
        }
    }
    let before = Instant::now();
    drop(bench);
    assert!(before.elapsed() < Duration::from_secs(1), "the kernel gave everything back");
    for (_, mut peer) in connections {
        let end = peer.read_to_end(&mut Vec::new());
        assert!(end.is_ok() || end.unwrap_err().kind() == ErrorKind::ConnectionReset);
    }
}

fn what_a_dropped_driver_has_sent_arrives_although_input_was_left_unread<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    peer.write_all(b"unread").unwrap();
    bench.send(key, b"farewell");
    bench.poll();
    drop(bench);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"farewell");
}
