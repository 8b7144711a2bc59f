//! Busy and quiet connections. The time of the driver is stopped, and moved on by the test.

use super::*;
use crate::driver::uring::receive::Operation;

impl Bench<Uring> {
    /// What the kernel was asked for to receive from a connection.
    fn operation(&self, key: Key) -> Option<Operation> {
        self.driver.connections.get(key).and_then(|found| found.receive.armed)
    }

    /// Stops the time of the driver so many epochs after it was stopped or read last.
    fn stop_time(&mut self, epochs: u8) {
        self.driver.epoch_held = Some(Epoch(self.driver.epoch.0.wrapping_add(epochs)));
        self.driver.pass(Time::ZERO);
    }

    /// Turns until the kernel has that operation of a connection.
    fn turn_until(&mut self, key: Key, operation: Option<Operation>) {
        let deadline = self.driver.now().after(FAR);
        while self.operation(key) != operation {
            assert!(self.driver.now() < deadline, "{:?}", self.operation(key));
            self.poll();
        }
    }

    /// A connection that is received from, and has said nothing for so long that it is polled.
    fn connect_quiet(&mut self) -> (Key, TcpStream) {
        let (key, peer) = self.connect();
        self.driver.receive(key);
        self.stop_time(2);
        self.turn_until(key, Some(Operation::Poll));
        (key, peer)
    }

    /// A connection of which the kernel has that operation, and the bytes that have arrived and
    /// were not received.
    fn connect_with(&mut self, operation: Operation) -> (Key, TcpStream, &'static [u8]) {
        if operation == Operation::Many {
            let (key, peer) = self.connect();
            self.driver.receive(key);
            self.poll();
            return (key, peer, b"");
        }
        let (key, mut peer) = self.connect_quiet();
        if operation == Operation::Poll {
            return (key, peer, b"");
        }
        peer.write_all(b"early ").unwrap();
        self.turn_until(key, Some(operation));
        (key, peer, b"early ")
    }
}

const OPERATIONS: [Operation; 3] = [Operation::Poll, Operation::One, Operation::Many];

#[test]
fn a_client_that_comes_and_goes_is_received_from_by_one_operation() {
    let mut bench = bench::<OnUring>();
    bench.stop_time(0);
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    for message in [b"request".as_slice(), b"connect", b"join", b"leave"] {
        peer.write_all(message).unwrap();
        assert_eq!(bench.bytes(), (key, message.to_vec()));
        assert_eq!(bench.operation(key), Some(Operation::Many));
    }
    assert_eq!(bench.driver.accepts_many(), [true]);
    drop(peer);
    assert!(matches!(bench.next(), Completion::Ended(ended, None) if ended == key));
    assert_eq!(bench.operation(key), None);
}

#[test]
fn a_silent_connection_waits_on_a_poll_and_nobody_is_woken_to_look_at_it() {
    let mut bench = bench::<OnUring>();
    bench.stop_time(0);
    let (key, _peer) = bench.connect();
    bench.driver.receive(key);
    bench.poll();
    assert_eq!(bench.operation(key), Some(Operation::Many));
    let now = bench.driver.now();
    let look = bench.driver.next_look(now).unwrap();
    assert!(look.since(now) > Duration::from_secs(1) && look.since(now) < Duration::from_secs(3));
    bench.stop_time(1);
    bench.poll();
    assert_eq!(bench.operation(key), Some(Operation::Many), "it is not silent yet");
    bench.stop_time(1);
    bench.turn_until(key, Some(Operation::Poll));
    assert_eq!(bench.driver.patience(now, None, true), None);
    assert!(bench.reported.is_empty());
    assert_eq!(bench.driver.stats().operations_in_flight, 2, "an accept and the poll");
}

#[test]
fn a_wait_ends_for_a_look_at_busy_connections_and_goes_on() {
    let mut bench = bench::<OnUring>();
    let (key, _peer) = bench.connect();
    bench.driver.receive(key);
    bench.stop_time(2);
    let until = bench.driver.now().after(Duration::from_millis(5));
    bench.turn(until);
    assert!(bench.driver.now() >= until && bench.reported.is_empty());
    assert_eq!(bench.operation(key), Some(Operation::Poll));
}

#[test]
fn an_arrival_on_a_quiet_connection_is_reported_and_it_is_polled_again() {
    let mut bench = bench::<OnUring>();
    let (key, mut peer) = bench.connect_quiet();
    for message in [b"pong".as_slice(), b"pong again", b"and again", b"still", b"quiet"] {
        bench.stop_time(2);
        peer.write_all(message).unwrap();
        assert_eq!(bench.bytes(), (key, message.to_vec()));
        assert_eq!(bench.operation(key), Some(Operation::Poll));
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(bench.next(), Completion::Ended(ended, None) if ended == key));
    assert_eq!(bench.operation(key), None);
}

