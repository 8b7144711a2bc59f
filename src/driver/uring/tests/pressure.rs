//! Rings that are too small for what they carry, and kernels that refuse, delay and reorder. The
//! kernel is the real one: a seed says what is tried, and not always how it goes.

use std::collections::HashMap;
use std::io::ErrorKind;

use super::mischief::Mischief;
use super::*;
use crate::driver::sim::Random;
use crate::driver::tests::bench::pattern;
use crate::driver::uring::ring::Work;

/// A driver whose ring takes four operations, and holds eight completions.
fn tiny(limits: &Limits, send_mode: SendMode) -> Bench<Uring> {
    let ring = Ring::with_queues(Work::Deferred, 4, 8).unwrap();
    Bench::of(Uring::on((ring, Features::ALL), limits, send_mode).unwrap())
}

/// A client, and what it and the server have sent each other.
struct Talk {
    peer: TcpStream,
    number: usize,
    /// Bytes that the client has written, and the server has received.
    written: usize,
    received: usize,
    /// Bytes that the server has sent, and the client has read.
    sent: usize,
    read: usize,
    is_sending: bool,
    is_over: bool,
}

/// Clients whose bytes tell their position and whose they are, so that none can be lost, doubled,
/// moved or given to another one.
struct Crowd {
    bench: Bench<Uring>,
    talks: HashMap<Key, Talk>,
    /// Connections that were closed: no completion may name them.
    closed: Vec<Key>,
    /// Those that the driver has not reported yet, by their address.
    arriving: HashMap<SocketAddr, TcpStream>,
    count: usize,
}

impl Crowd {
    fn new(bench: Bench<Uring>) -> Crowd {
        let (talks, closed, arriving) = (HashMap::new(), Vec::new(), HashMap::new());
        Crowd { bench, talks, closed, arriving, count: 0 }
    }

    fn connect(&mut self) {
        let peer = TcpStream::connect(self.bench.address).unwrap();
        peer.set_nonblocking(true).unwrap();
        self.arriving.insert(peer.local_addr().unwrap(), peer);
    }

    fn turn(&mut self) {
        self.bench.poll();
        while let Some(completion) = self.bench.reported.pop_front() {
            self.take(completion);
        }
    }

    fn take(&mut self, completion: Completion<Handle>) {
        let named = match &completion {
            Completion::Accepted(key) | Completion::Ended(key, _) => *key,
            Completion::Sent(key, _) | Completion::Detached(key, _) => *key,
            Completion::Received { connection, .. } => *connection,
        };
        assert!(!self.closed.contains(&named), "of a closed connection: {completion:?}");
        if let Completion::Accepted(key) = completion {
            return self.begin(key);
        }
        let talk = self.talks.get_mut(&named).expect("a connection that was accepted");
        match completion {
            Completion::Received { buffer, length, .. } => {
                assert!(!talk.is_over, "nothing is received after the end");
                for &byte in &self.bench.driver.buffer(buffer)[..length] {
                    assert_eq!(byte, pattern(talk.number, talk.received), "{}", talk.received);
                    talk.received += 1;
                }
                self.bench.driver.release(buffer);
            }
            Completion::Ended(_, error) => {
                assert_eq!((error, talk.is_over), (None, false));
                talk.is_over = true;
            }
            Completion::Sent(_, taken) => {
                talk.sent += taken.expect("the client is there");
                talk.is_sending = false;
            }
            Completion::Accepted(_) | Completion::Detached(..) => panic!("{completion:?}"),
        }
    }

    fn begin(&mut self, key: Key) {
        let address = self.bench.driver.peer(key).expect("the client is there");
        let peer = self.arriving.remove(&address).expect("one that connects");
        self.count += 1;
        let (number, is_sending, is_over) = (self.count, false, false);
        let (written, received, sent, read) = (0, 0, 0, 0);
        let talk = Talk { peer, number, written, received, sent, read, is_sending, is_over };
        assert!(self.talks.insert(key, talk).is_none(), "{key:?} was in use");
        self.bench.driver.receive(key);
    }

    /// The client writes.
    fn write(&mut self, key: Key, length: usize) {
        let talk = self.talks.get_mut(&key).unwrap();
        let end = talk.written + length;
        let bytes: Vec<u8> = (talk.written..end).map(|at| pattern(talk.number, at)).collect();
        talk.written += talk.peer.write(&bytes).unwrap_or(0);
    }

    /// The server sends. Its frames are gone when that returns: the driver has them alone.
    fn send(&mut self, key: Key, length: usize) {
        let talk = self.talks.get_mut(&key).unwrap();
        if talk.is_sending {
            return;
        }
        let (number, end) = (talk.number + 1, talk.sent + length);
        let bytes: Vec<u8> = (talk.sent..end).map(|at| pattern(number, at)).collect();
        match self.bench.driver.send(key, Queue::new(&bytes, 100).gather()) {
            Sent::Now(taken) => talk.sent += taken,
            Sent::Later => talk.is_sending = true,
            Sent::Failed(error) => panic!("error {error}"),
        }
    }

