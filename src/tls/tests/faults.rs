//! Connections that echo and change their driver, under every fault of the fake kernel: nothing is
//! lost, nothing comes twice, and nothing stays behind. A seed that fails is printed; alone it runs
//! with `FANFARE_SEED`.

use std::collections::HashMap;

use super::*;
use crate::driver::sim::{Counters, Random};

const SEEDS: u64 = 300;

/// What a driver has of each connection.
#[derive(Default)]
struct Echo {
    /// Received, and not sent back.
    queue: Vec<u8>,
    is_sending: bool,
    is_leaving: bool,
    has_ended: bool,
}

struct World {
    random: Random,
    benches: [Bench; 2],
    echoes: [HashMap<Key, Echo>; 2],
    /// What connections between two drivers are to send.
    moving: VecDeque<(Handle<sim::Handle>, Echo)>,
}

impl World {
    fn new(seed: u64, faults: &Faults) -> World {
        let limits = Limits { receive_buffers: 8, receive_buffer_bytes: 512, ..Limits::default() };
        let bench = Bench::with(faults.clone(), &limits, None);
        let other = bench.another();
        World {
            random: Random::new(seed),
            benches: [bench, other],
            echoes: Default::default(),
            moving: VecDeque::new(),
        }
    }

    fn step(&mut self) {
        for side in 0..2 {
            self.benches[side].turn();
            while let Some(completion) = self.benches[side].reported.pop_front() {
                self.obey(side, completion);
            }
            if self.random.chance(700)
                && let Some((handle, echo)) = self.moving.pop_front()
            {
                let driver = &mut self.benches[side].driver;
                let key = driver.adopt(handle);
                driver.receive(key);
                self.echoes[side].insert(key, Echo { has_ended: false, is_leaving: false, ..echo });
            }
            let keys: Vec<Key> = self.echoes[side].keys().copied().collect();
            keys.into_iter().for_each(|key| self.act(side, key));
        }
    }

    fn obey(&mut self, side: usize, completion: Reported) {
        let (driver, echoes) = (&mut self.benches[side].driver, &mut self.echoes[side]);
        match completion {
            Completion::Accepted(key) => {
                driver.receive(key);
                echoes.insert(key, Echo::default());
            }
            Completion::Received { connection, buffer, length } => {
                if let Some(echo) = echoes.get_mut(&connection) {
                    assert!(!echo.has_ended, "bytes behind the end");
                    echo.queue.extend_from_slice(&driver.buffer(buffer)[..length]);
                }
                driver.release(buffer);
            }
            Completion::Ended(key, _) => {
                if let Some(echo) = echoes.get_mut(&key) {
                    assert!(!std::mem::replace(&mut echo.has_ended, true), "it ends once");
                }
            }
            Completion::Sent(key, result) => {
                let Some(echo) = echoes.get_mut(&key) else { return };
                assert!(std::mem::take(&mut echo.is_sending), "nothing was in flight");
                match result {
                    Ok(count) => drop(echo.queue.drain(..count)),
                    Err(_) => self.close(side, key),
                }
            }
            Completion::Detached(key, handle) => {
                let echo = echoes.remove(&key).expect("it was asked to leave");
                self.moving.push_back((handle, echo));
            }
        }
    }

    fn close(&mut self, side: usize, key: Key) {
        self.benches[side].driver.close(key);
        self.echoes[side].remove(&key);
    }

    fn act(&mut self, side: usize, key: Key) {
        let bench = &mut self.benches[side];
        let Some(echo) = self.echoes[side].get_mut(&key) else { return };
        if echo.is_sending || echo.is_leaving {
            return;
        }
        if !echo.queue.is_empty() && self.random.chance(800) {
            let count = self.random.range(1..=echo.queue.len());
            match bench.send(key, &echo.queue[..count]) {
                Sent::Now(count) => drop(echo.queue.drain(..count)),
                Sent::Later => echo.is_sending = true,
                Sent::Failed(_) => self.close(side, key),
            }
            return;
        }
        if echo.has_ended && echo.queue.is_empty() {
            bench.driver.shutdown(key);
            return self.close(side, key);
        }
        match self.random.index(20) {
            0 => bench.driver.pause(key),
            1 => {
                echo.is_leaving = true;
                bench.driver.detach(key);
            }
            _ if !echo.has_ended => bench.driver.receive(key),
            _ => {}
        }
    }