#[test]
fn a_quiet_connection_that_is_reset_ends_with_the_error() {
    let mut bench = bench::<OnUring>();
    let (key, peer) = bench.connect_quiet();
    assert_eq!(bench.driver.send(key, Queue::new(b"unread", 6).gather()), Sent::Now(6));
    peer.peek(&mut [0]).unwrap();
    drop(peer);
    let end = bench.next();
    assert!(matches!(end, Completion::Ended(_, Some(libc::ECONNRESET))), "{end:?}");
}

#[test]
fn a_quiet_connection_becomes_busy_by_arrivals_in_a_row_and_quiet_again_by_silence() {
    let mut bench = bench::<OnUring>();
    let (key, mut peer) = bench.connect_quiet();
    for _ in 0..3 {
        for expected in [Operation::Poll, Operation::Poll, Operation::Poll, Operation::Many] {
            peer.write_all(b"message").unwrap();
            assert_eq!(bench.bytes(), (key, b"message".to_vec()));
            assert_eq!(bench.operation(key), Some(expected));
        }
        assert_eq!(bench.driver.busy.len(), 1, "a busy connection is queued once");
        bench.stop_time(1);
        peer.write_all(b"message").unwrap();
        assert_eq!(bench.bytes().1, b"message");
        bench.stop_time(1);
        bench.poll();
        assert_eq!(bench.operation(key), Some(Operation::Many), "it was not silent");
        bench.stop_time(2);
        bench.turn_until(key, Some(Operation::Poll));
        assert!(bench.driver.busy.is_empty());
        bench.stop_time(2);
    }
}

#[test]
fn what_is_left_in_the_socket_is_received_without_a_poll() {
    let mut bench = bench_with::<OnUring>(&limits(16, 100));
    let (key, mut peer) = bench.connect_quiet();
    let expected = stream(6, 250);
    peer.write_all(&expected).unwrap();
    let mut arrived = Vec::new();
    for operation in [Operation::One, Operation::One, Operation::Poll] {
        arrived.extend(bench.bytes().1);
        assert_eq!(bench.operation(key), Some(operation));
    }
    assert_eq!(arrived, expected);
}

#[test]
fn bytes_stay_in_order_while_a_connection_is_busy_and_quiet_by_turns() {
    let mut bench = bench_with::<OnUring>(&limits(4, 512));
    let (key, mut peer) = bench.connect_quiet();
    let expected = stream(7, 1_000_000);
    let copy = expected.clone();
    let writer = thread::spawn(move || peer.write_all(&copy).map(|()| peer).unwrap());
    let (mut arrived, mut chunks) = (Vec::new(), 0);
    let mut seen = [false; 3];
    while arrived.len() < expected.len() {
        arrived.extend(bench.bytes().1);
        chunks += 1;
        if chunks % 7 == 0 {
            bench.stop_time(2);
        }
        for (seen, operation) in seen.iter_mut().zip(OPERATIONS) {
            *seen |= bench.operation(key) == Some(operation);
        }
    }
    assert!(arrived == expected, "each byte arrives once, in order");
    assert!(seen[1] && seen[2], "{seen:?}");
    assert!(bench.driver.busy.len() <= 1);
    drop(writer.join().unwrap());
    assert!(matches!(bench.next(), Completion::Ended(_, None)));
}

/// The bytes that are reported until a turn has nothing to report and no operation is left.
fn rest(bench: &mut Bench<Uring>, key: Key) -> Vec<u8> {
    bench.turn_until(key, None);
    let mut bytes = Vec::new();
    while !bench.reported.is_empty() {
        bytes.extend(bench.bytes().1);
    }
    bytes
}

#[test]
fn whatever_the_kernel_was_asked_for_a_pause_ends_it_and_receiving_goes_on() {
    for operation in OPERATIONS {
        let mut bench = bench::<OnUring>();
        let (key, mut peer, early) = bench.connect_with(operation);
        bench.driver.pause(key);
        let mut bytes = rest(&mut bench, key);
        assert_eq!(bytes, early, "{operation:?}");
        assert_eq!(bench.driver.stats().operations_in_flight, 1, "the accept");
        peer.write_all(b"late").unwrap();
        (0..3).for_each(|_| bench.poll());
        assert!(bench.reported.is_empty(), "a paused connection reports nothing");
        bench.driver.receive(key);
        bytes.extend(bench.bytes().1);
        assert_eq!(bytes, [early, b"late"].concat());
        bench.driver.pause(key);
        bench.driver.receive(key);
        peer.write_all(b"last").unwrap();
        assert_eq!(bench.bytes(), (key, b"last".to_vec()), "{operation:?}");
    }
}

#[test]
fn whatever_the_kernel_was_asked_for_a_close_ends_it_and_reports_nothing() {
    for operation in OPERATIONS {
        let mut bench = bench_with::<OnUring>(&limits(2, 64));
        for _ in 0..20 {
            let (key, mut peer, _) = bench.connect_with(operation);
            peer.write_all(b"late").unwrap();
            bench.driver.close(key);
            bench.settle(0);
            assert!(bench.reported.is_empty(), "{operation:?}");
            assert_eq!(bench.driver.stats().operations_in_flight, 1, "the accept");
            assert_eq!(bench.driver.buffers.available(), 2);
        }
    }
}

