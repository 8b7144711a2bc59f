//! Clients are accepted while there is room, and descriptors.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use super::bench::{Bench, FAR, Subject, bench, bench_with, in_child, limits};
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::driver::{Completion, Driver, net, sys};

on_every_kernel!(
    the_limit_of_connections_holds_and_a_close_lets_the_next_one_in,
    who_comes_after_stop_listening_is_refused,
    more_clients_than_one_report_are_all_accepted,
    m45_accepting_goes_on_after_the_descriptors_were_used_up,
    a_pause_after_a_refusal_ends_although_the_client_has_left,
    a_listener_that_another_process_has_used_is_as_good_as_any,
);

fn the_limit_of_connections_holds_and_a_close_lets_the_next_one_in<S: Subject>() {
    let limits = Limits { connections: 2, ..limits(4, 256) };
    let mut bench = bench_with::<S>(&limits);
    let _peers: Vec<_> = (0..5).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    let mut open = VecDeque::new();
    for closed in 0..5 {
        while open.len() < 2 && closed + open.len() < 5 {
            open.push_back(bench.accepted());
        }
        bench.is_silent();
        bench.driver.close(open.pop_front().unwrap());
    }
    bench.settle(0);
}

fn who_comes_after_stop_listening_is_refused<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    let _waiting = TcpStream::connect(bench.address).unwrap();
    bench.driver.stop_listening();
    let deadline = bench.driver.now().after(FAR);
    let error = loop {
        bench.poll();
        match TcpStream::connect(bench.address) {
            Ok(_) => assert!(bench.driver.now() < deadline, "it listens still"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // Those that the kernel had accepted by then are reported, and closed with their keys.
    (0..4).for_each(|_| bench.poll());
    for reported in std::mem::take(&mut bench.reported) {
        match reported {
            Completion::Accepted(early) => bench.driver.close(early),
            other => panic!("{other:?}"),
        }
    }
    bench.is_silent();
    bench.driver.receive(key);
    peer.write_all(b"connections that are there stay").unwrap();
    assert_eq!(bench.bytes().0, key);
}

fn more_clients_than_one_report_are_all_accepted<S: Subject>() {
    let mut bench = bench::<S>();
    let peers: Vec<_> = (0..300).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    for peer in &peers {
        let key = bench.accepted();
        assert_eq!(bench.driver.peer(key), Some(peer.local_addr().unwrap()), "first come");
    }
    bench.is_silent();
}

/// Uses up all descriptors, but for so many.
fn use_up(left: usize) -> Vec<std::fs::File> {
    let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
    // SAFETY: the call only reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.truncate(hoard.len() - left);
    hoard
}

fn m45_accepting_goes_on_after_the_descriptors_were_used_up<S: Subject>() {
    let rule = "m45_accepting_goes_on_after_the_descriptors_were_used_up";
    in_child::<S>(module_path!(), rule, || {
        let mut bench = bench::<S>();
        let mut peers: Vec<_> =
            (0..6).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
        let hoard = use_up(2);
        let mut keys: Vec<Key> = (0..2).map(|_| bench.accepted()).collect();
        let before = bench.driver.now();
        while bench.driver.stats().accepts_refused < 3 {
            bench.turn(bench.driver.now().after(Duration::from_millis(5)));
            assert!(bench.reported.is_empty());
        }
        // Pauses of 10 and 20 ms were between them, and so on.
        let pauses = (1 << (bench.driver.stats().accepts_refused - 1)) - 1;
        let waited = bench.driver.now().since(before);
        assert!(waited >= pauses * Duration::from_millis(10), "{pauses} in {waited:?}");
        bench.driver.receive(keys[0]);
        peers[0].write_all(b"still here").unwrap();
        assert_eq!(bench.bytes(), (keys[0], b"still here".to_vec()));
        let waits = bench.driver.stats().waits;
        // A close of the driver's own makes it try again at once.
        bench.driver.close(keys.remove(0));
        keys.push(bench.accepted());
        assert!(bench.driver.stats().waits <= waits + 2);
        // Of other descriptors it does not know, and finds them at the end of a pause.
        drop(hoard);
        keys.extend((0..3).map(|_| bench.accepted()));
        bench.settle(5);
        drop(peers);
    });
}

fn a_pause_after_a_refusal_ends_although_the_client_has_left<S: Subject>() {
    let rule = "a_pause_after_a_refusal_ends_although_the_client_has_left";
    in_child::<S>(module_path!(), rule, || {
        let mut bench = bench::<S>();
        let peer = TcpStream::connect(bench.address).unwrap();
        let hoard = use_up(0);
        while bench.driver.stats().accepts_refused == 0 {
            bench.poll();
        }
        drop(hoard);
        drop(peer);
        // It is over before the next turn, so that none ends with it.
        let over = bench.driver.now().after(Duration::from_millis(30));
        while bench.driver.now() < over {}
        // The one who has left is accepted, and nobody else comes.
        bench.accepted();
        let waits = bench.driver.stats().waits;
        bench.turn(bench.driver.now().after(Duration::from_millis(100)));
        assert!(bench.reported.is_empty());
        assert!(bench.driver.stats().waits <= waits + 2, "it waits again and again");
    });
}

/// That it does not wait, as a driver on epoll has it, is no matter to any other.
fn a_listener_that_another_process_has_used_is_as_good_as_any<S: Subject>() {
    for blocks in [false, true] {
        let mut driver = S::make(&limits(4, 256));
        let (address, listeners) = net::listen(([127, 0, 0, 1], 0).into(), 1).unwrap();
        for listener in listeners {
            sys::set_blocking(listener.socket.as_fd(), blocks).unwrap();
            driver.listen(listener);
        }
        let mut bench = Bench { driver, address, reported: VecDeque::new() };
        bench.poll();
        let waits = bench.driver.stats().waits;
        bench.turn(bench.driver.now().after(Duration::from_millis(20)));
        assert!(bench.driver.stats().waits <= waits + 2, "it waits again and again");
        let _peer = TcpStream::connect(address).unwrap();
        bench.accepted();
    }
}
