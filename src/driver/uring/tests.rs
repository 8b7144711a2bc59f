//! The driver and the real kernel on the loopback interface. No test sleeps: each turns the driver
//! until what it waits for has happened, and fails at a far deadline.

mod busy;
mod shared;
mod wakes;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::base::frame::Frame;
use crate::base::limits::SLICES_PER_SEND;

const FAR: Duration = Duration::from_secs(20);

fn limits(receive_buffers: u16, receive_buffer_bytes: usize) -> Limits {
    Limits { receive_buffers, receive_buffer_bytes, connections: 100_000, ..Limits::default() }
}

/// A driver that listens, and what it has reported.
struct Bench {
    driver: Uring,
    address: SocketAddr,
    reported: VecDeque<Completion<Handle>>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&limits(16, 1024), SendMode::DirectFirst)
    }

    fn with(limits: &Limits, mode: SendMode) -> Bench {
        let mut driver = Uring::with_send_mode(limits, mode).unwrap();
        let (address, listeners) = net::listen(([127, 0, 0, 1], 0).into(), 1).unwrap();
        listeners.into_iter().for_each(|listener| driver.listen(listener));
        Bench { driver, address, reported: VecDeque::new() }
    }

    fn turn(&mut self, until: Time) {
        let mut completions = Vec::new();
        self.driver.turn(Some(until), &mut completions).unwrap();
        self.reported.extend(completions);
    }

    /// Lets the kernel work off whatever is there, without waiting.
    fn poll(&mut self) {
        self.turn(Time::ZERO);
    }

    fn next(&mut self) -> Completion<Handle> {
        let deadline = self.driver.now().after(FAR);
        loop {
            if let Some(completion) = self.reported.pop_front() {
                return completion;
            }
            assert!(self.driver.now() < deadline, "nothing was reported");
            self.turn(deadline);
        }
    }

    fn connect(&mut self) -> (Key, TcpStream) {
        let peer = TcpStream::connect(self.address).unwrap();
        (accepted(self.next()), peer)
    }

    /// The next bytes, whose buffer is released.
    fn bytes(&mut self) -> (Key, Vec<u8>) {
        match self.next() {
            Completion::Received { connection, buffer, length } => {
                let bytes = self.driver.buffer(buffer)[..length].to_vec();
                self.driver.release(buffer);
                (connection, bytes)
            }
            other => panic!("{other:?}"),
        }
    }

    fn descriptor(&self, key: Key) -> i32 {
        self.driver.connections.get(key).map_or(-1, |found| found.socket.as_raw_fd())
    }

    /// Turns until no operation of a connection is left and nothing is closing.
    fn settle(&mut self, connections: u64) {
        let deadline = self.driver.now().after(FAR);
        while self.driver.stats().connections != connections {
            assert!(self.driver.now() < deadline, "a connection did not close");
            self.poll();
        }
    }
}

/// A byte stream whose bytes tell their position, and whose it is.
fn pattern(seed: usize, position: usize) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 7 ^ position ^ seed.wrapping_mul(97)) as u8
}

fn stream(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|position| pattern(seed, position)).collect()
}

/// A queue of frames as a shard keeps one for a connection.
struct Queue {
    frames: Vec<Frame>,
    position: usize,
    skip: usize,
}

impl Queue {
    fn new(bytes: &[u8], frame_bytes: usize) -> Queue {
        Queue { frames: bytes.chunks(frame_bytes).map(Frame::raw).collect(), position: 0, skip: 0 }
    }

    fn gather(&self) -> Gather<'_> {
        let left = &self.frames[self.position..];
        let (head, tail) = left.split_at(left.len() / 3);
        Gather { head, tail, skip: self.skip }
    }

    fn is_empty(&self) -> bool {
        self.position == self.frames.len()
    }

    fn taken(&mut self, mut count: usize) {
        assert!(count > 0);
        while count > 0 {
            let left = self.frames[self.position].bytes().len() - self.skip;
            if count < left {
                self.skip += count;
                return;
            }
            (self.position, self.skip, count) = (self.position + 1, 0, count - left);
        }
    }

    /// Sends until all is taken or a send is in flight.
    fn flush(&mut self, driver: &mut Uring, key: Key) {
        while !self.is_empty() {
            match driver.send(key, self.gather()) {
                Sent::Now(count) => self.taken(count),
                Sent::Later => return,
                Sent::Failed(error) => panic!("error {error}"),
            }
        }
    }
}

#[test]
fn a_connection_takes_no_more_than_32_bytes() {
    assert!(size_of::<Connection>() <= 32, "{}", size_of::<Connection>());
}