#[test]
fn connections_that_have_left_are_forgotten_with_the_memory_of_their_queue() {
    let mut bench = bench::<OnUring>();
    bench.stop_time(0);
    let (key, _peer) = bench.connect();
    bench.driver.close(key);
    bench.settle(0);
    (0..10_000).for_each(|_| bench.driver.queue_busy(key));
    bench.stop_time(2);
    while !bench.driver.busy.is_empty() {
        bench.poll();
    }
    assert!(bench.driver.busy.capacity() < 3_000, "{}", bench.driver.busy.capacity());
}

#[test]
fn whatever_the_kernel_was_asked_for_a_detach_ends_it_and_loses_no_byte() {
    for operation in OPERATIONS {
        let (mut bench, mut other) = (bench::<OnUring>(), bench::<OnUring>());
        let (key, mut peer, early) = bench.connect_with(operation);
        peer.write_all(b"before ").unwrap();
        bench.driver.detach(key);
        peer.write_all(b"after").unwrap();
        let mut bytes = Vec::new();
        let handle = loop {
            match bench.next() {
                Completion::Detached(_, handle) => break handle,
                Completion::Received { buffer, length, .. } => {
                    bytes.extend_from_slice(&bench.driver.buffer(buffer)[..length]);
                    bench.driver.release(buffer);
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(bench.driver.stats().operations_in_flight, 1, "the accept");
        let key = other.driver.adopt(handle);
        other.driver.receive(key);
        let expected = [early, b"before after"].concat();
        while bytes.len() < expected.len() {
            bytes.extend(other.bytes().1);
        }
        assert_eq!(bytes, expected, "{operation:?}");
    }
}

#[test]
fn a_quiet_connection_without_a_buffer_waits_for_one_and_is_polled_after_it() {
    let mut bench = bench_with::<OnUring>(&limits(2, 512));
    let (quiet, mut peer) = bench.connect_quiet();
    let (greedy, mut flood) = bench.connect();
    bench.driver.receive(greedy);
    flood.write_all(&[0; 1024]).unwrap();
    let mut held = Vec::new();
    while held.len() < 2 {
        match bench.next() {
            Completion::Received { buffer, .. } => held.push(buffer),
            other => panic!("{other:?}"),
        }
    }
    bench.driver.pause(greedy);
    bench.turn_until(greedy, None);
    let exhausted = bench.driver.stats().buffers_exhausted;
    peer.write_all(b"patient").unwrap();
    while bench.driver.stats().buffers_exhausted == exhausted {
        bench.poll();
    }
    assert_eq!(bench.operation(quiet), None);
    (0..3).for_each(|_| bench.poll());
    assert!(bench.reported.is_empty());
    assert_eq!(bench.driver.stats().buffers_exhausted, exhausted + 1, "it is not polled for");
    held.into_iter().for_each(|buffer| bench.driver.release(buffer));
    assert_eq!(bench.bytes(), (quiet, b"patient".to_vec()));
    assert_eq!(bench.operation(quiet), Some(Operation::Poll));
}

#[test]
fn a_crowd_that_falls_silent_is_made_quiet_a_part_in_each_turn() {
    let mut bench = bench::<OnUring>();
    bench.stop_time(0);
    let crowd: Vec<_> = (0..100).map(|_| bench.connect()).collect();
    crowd.iter().for_each(|(key, _)| bench.driver.receive(*key));
    bench.poll();
    bench.stop_time(2);
    bench.driver.look_at_busy();
    assert!((1..100).contains(&bench.driver.busy.len()), "{}", bench.driver.busy.len());
    for (key, _) in &crowd {
        bench.turn_until(*key, Some(Operation::Poll));
    }
    assert!(bench.driver.busy.is_empty() && bench.reported.is_empty());
}

#[test]
fn what_the_kernel_lacks_is_not_asked_for() {
    let least =
        Features { deferred_work: false, multishot_accept: false, multishot_receive: false };
    let mut bench = Bench::of(Uring::with(&limits(16, 1024), SendMode::default(), least).unwrap());
    bench.stop_time(0);
    let (key, mut peer) = bench.connect();
    bench.driver.receive(key);
    for message in [b"request".as_slice(), b"connect"] {
        peer.write_all(message).unwrap();
        assert_eq!(bench.bytes(), (key, message.to_vec()));
        assert_eq!(bench.operation(key), Some(Operation::One), "one for each arrival");
    }
    assert_eq!(bench.driver.accepts_many(), [false]);
    bench.stop_time(2);
    bench.turn_until(key, Some(Operation::Poll));
    peer.write_all(b"pong").unwrap();
    assert_eq!(bench.bytes(), (key, b"pong".to_vec()));
    bench.turn_until(key, Some(Operation::Poll));
    for _ in 0..4 {
        peer.write_all(b"message").unwrap();
        assert_eq!(bench.bytes(), (key, b"message".to_vec()));
    }
    bench.turn_until(key, Some(Operation::One));
    assert!(bench.reported.is_empty());
}