    /// The client reads.
    fn read(&mut self, key: Key, most: usize) {
        let talk = self.talks.get_mut(&key).unwrap();
        let mut bytes = vec![0; most];
        let length = match talk.peer.read(&mut bytes) {
            Ok(length) => length,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        };
        for &byte in &bytes[..length] {
            assert_eq!(byte, pattern(talk.number + 1, talk.read), "{}", talk.read);
            talk.read += 1;
        }
    }

    fn close(&mut self, key: Key) -> Talk {
        self.bench.driver.close(key);
        self.closed.push(key);
        self.talks.remove(&key).unwrap()
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Crowd) -> bool) {
        let deadline = self.bench.driver.now().after(FAR);
        while !done(self) {
            assert!(self.bench.driver.now() < deadline, "{what}");
            self.turn();
        }
    }

    /// All that was written arrives, both ways; then all connections are closed, and the driver
    /// has everything back.
    fn finish(mut self, buffers: usize) {
        self.turn_until("clients are accepted", |crowd| crowd.arriving.is_empty());
        let deadline = self.bench.driver.now().after(FAR);
        let is_done = |talk: &Talk| {
            talk.received == talk.written && !talk.is_sending && talk.read == talk.sent
        };
        while !self.talks.values().all(is_done) {
            assert!(self.bench.driver.now() < deadline, "something was lost");
            self.turn();
            let keys: Vec<Key> = self.talks.keys().copied().collect();
            keys.into_iter().for_each(|key| self.read(key, 100_000));
        }
        let keys: Vec<Key> = self.talks.keys().copied().collect();
        let peers: Vec<Talk> = keys.into_iter().map(|key| self.close(key)).collect();
        self.turn_until("connections are closed", |crowd| {
            crowd.bench.driver.stats().connections == 0
        });
        drop(peers);
        self.turn();
        assert_eq!(self.bench.driver.buffers.available(), buffers, "every buffer is back");
        assert!(self.bench.driver.stats().operations_in_flight <= 1, "but for the accept");
        assert!(self.bench.driver.starved.is_empty() || self.talks.is_empty());
    }
}

#[test]
fn m47_nothing_is_lost_when_both_queues_overflow() {
    for send_mode in [SendMode::DirectFirst, SendMode::RingOnly] {
        let mut crowd = Crowd::new(tiny(&limits(256, 1024), send_mode));
        (0..200).for_each(|_| crowd.connect());
        crowd.turn_until("clients are accepted", |crowd| crowd.arriving.is_empty());
        let keys: Vec<Key> = crowd.talks.keys().copied().collect();
        let mut has_overflowed = false;
        for round in 1..=5 {
            keys.iter().for_each(|&key| crowd.write(key, 700 * round));
            keys.iter().for_each(|&key| crowd.send(key, 900 * round));
            crowd.bench.driver.ring.enter(Some(Duration::ZERO)).unwrap();
            has_overflowed |= crowd.bench.driver.ring.has_overflowed();
            (0..5).for_each(|_| crowd.turn());
        }
        assert!(has_overflowed, "the kernel had room for all completions");
        crowd.finish(256);
    }
}

#[test]
fn m47_m48_a_kernel_that_refuses_delays_and_reorders_loses_nothing_and_mixes_nothing_up() {
    for seed in 0..60 {
        println!("seed {seed}");
        misbehave(seed);
    }
}

/// Clients come, talk and are closed, under everything at once.
fn misbehave(seed: u64) {
    let mut random = Random::new(seed);
    let send_mode = if seed.is_multiple_of(2) { SendMode::DirectFirst } else { SendMode::RingOnly };
    let buffers = 1 << random.range(1..=4);
    let limits = limits(buffers, 128 << random.range(0..=3));
    let mut bench = match seed % 3 {
        0 => Bench::of(Uring::with(&limits, send_mode, Features::ALL).unwrap()),
        _ => tiny(&limits, send_mode),
    };
    bench.driver.ring.mischief = Some(Mischief::new(seed));
    let mut crowd = Crowd::new(bench);
    for _ in 0..400 {
        if crowd.talks.len() < 12 && random.chance(300) {
            crowd.connect();
        }
        let mut keys: Vec<Key> = crowd.talks.keys().copied().collect();
        keys.sort_unstable();
        if let Some(&key) = keys.get(random.range(0..=12)) {
            match random.below(12) {
                0 => drop(crowd.close(key)),
                1 => crowd.bench.driver.pause(key),
                2 => crowd.bench.driver.receive(key),
                3..6 => crowd.write(key, random.range(1..=3_000)),
                6..9 => crowd.send(key, random.range(1..=200_000)),
                _ => crowd.read(key, random.range(1..=200_000)),
            }
        }
        if random.chance(500) {
            crowd.turn();
        }
    }
    for key in crowd.talks.keys() {
        crowd.bench.driver.receive(*key);
    }
    // Whoever arrives from now on is received from as well.
    crowd.finish(buffers.into());
}