#[test]
fn a_client_is_accepted_and_what_it_sends_arrives_until_it_finishes() {
    let mut bench = Bench::new();
    let (key, mut peer) = bench.connect();
    assert_eq!(bench.driver.peer(key), Some(peer.local_addr().unwrap()));
    bench.driver.receive(key);
    bench.driver.receive(key);
    for message in [b"one".as_slice(), b"two"] {
        peer.write_all(message).unwrap();
        assert_eq!(bench.bytes(), (key, message.to_vec()));
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(bench.next(), Completion::Ended(ended, None) if ended == key));
    bench.driver.receive(key);
    bench.poll();
    assert!(bench.reported.is_empty(), "nothing is reported after the end");
    assert_eq!(bench.driver.send(key, Queue::new(b"bye", 3).gather()), Sent::Now(3));
    bench.driver.shutdown(key);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"bye");
    bench.driver.close(key);
    assert_eq!(bench.driver.peer(key), None);
    assert_eq!(bench.driver.stats().connections, 0);
}

#[test]
fn a_connection_that_is_reset_ends_with_the_error() {
    let mut bench = Bench::new();
    let (key, peer) = bench.connect();
    bench.driver.receive(key);
    assert_eq!(bench.driver.send(key, Queue::new(b"unread", 6).gather()), Sent::Now(6));
    peer.peek(&mut [0]).unwrap();
    drop(peer);
    let end = bench.next();
    assert!(matches!(end, Completion::Ended(_, Some(libc::ECONNRESET))), "{end:?}");
    let sent = bench.driver.send(key, Queue::new(b"late", 4).gather());
    assert!(matches!(sent, Sent::Failed(libc::EPIPE)), "{sent:?}");
}

fn transfer(mode: SendMode) -> DriverStats {
    let mut bench = Bench::with(&limits(16, 1024), mode);
    let (key, mut peer) = bench.connect();
    let expected = stream(1, 12_000_000);
    let mut queue = Queue::new(&expected, 3_001);
    let reader = thread::spawn(move || {
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 9_973]);
        loop {
            match peer.read(&mut chunk).unwrap() {
                0 => return bytes,
                count => bytes.extend_from_slice(&chunk[..count]),
            }
            thread::yield_now();
        }
    });
    queue.flush(&mut bench.driver, key);
    while !queue.is_empty() {
        match bench.next() {
            Completion::Sent(_, Ok(count)) => queue.taken(count),
            other => panic!("{other:?}"),
        }
        queue.flush(&mut bench.driver, key);
    }
    bench.driver.close(key);
    assert!(reader.join().unwrap() == expected, "each byte arrives once, in order");
    bench.driver.stats()
}

#[test]
fn a_send_that_the_socket_has_no_room_for_goes_on_when_the_peer_reads() {
    let stats = transfer(SendMode::DirectFirst);
    assert!(stats.sends_direct > 0 && stats.sends_deferred > 0, "{stats:?}");
}

#[test]
fn sends_on_the_ring_alone_give_the_same_bytes() {
    assert_eq!(transfer(SendMode::RingOnly).sends_direct, 0);
}

/// Fills the socket of a connection until a send is in flight; gives the bytes taken before.
fn clog(driver: &mut Uring, key: Key) -> usize {
    let queue = Queue::new(&stream(3, 1 << 20), 1 << 15);
    let mut taken = 0;
    loop {
        match driver.send(key, queue.gather()) {
            Sent::Now(count) => taken += count,
            Sent::Later => return taken,
            Sent::Failed(error) => panic!("error {error}"),
        }
    }
}

#[test]
#[should_panic(expected = "at most one send is in flight")]
fn a_second_send_while_one_is_in_flight_is_a_programming_error() {
    let mut bench = Bench::new();
    let (key, _peer) = bench.connect();
    clog(&mut bench.driver, key);
    bench.driver.send(key, Queue::new(b"second", 6).gather());
}

#[test]
fn a_send_in_flight_fails_when_the_peer_resets() {
    let mut bench = Bench::new();
    let (key, peer) = bench.connect();
    clog(&mut bench.driver, key);
    bench.poll();
    drop(peer);
    match bench.next() {
        Completion::Sent(failed, Err(error)) => {
            assert!(failed == key && matches!(error, libc::ECONNRESET | libc::EPIPE));
        }
        other => panic!("{other:?}"),
    }
    bench.driver.close(key);
    assert_eq!(bench.driver.stats().connections, 0);
}