    /// Nothing is left of anybody.
    fn is_empty(&self) -> bool {
        let held = self.benches[0].network.counters();
        held == Counters { handles_dropped: held.handles_dropped, ..Counters::default() }
            && self.benches.iter().all(|bench| bench.driver.connections.is_empty())
    }
}

/// A peer that sends all it has, in pieces, and reads when it likes.
struct Talker {
    peer: Peer,
    expected: Vec<u8>,
    said: usize,
}

impl Talker {
    fn step(&mut self, random: &mut Random) {
        if random.chance(600) && !self.peer.tls.is_handshaking() {
            let left = &self.expected[self.said..];
            let count = random.range(0..=left.len().min(30_000));
            self.peer.tls.writer().write_all(&left[..count]).unwrap();
            self.said += count;
        }
        if random.chance(800) {
            self.peer.pump();
        }
    }

    fn has_all(&self) -> bool {
        self.peer.received.len() >= self.expected.len()
    }
}

fn run(seed: u64, faults: &Faults) {
    let mut world = World::new(seed, faults);
    let network = world.benches[0].network.clone();
    let mut random = Random::new(seed ^ 0xfa);
    let mut talkers: Vec<Talker> = (0..3)
        .map(|_| {
            let peer = Peer::by_default(&network);
            Talker { peer, expected: stream(random.range(1..=60_000)), said: 0 }
        })
        .collect();
    for step in 0.. {
        assert!(step < 200_000, "they do not come to an end");
        talkers.iter_mut().for_each(|talker| talker.step(&mut random));
        talkers.iter_mut().filter(|talker| talker.has_all()).for_each(|talker| {
            assert!(talker.peer.received == talker.expected, "it is something else");
            talker.peer.tls.send_close_notify();
            talker.peer.pump();
        });
        talkers.retain(|talker| !talker.has_all() && talker.peer.client.end().is_none());
        world.step();
        if talkers.is_empty() && world.is_empty() {
            return;
        }
        network.advance(Duration::from_micros(random.below(500)));
    }
}

#[test]
fn under_every_fault_no_byte_is_lost_or_comes_twice_and_nothing_stays() {
    let only = std::env::var("FANFARE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let faults = Faults::all(seed);
        let faults = if seed % 2 == 0 { faults.without_resets() } else { faults };
        println!("seed {seed}");
        run(seed, &faults);
    }
}

/// What a connection has said in its handshake, or behind it, with a few bytes changed.
fn say_changed(seed: u64, is_established: bool) {
    let mut random = Random::new(seed);
    let mut bench = Bench::new(Faults::none());
    let (key, mut said, client) = if is_established {
        let (key, mut peer) = bench.connect();
        peer.tls.writer().write_all(&stream(random.range(1..=3_000))).unwrap();
        let said = peer.outgoing();
        (key, said, peer.client)
    } else {
        let mut peer = Peer::by_default(&bench.network);
        let said = peer.outgoing();
        (bench.accept(), said, peer.client)
    };
    for _ in 0..random.range(1..=4) {
        let position = random.index(said.len());
        match random.index(4) {
            0 => said[position] ^= 1 << random.index(8),
            1 => said[position] = random.word() as u8,
            2 => drop(said.remove(position)),
            _ => said.insert(position, random.word() as u8),
        }
    }
    let mut client = client;
    let mut has_ended = false;
    while !said.is_empty() && !has_ended {
        let count = random.range(1..=said.len());
        client.write(&said.drain(..count).collect::<Vec<u8>>());
        bench.turn();
        bench.bytes();
        has_ended = bench.reported.pop_front().is_some_and(|end| {
            assert!(matches!(end, Completion::Ended(ended, Some(libc::EPROTO)) if ended == key));
            true
        });
    }
    bench.driver.close(key);
    bench.turn();
    assert_eq!(bench.network.counters(), Counters::default());
    assert!(bench.driver.connections.is_empty());
}

#[test]
fn what_was_changed_on_its_way_ends_a_connection_or_waits_for_more() {
    for seed in 0..1_500 {
        println!("seed {seed}");
        say_changed(seed, false);
    }
    for seed in 0..300 {
        println!("seed {seed}, behind the handshake");
        say_changed(seed, true);
    }
}
