//! The fake kernel itself: each of its rules alone, then all faults under shards that echo.

mod faults;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::base::frame::Frame;
use crate::base::limits::Limits;

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 3_000);
const MICROSECOND: Duration = Duration::from_micros(1);

/// A network with one driver that listens.
fn world(faults: Faults) -> (Network, Sim, SocketAddr) {
    let network = Network::new(1, faults);
    let mut sim = network.driver(&Limits::default());
    let address = SocketAddr::from(ADDRESS);
    sim.listen(address);
    (network, sim, address)
}

fn turn(sim: &mut Sim) -> Vec<Completion<Handle>> {
    let mut completions = Vec::new();
    sim.turn(None, &mut completions).expect("the fake never fails");
    completions
}

/// Accepts the one client that waits.
fn accept(sim: &mut Sim) -> Key {
    match turn(sim)[..] {
        [Completion::Accepted(key)] => key,
        ref other => panic!("not one client: {other:?}"),
    }
}

/// The bytes of the completions; their buffers are released.
fn bytes(sim: &mut Sim, completions: &[Completion<Handle>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for completion in completions {
        if let Completion::Received { buffer, length, .. } = *completion {
            bytes.extend_from_slice(&sim.buffer(buffer)[..length]);
            sim.release(buffer);
        }
    }
    bytes
}

fn send(sim: &mut Sim, key: Key, bytes: &[u8]) -> Sent {
    sim.send(key, Gather { head: &[Frame::raw(bytes)], tail: &[], skip: 0 })
}

#[test]
fn bytes_go_both_ways() {
    let (network, mut sim, address) = world(Faults::none());
    let mut client = network.connect(address);
    client.write(b"question");
    let key = accept(&mut sim);
    assert_eq!(sim.peer(key), Some(client.address()));
    assert!(turn(&mut sim).is_empty(), "nothing is received before it is asked for");
    sim.receive(key);
    let completions = turn(&mut sim);
    assert_eq!(bytes(&mut sim, &completions), b"question");
    assert_eq!(send(&mut sim, key, b"answer"), Sent::Now(6));
    assert_eq!(client.read(), b"answer");
    sim.close(key);
    turn(&mut sim);
    assert_eq!((client.end(), client.is_closed()), (Some(End::Finished), true));
    assert_eq!(network.counters(), Counters::default());
}

#[test]
fn a_client_is_refused_where_nobody_listens() {
    let (network, mut sim, address) = world(Faults::none());
    let waiting = network.connect(address);
    sim.stop_listening();
    assert_eq!(waiting.end(), Some(End::Reset));
    assert_eq!(network.connect(address).end(), Some(End::Refused));
    assert_eq!(network.counters(), Counters::default());
}

#[test]
fn every_driver_that_listens_gets_some_of_the_clients() {
    let (network, mut first, address) = world(Faults::none());
    let mut second = network.driver(&Limits::default());
    second.listen(address);
    let _clients: Vec<Client> = (0..40).map(|_| network.connect(address)).collect();
    let (left, right) = (turn(&mut first).len(), turn(&mut second).len());
    assert!(left > 0 && right > 0 && left + right == 40);
}

#[test]
fn who_listens_on_any_address_listens_on_each() {
    let (_, mut sim, _) = world(Faults::none());
    sim.listen(SocketAddr::from(([0, 0, 0, 0], 4_000)));
    let local = SocketAddr::from(([127, 0, 0, 1], 4_000));
    assert_eq!(sim.network().connect(local).end(), None);
}

#[test]
fn a_peer_that_finishes_ends_the_connection_after_its_bytes() {
    let (network, mut sim, address) = world(Faults::none());
    let mut client = network.connect(address);
    client.write(b"last");
    client.shutdown();
    let key = accept(&mut sim);
    sim.receive(key);
    let completions = turn(&mut sim);
    assert_eq!(bytes(&mut sim, &completions), b"last");
    assert!(matches!(completions[..], [_, Completion::Ended(ended, None)] if ended == key));
    assert_eq!(send(&mut sim, key, b"reply"), Sent::Now(5));
    assert_eq!(client.read(), b"reply");
    sim.receive(key);
    assert!(turn(&mut sim).is_empty(), "the end is reported once");
}

#[test]
fn a_reset_ends_with_its_error_number() {
    let (network, mut sim, address) = world(Faults::none());
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    client.reset();
    let completions = turn(&mut sim);
    assert!(matches!(completions[..], [Completion::Ended(_, Some(libc::ECONNRESET))]));
    assert_eq!(send(&mut sim, key, b"late"), Sent::Failed(libc::EPIPE));
    assert_eq!((sim.peer(key), client.end()), (None, Some(End::Reset)));
}

#[test]
fn a_reset_ends_a_send_in_flight() {
    let (network, mut sim, address) = world(Faults { socket_buffer_bytes: 4, ..Faults::none() });
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    assert_eq!(send(&mut sim, key, b"four and more"), Sent::Now(4));
    assert_eq!(send(&mut sim, key, b" and more"), Sent::Later);
    client.reset();
    let completions = turn(&mut sim);
    assert!(matches!(completions[..], [Completion::Sent(_, Err(libc::ECONNRESET))]));
}

#[test]
fn a_client_that_does_not_read_makes_sends_wait() {
    let (network, mut sim, address) = world(Faults { socket_buffer_bytes: 4, ..Faults::none() });
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    assert_eq!(send(&mut sim, key, b"abcdef"), Sent::Now(4));
    assert_eq!(send(&mut sim, key, b"ef"), Sent::Later);
    assert!(turn(&mut sim).is_empty());
    assert_eq!(network.next_event(), None, "only the client can go on");
    assert_eq!(client.read_at_most(1), b"a");
    assert!(sim.is_ready());
    assert!(matches!(turn(&mut sim)[..], [Completion::Sent(_, Ok(1))]));
    assert_eq!(client.read(), b"bcde");
    assert_eq!(sim.stats().sends_deferred, 1);
}

#[test]
fn exhausted_buffers_delay_bytes_and_lose_none() {
    let (network, mut sim, address) = world(Faults { receive_buffers: 1, ..Faults::none() });
    let mut clients: Vec<Client> = (0..3).map(|_| network.connect(address)).collect();
    for completion in turn(&mut sim) {
        let Completion::Accepted(key) = completion else { panic!("not accepted: {completion:?}") };
        sim.receive(key);
    }
    clients.iter_mut().for_each(|client| client.write(b"x"));
    let held = turn(&mut sim);
    assert_eq!((held.len(), sim.stats().buffers_exhausted), (1, 2));
    assert!(turn(&mut sim).is_empty() && !sim.is_ready());
    let mut received = bytes(&mut sim, &held);
    for _ in 0..2 {
        let completions = turn(&mut sim);
        received.extend(bytes(&mut sim, &completions));
    }
    assert_eq!(received, b"xxx");
    assert_eq!(network.counters().buffers, 0);
}

#[test]
fn an_accept_without_a_descriptor_is_tried_again() {
    let (network, mut sim, address) = world(Faults { descriptors: 1, ..Faults::none() });
    let _clients = [network.connect(address), network.connect(address)];
    let first = accept(&mut sim);
    assert_eq!(sim.stats().accepts_refused, 1);
    sim.close(first);
    assert!(turn(&mut sim).is_empty(), "not before its time");
    let retry = network.next_event().expect("the accept is tried again");
    network.advance(retry.since(network.now()));
    assert_eq!(accept(&mut sim).generation, 1);
}

#[test]
fn the_slot_of_a_closed_connection_stays_taken_until_the_kernel_is_done() {
    let (network, mut sim, address) = world(Faults { cancels_late: 1_000, ..Faults::none() });
    let mut client = network.connect(address);
    let old = accept(&mut sim);
    sim.receive(old);
    sim.close(old);
    client.write(b"for nobody");
    assert!(turn(&mut sim).is_empty(), "no completion names a key after close");
    let _second = network.connect(address);
    assert_ne!(accept(&mut sim).index, old.index);
    network.advance(Duration::from_millis(6));
    assert!(turn(&mut sim).is_empty());
    assert_eq!(client.end(), Some(End::Reset), "bytes were never received");
    let _third = network.connect(address);
    let reused = accept(&mut sim);
    assert_eq!(reused.index, old.index);
    assert_ne!(reused.generation, old.generation);
}

#[test]
fn a_detached_connection_loses_nothing_on_its_way() {
    let (network, mut sim, address) = world(Faults::none());
    let mut other = network.driver(&Limits::default());
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    client.write(b"before ");
    let completions = turn(&mut sim);
    let mut received = bytes(&mut sim, &completions);
    sim.detach(key);
    client.write(b"between ");
    let Some(Completion::Detached(_, handle)) = turn(&mut sim).pop() else {
        panic!("not detached")
    };
    assert_eq!(network.counters().handles, 1);
    let adopted = other.adopt(handle);
    client.write(b"after");
    client.shutdown();
    other.receive(adopted);
    let completions = turn(&mut other);
    received.extend(bytes(&mut other, &completions));
    assert_eq!(received, b"before between after");
    assert!(matches!(completions.last(), Some(Completion::Ended(_, None))));
    other.close(adopted);
    assert_eq!(network.counters(), Counters::default());
}

#[test]
fn a_dropped_handle_closes_its_connection_and_is_counted() {
    let (network, mut sim, address) = world(Faults::none());
    let client = network.connect(address);
    let key = accept(&mut sim);
    sim.detach(key);
    drop(turn(&mut sim));
    assert_eq!(network.counters(), Counters { handles_dropped: 1, ..Counters::default() });
    assert_eq!(client.end(), Some(End::Finished));
}

#[test]
fn a_paused_connection_goes_on_where_it_stopped() {
    let (network, mut sim, address) = world(Faults::none());
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    sim.pause(key);
    client.write(b"later");
    assert!(turn(&mut sim).is_empty());
    assert_eq!(client.unreceived_bytes(), 5);
    sim.receive(key);
    let completions = turn(&mut sim);
    assert_eq!(bytes(&mut sim, &completions), b"later");
}

#[test]
fn a_turn_is_due_when_the_waker_was_used() {
    let (_, mut sim, _) = world(Faults::none());
    assert!(!sim.is_ready());
    let waker = sim.waker();
    std::thread::spawn(move || waker.wake()).join().expect("waking does not panic");
    assert!(sim.is_woken() && sim.is_ready());
    turn(&mut sim);
    assert!(!sim.is_ready());
}

#[test]
fn a_driver_that_is_dropped_takes_everything_along() {
    let (network, mut sim, address) = world(Faults::none());
    let mut clients = [network.connect(address), network.connect(address)];
    clients[0].write(b"x");
    for completion in turn(&mut sim) {
        if let Completion::Accepted(key) = completion {
            sim.receive(key);
        }
    }
    assert_eq!(turn(&mut sim).len(), 1);
    let unaccepted = network.connect(address);
    drop(sim);
    assert!(clients.iter().chain([&unaccepted]).all(|client| client.end().is_some()));
    assert_eq!(network.counters(), Counters::default());
}

#[test]
fn a_released_buffer_is_overwritten() {
    let (network, mut sim, address) = world(Faults { receive_buffers: 1, ..Faults::none() });
    let mut client = network.connect(address);
    let key = accept(&mut sim);
    sim.receive(key);
    client.write(b"secret");
    let completions = turn(&mut sim);
    bytes(&mut sim, &completions);
    client.write(b"x");
    let Some(&Completion::Received { buffer, length: 1, .. }) = turn(&mut sim).first() else {
        panic!("nothing received")
    };
    assert_eq!(sim.buffer(buffer)[..3], [b'x', CANARY, CANARY]);
    sim.release(buffer);
}

/// Each of these breaks one rule of the driver.
mod violations {
    use super::*;

    fn accepted(faults: Faults) -> (Sim, Client, Key) {
        let (network, mut sim, address) = world(faults);
        let client = network.connect(address);
        let key = accept(&mut sim);
        (sim, client, key)
    }

    #[test]
    #[should_panic(expected = "(seed 1): two sends are in flight for one connection")]
    fn two_sends_at_once() {
        let (mut sim, _client, key) = accepted(Faults { socket_buffer_bytes: 0, ..Faults::none() });
        send(&mut sim, key, b"a");
        send(&mut sim, key, b"b");
    }

    #[test]
    #[should_panic(expected = "(seed 1): a send has no bytes")]
    fn a_send_of_nothing() {
        let (mut sim, _client, key) = accepted(Faults::none());
        send(&mut sim, key, b"");
    }

    #[test]
    #[should_panic(expected = "used after it was closed")]
    fn use_after_close() {
        let (mut sim, _client, key) = accepted(Faults::none());
        sim.close(key);
        sim.receive(key);
    }

    #[test]
    #[should_panic(expected = "used after detach")]
    fn use_after_detach() {
        let (mut sim, _client, key) = accepted(Faults::none());
        sim.detach(key);
        send(&mut sim, key, b"a");
    }

    #[test]
    #[should_panic(expected = "detached while a send is in flight")]
    fn detach_with_a_send_in_flight() {
        let (mut sim, _client, key) = accepted(Faults { socket_buffer_bytes: 0, ..Faults::none() });
        send(&mut sim, key, b"a");
        sim.detach(key);
    }

    #[test]
    #[should_panic(expected = "a buffer is used that the shard does not have")]
    fn a_buffer_released_twice() {
        let (mut sim, mut client, key) = accepted(Faults::none());
        client.write(b"x");
        sim.receive(key);
        let completions = turn(&mut sim);
        bytes(&mut sim, &completions);
        bytes(&mut sim, &completions);
    }
}

/// A shard that sends back what it receives, pauses now and then and gives connections away.
struct Echo {
    sim: Sim,
    connections: BTreeMap<Key, Echoed>,
    /// Those closed since the last turn: completions of that turn may still name them.
    closed: Vec<Key>,
}

#[derive(Default)]
struct Echoed {
    queue: VecDeque<Frame>,
    skip: usize,
    sending: bool,
    ended: bool,
    leaving: bool,
}

impl Echo {
    fn new(network: &Network, address: SocketAddr) -> Echo {
        let limits = Limits { receive_buffer_bytes: 256, ..Limits::default() };
        let mut sim = network.driver(&limits);
        sim.listen(address);
        Echo { sim, connections: BTreeMap::new(), closed: Vec::new() }
    }

    fn step(&mut self, random: &mut Random) -> Vec<(Handle, Echoed)> {
        self.closed.clear();
        let mut leaving = Vec::new();
        for completion in turn(&mut self.sim) {
            match completion {
                Completion::Accepted(key) => {
                    assert!(self.connections.insert(key, Echoed::default()).is_none());
                    self.sim.receive(key);
                }
                Completion::Received { connection, buffer, length } => {
                    let frame = Frame::raw(&self.sim.buffer(buffer)[..length]);
                    self.sim.release(buffer);
                    if let Some(echoed) = self.known(connection) {
                        assert!(!echoed.ended, "nothing is received after the end");
                        echoed.queue.push_back(frame);
                    }
                }
                Completion::Ended(key, None) => {
                    if let Some(echoed) = self.known(key) {
                        echoed.ended = true;
                    }
                }
                Completion::Sent(key, Ok(length)) => {
                    if let Some(echoed) = self.known(key) {
                        echoed.taken(length);
                    }
                }
                Completion::Ended(key, Some(_)) | Completion::Sent(key, Err(_)) => {
                    if self.known(key).is_some() {
                        self.close(key);
                    }
                }
                Completion::Detached(key, handle) => {
                    if self.known(key).is_some() {
                        leaving
                            .extend(self.connections.remove(&key).map(|echoed| (handle, echoed)));
                    }
                }
            }
        }
        for key in self.connections.keys().copied().collect::<Vec<Key>>() {
            self.advance(key, random);
        }
        leaving
    }

    /// No completion names a connection that was closed before its turn, or never accepted.
    fn known(&mut self, key: Key) -> Option<&mut Echoed> {
        let echoed = self.connections.get_mut(&key);
        assert!(echoed.is_some() || self.closed.contains(&key), "{key:?} is unknown");
        echoed
    }

    fn close(&mut self, key: Key) {
        self.connections.remove(&key);
        self.closed.push(key);
        self.sim.close(key);
    }

    fn adopt(&mut self, (handle, echoed): (Handle, Echoed)) {
        let key = self.sim.adopt(handle);
        self.sim.receive(key);
        self.connections.insert(key, Echoed { ended: false, leaving: false, ..echoed });
    }

    fn advance(&mut self, key: Key, random: &mut Random) {
        let Some(echoed) = self.connections.get_mut(&key) else { return };
        if echoed.leaving || echoed.sending {
            return;
        }
        while !echoed.queue.is_empty() {
            let (head, tail) = echoed.queue.as_slices();
            match self.sim.send(key, Gather { head, tail, skip: echoed.skip }) {
                Sent::Now(length) => echoed.taken(length),
                Sent::Later => return echoed.sending = true,
                Sent::Failed(_) => return self.close(key),
            }
        }
        match random.below(20) {
            _ if echoed.ended => self.close(key),
            0 => {
                echoed.leaving = true;
                self.sim.detach(key);
            }
            1 => self.sim.pause(key),
            _ => self.sim.receive(key),
        }
    }
}

impl Echoed {
    fn taken(&mut self, length: usize) {
        assert!(length > 0, "a send takes at least one byte");
        self.sending = false;
        self.skip += length;
        while let Some(frame) = self.queue.front().filter(|it| it.bytes().len() <= self.skip) {
            self.skip -= frame.bytes().len();
            self.queue.pop_front();
        }
    }
}

/// A peer that writes a text of its own, reads when it likes, and says goodbye.
struct Talker {
    client: Client,
    text: Vec<u8>,
    written: usize,
    read: Vec<u8>,
}

impl Talker {
    fn new(client: Client, random: &mut Random) -> Talker {
        let mut text = vec![0; random.range(0..=4_000)];
        random.fill(&mut text);
        Talker { client, text, written: 0, read: Vec::new() }
    }

    fn step(&mut self, random: &mut Random) {
        let rest = &self.text[self.written..];
        if self.written < self.text.len() && random.chance(500) {
            let length = random.range(1..=rest.len());
            self.client.write(&rest[..length]);
            self.written += length;
        } else if rest.is_empty() {
            self.client.shutdown();
        }
        if random.chance(500) {
            self.read.extend(self.client.read_at_most(random.range(1..=2_000)));
        }
    }

    fn is_done(&self) -> bool {
        self.client.end().is_some() && self.client.readable_bytes() == 0
    }
}

/// What is left of a network after everybody has said goodbye.
struct Outcome {
    talkers: Vec<Talker>,
    stats: Vec<DriverStats>,
    fingerprint: u64,
}

/// Talkers and echoing shards on a network until all talkers are done and all is given back.
fn converse(seed: u64, faults: Faults) -> Outcome {
    let network = Network::new(seed, faults);
    let mut random = Random::new(seed).fork();
    let address = SocketAddr::from(ADDRESS);
    let mut shards: Vec<Echo> = (0..2).map(|_| Echo::new(&network, address)).collect();
    let mut talkers: Vec<Talker> = (0..random.range(1..=6))
        .map(|_| Talker::new(network.connect(address), &mut random))
        .collect();
    for _ in 0..200_000 {
        random.shuffle(&mut shards);
        for number in 0..shards.len() {
            for connection in shards[number].step(&mut random) {
                let adopter = random.index(shards.len());
                shards[adopter].adopt(connection);
            }
        }
        talkers.iter_mut().for_each(|talker| talker.step(&mut random));
        // A handle may be dropped only because its connection was closed before.
        let counters = Counters { handles_dropped: 0, ..network.counters() };
        if talkers.iter().all(Talker::is_done) && counters == Counters::default() {
            let stats = shards.iter().map(|shard| shard.sim.stats()).collect();
            return Outcome { talkers, stats, fingerprint: network.fingerprint() };
        }
        if !shards.iter().any(|shard| shard.sim.is_ready()) {
            let now = network.now();
            let pause = network.next_event().map_or(MICROSECOND, |next| next.since(now));
            network.advance(pause);
        }
    }
    panic!("{network:?} does not come to an end: {:?}", network.counters());
}

#[test]
fn all_bytes_arrive_once_and_in_order_under_all_faults_but_resets() {
    for seed in 0..200 {
        let outcome = converse(seed, Faults::all(seed).without_resets());
        for Talker { client, text, read, .. } in &outcome.talkers {
            assert!(read == text, "seed {seed}: what came back differs");
            assert_eq!(client.end(), Some(End::Finished), "seed {seed}");
        }
    }
}

#[test]
fn what_arrives_before_a_reset_is_right_and_nothing_is_left_behind() {
    let mut resets = 0;
    for seed in 0..200 {
        let outcome = converse(seed, Faults { resets: 20, ..Faults::all(seed) });
        for Talker { client, text, read, .. } in &outcome.talkers {
            assert!(text.starts_with(read), "seed {seed}: what came back differs");
            resets += usize::from(client.end() == Some(End::Reset));
        }
    }
    assert!(resets > 100, "the network hardly ever broke a connection: {resets}");
}

#[test]
fn a_seed_always_goes_the_same_way() {
    let fingerprint = |seed| converse(seed, Faults::all(seed)).fingerprint;
    for seed in 0..20 {
        assert_eq!(fingerprint(seed), fingerprint(seed), "seed {seed}");
    }
    assert_ne!(fingerprint(1), fingerprint(2));
}

#[test]
fn the_faults_of_a_few_seeds_reach_every_counter() {
    let stats: Vec<DriverStats> =
        (0..20).flat_map(|seed| converse(seed, Faults::all(seed)).stats).collect();
    assert!(stats.iter().any(|stats| stats.accepts_refused > 0));
    assert!(stats.iter().any(|stats| stats.buffers_exhausted > 0));
    assert!(stats.iter().any(|stats| stats.sends_deferred > 0 && stats.sends_direct > 0));
    assert!(stats.iter().any(|stats| stats.waits > 0));
    assert!(stats.iter().all(|stats| stats.connections + stats.operations_in_flight == 0));
}

#[test]
fn a_network_prints_its_seed() {
    assert_eq!(format!("{:?}", Network::new(42, Faults::none())), "Network(seed 42, at 0 µs)");
}