#[test]
fn frames_stay_in_memory_until_their_send_has_ended() {
    let mut bench = Bench::with(&limits(2, 64), SendMode::RingOnly);
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
fn what_the_kernel_had_taken_arrives_although_input_was_left_unread() {
    let mut bench = Bench::new();
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

#[test]
fn a_paused_connection_goes_on_where_it_stopped() {
    let mut bench = Bench::new();
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
    while bench.driver.stats().operations_in_flight > 1 {
        bench.poll();
    }
    let mut peer = writer.join().unwrap();
    peer.write_all(b"more").unwrap();
    bench.poll();
    assert!(bench.reported.is_empty(), "a paused connection reports nothing more");
    bench.driver.receive(key);
    assert_eq!(bench.bytes(), (key, b"more".to_vec()));
}

#[test]
fn with_two_buffers_every_connection_gets_its_bytes_in_order_and_its_turn() {
    let mut bench = Bench::with(&limits(2, 512), SendMode::DirectFirst);
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

#[test]
fn a_connection_that_waited_for_a_buffer_in_vain_is_the_first_to_get_one() {
    let mut bench = Bench::with(&limits(2, 512), SendMode::DirectFirst);
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

#[test]
fn receiving_starts_again_only_when_a_buffer_was_released() {
    let mut bench = Bench::with(&limits(2, 512), SendMode::DirectFirst);
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    peer.write_all(&stream(0, 2048)).unwrap();
    let mut held = Vec::new();
    while held.len() < 2 {
        match bench.next() {
            Completion::Received { buffer, .. } => held.push(buffer),
            other => panic!("{other:?}"),
        }
    }
    while bench.driver.stats().buffers_exhausted == 0 {
        bench.poll();
    }
    let waits = bench.driver.stats().waits;
    let soon = bench.driver.now().after(Duration::from_millis(5));
    bench.turn(soon);
    assert!(bench.reported.is_empty());
    assert!(bench.driver.stats().waits <= waits + 2, "a starved receive is not polled for");
    held.into_iter().for_each(|buffer| bench.driver.release(buffer));
    let rest: usize = (0..2).map(|_| bench.bytes().1.len()).sum();
    assert_eq!(rest, 1024);
}

#[test]
fn after_a_close_no_completion_reaches_the_connection_with_the_same_descriptor() {
    // Alone in its process, so that no other thread takes the descriptor.
    in_child("after_a_close_no_completion_reaches_the_connection_with_the_same_descriptor", || {
        let mut bench = Bench::new();
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
            let descriptor = bench.descriptor(old);
            peer.write_all(b"old").unwrap();
            bench.driver.close(old);
            assert_eq!(bench.descriptor(old), descriptor, "open while operations are in flight");
            bench.settle(0);
            let new = bench.driver.adopt(Handle::of(served.try_clone().unwrap()));
            assert_eq!((new.index, bench.descriptor(new)), (old.index, descriptor));
            bench.driver.receive(new);
            let _ = peer.write_all(b"old");
            bench.poll();
            next.write_all(b"new").unwrap();
            assert_eq!(bench.bytes(), (new, b"new".to_vec()));
            assert_eq!(bench.driver.send(new, Queue::new(b"new", 3).gather()), Sent::Now(3));
            bench.driver.close(new);
            bench.settle(0);
            assert!(bench.reported.is_empty(), "{:?}", bench.reported);
        }
    });
}

#[test]
fn a_closed_connection_leaves_the_buffers_as_they_were() {
    const CANARY: u8 = 0xa5;
    let mut bench = Bench::with(&limits(8, 256), SendMode::DirectFirst);
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
    let mut bench = Bench::with(&limits(4, 1024), SendMode::DirectFirst);
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
    let mut bench = Bench::with(&limits(2, 512), SendMode::DirectFirst);
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
fn a_connection_changes_its_driver_under_load_and_no_byte_is_lost() {
    const LENGTH: usize = 3_000_000;
    let mut bench = Bench::with(&limits(4, 1024), SendMode::DirectFirst);
    let (mut key, mut peer) = bench.connect();
    let (there, arriving) = mpsc::channel::<Handle>();
    let (back, returned) = mpsc::channel();
    let writer = thread::spawn(move || peer.write_all(&stream(4, LENGTH)).unwrap());
    let other = thread::spawn(move || {
        let mut bench = Bench::with(&limits(4, 1024), SendMode::DirectFirst);
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
fn pass_on(bench: &mut Bench, key: Key, count: usize) -> (Vec<u8>, Handle) {
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

#[test]
fn a_connection_without_operations_is_detached_by_the_next_turn_unless_it_is_closed() {
    let mut bench = Bench::new();
    let (key, mut peer) = bench.connect();
    bench.driver.detach(key);
    let Completion::Detached(_, handle) = bench.next() else { panic!("not detached") };
    assert_eq!(bench.driver.stats().connections, 0);
    let key = bench.driver.adopt(handle);
    bench.driver.detach(key);
    bench.driver.close(key);
    bench.poll();
    assert!(bench.reported.is_empty());
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.driver.stats().connections, 0);
}

#[test]
fn the_limit_of_connections_holds_and_a_close_lets_the_next_one_in() {
    let limits = Limits { connections: 2, ..limits(4, 256) };
    let mut bench = Bench::with(&limits, SendMode::DirectFirst);
    let _peers: Vec<_> = (0..5).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    let mut open = VecDeque::new();
    for closed in 0..5 {
        while open.len() < 2 && closed + open.len() < 5 {
            open.push_back(accepted(bench.next()));
        }
        (0..3).for_each(|_| bench.poll());
        assert!(bench.reported.is_empty());
        bench.driver.close(open.pop_front().unwrap());
    }
    assert_eq!(bench.driver.stats().connections, 0);
}

#[test]
fn after_stop_listening_clients_are_refused_and_nobody_is_accepted() {
    let mut bench = Bench::new();
    let (key, _peer) = bench.connect();
    let _waiting = TcpStream::connect(bench.address).unwrap();
    bench.driver.stop_listening();
    while bench.driver.stats().operations_in_flight > 0 {
        bench.poll();
    }
    assert!(bench.reported.is_empty());
    let error = TcpStream::connect(bench.address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(bench.driver.peer(key).is_some(), "connections that are there stay");
}

/// Runs a test alone in a process of its own, whose limits it may change.
fn in_child(test: &str, body: fn()) {
    const NAME: &str = "FANFARE_TEST_CHILD";
    if std::env::var_os(NAME).is_some_and(|name| name == test) {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("driver::uring::tests::{test}"), "--nocapture"])
        .env(NAME, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

#[test]
fn accepting_goes_on_after_the_descriptors_were_used_up() {
    in_child("accepting_goes_on_after_the_descriptors_were_used_up", || {
        let mut bench = Bench::new();
        let peers: Vec<_> = (0..6).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
        let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
        // SAFETY: the call only reads the structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        hoard.truncate(hoard.len() - 2);
        let mut keys: Vec<Key> = (0..2).map(|_| accepted(bench.next())).collect();
        while bench.driver.stats().accepts_refused < 3 {
            bench.turn(bench.driver.now().after(Duration::from_millis(50)));
            assert!(bench.reported.is_empty());
        }
        let waits = bench.driver.stats().waits;
        // A close of the driver's own makes it try again at once.
        bench.driver.close(keys.remove(0));
        keys.push(accepted(bench.next()));
        assert!(bench.driver.stats().waits <= waits + 2);
        // Of other descriptors it does not know, and finds them at the end of a pause.
        drop(hoard);
        keys.extend((0..3).map(|_| accepted(bench.next())));
        assert_eq!(bench.driver.stats().connections, 5);
        drop(peers);
    });
}

fn accepted(completion: Completion<Handle>) -> Key {
    match completion {
        Completion::Accepted(key) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_limit_connections_are_bounded_by_the_descriptors_less_a_reserve() {
    let limits = Limits { connections: 0, ..limits(2, 64) };
    let driver = Uring::new(&limits).unwrap();
    let descriptors = sys::raise_descriptor_limit().unwrap();
    assert_eq!(driver.connections_max as u64, descriptors - net::DESCRIPTORS_RESERVED);
}

#[test]
fn a_turn_ends_at_its_deadline_and_not_before() {
    let mut bench = Bench::new();
    let until = bench.driver.now().after(Duration::from_millis(30));
    bench.turn(until);
    assert!(bench.driver.now() >= until);
    let before = Instant::now();
    bench.poll();
    assert!(bench.reported.is_empty());
    assert!(before.elapsed() < Duration::from_secs(1), "a deadline in the past does not wait");
}

#[test]
fn dropping_a_driver_ends_what_is_in_flight_and_closes_its_connections() {
    let mut bench = Bench::new();
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
    assert!(before.elapsed() < DROP_TIMEOUT, "the kernel gave everything back");
    for (_, mut peer) in connections {
        peer.set_read_timeout(Some(FAR)).unwrap();
        let end = peer.read_to_end(&mut Vec::new());
        assert!(end.is_ok() || end.unwrap_err().kind() == ErrorKind::ConnectionReset);
    }
}

#[test]
fn randomness_differs() {
    let mut bench = Bench::new();
    let mut draw = || {
        let mut bytes = [0; 16];
        bench.driver.random(&mut bytes);
        bytes
    };
    assert_ne!(draw(), draw());
}
