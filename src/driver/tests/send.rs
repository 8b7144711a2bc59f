//! A send is taken at once, or in flight until there is room; there is one at most.

use std::io::{Read, Write};
use std::thread;

use super::bench::{Bench, Queue, Subject, Tested, bench, bench_with, clog, limits, stream};
use crate::base::slab::Key;
use crate::driver::{Completion, Driver, Sent};

on_every_driver!(
    a_send_that_the_socket_has_no_room_for_goes_on_when_the_peer_reads,
    what_is_received_and_what_is_sent_do_not_wait_for_each_other,
    #[should_panic(expected = "at most one send is in flight")]
    a_second_send_while_one_is_in_flight_is_a_programming_error,
    a_send_in_flight_fails_when_the_peer_resets,
    a_send_in_flight_ends_with_its_connection,
    a_send_in_flight_keeps_its_bytes,
    a_send_to_a_connection_that_is_gone_fails,
);

fn a_send_that_the_socket_has_no_room_for_goes_on_when_the_peer_reads<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    let expected = stream(1, 12_000_000);
    let mut queue = Queue::new(&expected, 3_001);
    queue.flush(&mut bench.driver, key);
    assert!(!queue.is_empty(), "nobody has read yet");
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
    queue.finish(&mut bench, key);
    bench.driver.close(key);
    assert!(reader.join().unwrap() == expected, "each byte arrives once, in order");
    let stats = bench.driver.stats();
    assert!(stats.sends_direct > 0 && stats.sends_deferred > 0, "{stats:?}");
}

/// Fills the socket of a connection until a send is in flight, and stays.
fn clog_for_good(bench: &mut Bench<impl Tested>, key: Key) -> usize {
    let mut taken = 0;
    loop {
        taken += clog(&mut bench.driver, key);
        (0..4).for_each(|_| bench.poll());
        match bench.reported.pop_front() {
            None => return taken,
            Some(Completion::Sent(_, Ok(count))) => taken += count,
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn what_is_received_and_what_is_sent_do_not_wait_for_each_other<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, mut peer) = bench.connect();
    let taken = clog_for_good(&mut bench, key);
    bench.driver.receive(key);
    peer.write_all(b"question").unwrap();
    assert_eq!(bench.bytes(), (key, b"question".to_vec()));
    let mut answer = vec![0; taken + 1];
    let reader = thread::spawn(move || peer.read_exact(&mut answer).map(|()| peer));
    let sent = bench.next();
    assert!(matches!(sent, Completion::Sent(sent, Ok(1..)) if sent == key), "{sent:?}");
    let mut peer = reader.join().unwrap().unwrap();
    peer.write_all(b"thanks").unwrap();
    assert_eq!(bench.bytes(), (key, b"thanks".to_vec()));
}

fn a_second_send_while_one_is_in_flight_is_a_programming_error<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, _peer) = bench.connect();
    clog(&mut bench.driver, key);
    bench.driver.send(key, Queue::new(b"second", 6).gather());
}

fn a_send_in_flight_fails_when_the_peer_resets<S: Subject>() {
    let mut bench = bench::<S>();
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
    bench.settle(0);
}

/// It is not reported, and nothing of it stays.
fn a_send_in_flight_ends_with_its_connection<S: Subject>() {
    let mut bench = bench::<S>();
    let idle = bench.driver.stats().operations_in_flight;
    for _ in 0..5 {
        let (key, mut peer) = bench.connect();
        let taken = clog(&mut bench.driver, key);
        bench.poll();
        bench.driver.close(key);
        bench.settle(0);
        bench.is_silent();
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() >= taken, "what the kernel has taken arrives");
        assert!(bench.driver.stats().operations_in_flight <= idle.max(1), "an accept at most");
    }
}

fn a_send_in_flight_keeps_its_bytes<S: Subject>() {
    let mut bench = bench_with::<S>(&limits(2, 64));
    let (key, mut peer) = bench.connect();
    let taken = clog(&mut bench.driver, key);
    // What `clog` sends again and again, the last time in vain.
    let expected = stream(3, 1 << 20);
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes)
    });
    let Completion::Sent(_, Ok(count)) = bench.next() else { panic!("nothing was sent") };
    bench.driver.close(key);
    bench.settle(0);
    let bytes = reader.join().unwrap().unwrap();
    assert_eq!(bytes.len(), taken + count);
    assert!(bytes[taken..] == expected[..count], "the bytes were those of somebody else");
}

fn a_send_to_a_connection_that_is_gone_fails<S: Subject>() {
    let mut bench = bench::<S>();
    let (key, _peer) = bench.connect();
    bench.driver.detach(key);
    let queue = Queue::new(b"late", 4);
    assert_eq!(bench.driver.send(key, queue.gather()), Sent::Failed(libc::EBADF));
    bench.driver.close(key);
    assert_eq!(bench.driver.send(key, queue.gather()), Sent::Failed(libc::EBADF));
}
