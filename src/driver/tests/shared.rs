//! Several drivers that accept from one Unix socket.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::Waker;
use std::thread;
use std::time::Instant;

use super::bench::{Bench, FAR, Queue, Subject, limits, stream};
use crate::base::clock::Time;
use crate::driver::unix::SocketFile;
use crate::driver::{Completion, Driver, net};

on_every_driver!(
    drivers_that_share_a_socket_accept_by_turns,
    a_driver_that_stops_leaves_the_clients_to_the_other,
    a_unix_connection_has_no_address_and_carries_bytes_both_ways_to_its_end,
);

/// A socket for two drivers, and its path.
fn socket(rule: &str, subject: &str) -> (PathBuf, SocketFile, [net::Listener; 2]) {
    let name = format!("fanfare-{}-{rule}-{subject}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let (file, listeners) = net::listen_unix(&path, 0o600, 2).unwrap();
    (path, file, listeners.try_into().unwrap())
}

/// One of the drivers that accept by turns.
struct Acceptor {
    /// The thread's folder in `/proc`.
    thread: PathBuf,
    waker: Waker,
}

/// Accepts and counts, until told to stop.
fn accept<S: Subject>(
    listener: net::Listener,
    ready: &Sender<Acceptor>,
    accepted: &AtomicUsize,
    stops: &AtomicBool,
) {
    let mut driver = S::make(&limits(16, 1024));
    driver.listen(listener);
    let thread = Path::new("/proc").join(fs::read_link("/proc/thread-self").unwrap());
    ready.send(Acceptor { thread, waker: driver.waker() }).unwrap();
    let mut completions = Vec::new();
    while !stops.load(Ordering::Acquire) {
        driver.turn(None, &mut completions).unwrap();
        let count = completions.drain(..).filter(|it| matches!(it, Completion::Accepted(_)));
        accepted.fetch_add(count.count(), Ordering::AcqRel);
    }
}

/// Waits until the kernel says that a thread waits for it.
fn wait_for_sleep(acceptor: &Acceptor) {
    let deadline = Instant::now() + FAR;
    loop {
        let stat = fs::read_to_string(acceptor.thread.join("stat")).unwrap();
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
            return;
        }
        assert!(Instant::now() < deadline, "the thread does not sleep: {stat}");
        thread::yield_now();
    }
}

fn drivers_that_share_a_socket_accept_by_turns<S: Subject>() {
    let (path, _file, listeners) = socket("by-turns", S::NAME);
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let total = || counts.iter().map(|count| count.load(Ordering::Acquire)).sum::<usize>();
    let stops = AtomicBool::new(false);
    thread::scope(|scope| {
        let (ready, readiness) = channel();
        for (listener, count) in listeners.into_iter().zip(&counts) {
            let (ready, stops) = (ready.clone(), &stops);
            scope.spawn(move || accept::<S>(listener, &ready, count, stops));
        }
        let acceptors = [(); 2].map(|()| readiness.recv_timeout(FAR).unwrap());
        let mut clients = Vec::new();
        while clients.len() < 40 {
            acceptors.iter().for_each(wait_for_sleep);
            clients.push(UnixStream::connect(&path).unwrap());
            let deadline = Instant::now() + FAR;
            while total() < clients.len() {
                assert!(Instant::now() < deadline, "nobody has accepted");
                thread::yield_now();
            }
        }
        stops.store(true, Ordering::Release);
        acceptors.into_iter().for_each(|acceptor| acceptor.waker.wake());
    });
    assert_eq!(counts.map(AtomicUsize::into_inner), [20, 20]);
}

fn a_driver_that_stops_leaves_the_clients_to_the_other<S: Subject>() {
    let (path, _file, listeners) = socket("alone", S::NAME);
    let [mut first, mut second] = listeners.map(|listener| {
        let mut driver = S::make(&limits(16, 1024));
        driver.listen(listener);
        driver
    });
    first.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    first.stop_listening();
    first.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    let clients: Vec<_> = (0..10).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut completions = Vec::new();
    let deadline = second.now().after(FAR);
    while completions.len() < clients.len() {
        assert!(second.now() < deadline, "nobody has accepted");
        second.turn(Some(deadline), &mut completions).unwrap();
    }
    first.turn(Some(Time::ZERO), &mut completions).unwrap();
    assert_eq!(completions.len(), clients.len(), "one that has stopped reports nobody");
    second.stop_listening();
    second.turn(Some(Time::ZERO), &mut Vec::new()).unwrap();
    assert!(UnixStream::connect(&path).is_err(), "the last one has closed the socket");
}

fn a_unix_connection_has_no_address_and_carries_bytes_both_ways_to_its_end<S: Subject>() {
    let (path, _file, [listener, _]) = socket("bytes", S::NAME);
    let mut driver = S::make(&limits(16, 1024));
    driver.listen(listener);
    let address = SocketAddr::from(([0; 4], 0));
    let mut bench = Bench { driver, address, reported: VecDeque::new() };
    let mut client = UnixStream::connect(path).unwrap();
    let key = bench.accepted();
    assert_eq!(bench.driver.peer(key), None);
    bench.driver.receive(key);
    client.write_all(b"question").unwrap();
    assert_eq!(bench.bytes(), (key, b"question".to_vec()));
    let answer = stream(1, 1 << 20);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).map(|_| bytes)
    });
    Queue::new(&answer, 10_000).send_all(&mut bench, key);
    bench.driver.shutdown(key);
    assert_eq!(reader.join().unwrap().unwrap(), answer);
    assert!(matches!(bench.next(), Completion::Ended(ended, _) if ended == key));
    bench.driver.close(key);
    bench.settle(0);
}
