//! A connection changes its driver, and no byte is lost.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;

use super::bench::{Bench, FAR, Peer, Subject, Tested, bench, bench_with, limits, pattern, stream};
use crate::base::slab::Key;
use crate::driver::{Completion, Driver};

on_every_driver!(
    a_connection_changes_its_driver_under_load_and_no_byte_is_lost,
    bytes_that_nobody_has_received_and_the_end_go_with_the_connection,
    a_connection_that_is_paused_with_bytes_left_takes_them_along,
    a_connection_without_operations_is_detached_by_the_next_turn_unless_it_is_closed,
);

fn a_connection_changes_its_driver_under_load_and_no_byte_is_lost<S: Subject>() {
    const LENGTH: usize = 3_000_000;
    let mut bench = bench_with::<S>(&limits(4, 1024));
    let (mut key, mut peer) = bench.connect();
    let (there, arriving) = mpsc::channel::<<S::Driver as Driver>::Handle>();
    let (back, returned) = mpsc::channel();
    let writer = thread::spawn(move || peer.write_all(&stream(4, LENGTH)).unwrap());
    let other = thread::spawn(move || {
        let mut bench = bench_with::<S>(&limits(4, 1024));
        for handle in arriving {
            let key = bench.driver.adopt(handle);
            back.send(pass_on(&mut bench, key, 60_000)).unwrap();
        }
    });
    let (mut position, mut hops) = (0, 0);
    loop {
        let (bytes, handle) = pass_on(&mut bench, key, 40_000);
        check(&bytes, &mut position);
        if position == LENGTH {
            break;
        }
        there.send(handle).unwrap();
        let (bytes, handle) = returned.recv_timeout(FAR).unwrap();
        check(&bytes, &mut position);
        key = bench.driver.adopt(handle);
        hops += 2;
    }
    assert!(hops > 10, "{hops}");
    drop(there);
    other.join().unwrap();
    writer.join().unwrap();
}

fn check(bytes: &[u8], position: &mut usize) {
    for &byte in bytes {
        assert_eq!(byte, pattern(4, *position), "at {position}");
        *position += 1;
    }
}

/// Receives about so many bytes, or what there is left, and takes the connection off the driver.
fn pass_on<D: Tested>(bench: &mut Bench<D>, key: Key, count: usize) -> (Vec<u8>, D::Handle) {
    let mut bytes = Vec::new();
    let (mut ended, mut detaching) = (false, false);
    bench.driver.receive(key);
    loop {
        match bench.next() {
            Completion::Received { buffer, length, .. } => {
                bytes.extend_from_slice(&bench.driver.buffer(buffer)[..length]);
                bench.driver.release(buffer);
            }
            Completion::Ended(..) => ended = true,
            Completion::Detached(detached, handle) => {
                assert!(detached == key && detaching);
                return (bytes, handle);
            }
            other => panic!("{other:?}"),
        }
        if !detaching && (bytes.len() >= count || ended) {
            detaching = true;
            bench.driver.detach(key);
        }
    }
}

/// Takes a connection off its driver, which has nothing else to report.
fn detached<D: Tested>(bench: &mut Bench<D>, key: Key) -> D::Handle {
    bench.driver.detach(key);
    match bench.next() {
        Completion::Detached(detached, handle) if detached == key => handle,
        other => panic!("{other:?}"),
    }
}

fn bytes_that_nobody_has_received_and_the_end_go_with_the_connection<S: Subject>() {
    let (mut here, mut there) = (bench::<S>(), bench::<S>());
    let (key, mut peer) = here.connect();
    peer.write_all(b"before").unwrap();
    here.is_silent();
    let handle = detached(&mut here, key);
    peer.write_all(b" and after").unwrap();
    peer.finish();
    let key = there.driver.adopt(handle);
    there.is_silent();
    there.driver.receive(key);
    assert_eq!(there.all_bytes(key, 16), b"before and after");
    there.ends(key, None);
    let handle = detached(&mut there, key);
    let key = here.driver.adopt(handle);
    here.driver.receive(key);
    here.ends(key, None);
}

fn a_connection_that_is_paused_with_bytes_left_takes_them_along<S: Subject>() {
    let (mut here, mut there) = (bench_with::<S>(&limits(2, 100)), bench::<S>());
    let (key, mut peer) = here.connect();
    let expected = stream(5, 1_000);
    peer.write_all(&expected).unwrap();
    here.driver.receive(key);
    let mut bytes = here.bytes().1;
    here.driver.pause(key);
    (0..3).for_each(|_| here.poll());
    while !here.reported.is_empty() {
        bytes.extend(here.bytes().1);
    }
    let handle = detached(&mut here, key);
    let key = there.driver.adopt(handle);
    there.driver.receive(key);
    bytes.extend(there.all_bytes(key, expected.len() - bytes.len()));
    assert_eq!(bytes, expected);
}

fn a_connection_without_operations_is_detached_by_the_next_turn_unless_it_is_closed<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    let handle = detached(&mut bench, key);
    assert_eq!(bench.driver.stats().connections, 0);
    let key = bench.driver.adopt(handle);
    bench.driver.detach(key);
    bench.driver.close(key);
    bench.is_silent();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.driver.stats().connections, 0);
}
