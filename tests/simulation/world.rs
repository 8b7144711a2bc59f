//! A whole server on the fake kernel: its shards, its clients and the order in which they come to
//! their turn, all drawn from one seed.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::base::clock::Time;
use fanfare::base::limits::Limits;
use fanfare::base::rate::Rate;
use fanfare::driver::sim::{Counters, Faults, Network, Random, Sim};
use fanfare::internal::{Outlook, Shard, Station};
use fanfare::{Builder, Server};

use crate::peer::{Kind, Leave, Peer, Phase};

/// What is different from one property to the other.
pub struct Plan {
    pub shards: usize,
    pub faults: Faults,
    pub builder: Builder,
}

/// A server and its clients.
pub struct World {
    pub network: Network,
    pub server: Server,
    pub shards: Vec<Station>,
    pub peers: Vec<Peer>,
    pub random: Random,
    pub address: SocketAddr,
    pub handlers: Handlers,
    /// Peers that there have ever been.
    pub names: usize,
    /// The shard whose thread hardly gets to run, for now.
    lazy: Option<usize>,
    /// Whether connections may end in the middle of something, as when a send has failed.
    is_lenient: bool,
    /// Checks something after every turn of a shard.
    pub watch: fn(&Shard<Sim>),
}

/// What handlers have to share with the test. The server is in it for the time of a test only:
/// a server whose handlers hold it for good is never dropped.
#[derive(Clone, Default)]
pub struct Handlers(Arc<Mutex<Seen>>);

/// What handlers have seen.
#[derive(Default)]
pub struct Seen {
    pub server: Option<Server>,
    /// Messages in the order in which they were handled: from whom, and which.
    pub messages: Vec<(usize, u64)>,
    pub connected: usize,
    pub disconnected: usize,
}

impl Handlers {
    pub fn with<R>(&self, work: impl FnOnce(&mut Seen) -> R) -> R {
        work(&mut self.0.lock().expect("no handler panics"))
    }

    pub fn server(&self) -> Server {
        self.with(|seen| seen.server.clone()).expect("handlers run while the world exists")
    }
}

/// Turns without an end: something is being done again and again.
const TURNS_MAX: usize = 2_000_000;

impl Plan {
    /// Any number of shards, any faults but broken connections.
    pub fn new(seed: u64) -> Plan {
        let shards = Random::new(seed ^ 0x5eed).range(1..=4);
        let builder = Server::builder().serve_client(false);
        let plan = Plan { shards, faults: Faults::all(seed).without_resets(), builder };
        plan.limits(|limits| {
            limits.receive_buffer_bytes = 512;
            limits.flushes_per_turn = 1 + (seed % 5) as usize;
            // Limits that nobody reaches, so that what they count is kept.
            if seed.is_multiple_of(3) {
                let rate = Rate { burst: 100_000, per_second: 100_000 };
                limits.connections_per_address = 1_000;
                limits.handshakes_per_address = Some(rate);
                limits.packets_per_client = Some(rate);
            }
        })
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Plan {
        self.builder = self.builder.limits(change);
        self
    }
}

impl World {
    /// A server that listens, with handlers that `register` gives it.
    pub fn new(seed: u64, plan: Plan, register: impl FnOnce(&Server, &Handlers)) -> World {
        let is_lenient = plan.faults.sends_failed > 0;
        let network = Network::new(seed, plan.faults);
        let server = plan.builder.build().expect("the options make sense");
        let handlers = Handlers::default();
        register(&server, &handlers);
        handlers.with(|seen| seen.server = Some(server.clone()));
        let shared = fanfare::internal::shared(&server);
        let address = SocketAddr::from(([10, 0, 0, 1], 3_000));
        let shards = Station::start(&shared, &network, plan.shards, address);
        let random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (peers, watch): (_, fn(&Shard<Sim>)) = (Vec::new(), |_| {});
        World {
            network,
            server,
            shards,
            peers,
            random,
            address,
            handlers,
            names: 0,
            lazy: None,
            is_lenient,
            watch,
        }
    }

    /// Connects a client; gives its position.
    pub fn connect(&mut self, kind: Kind) -> usize {
        let seed = self.random.fork();
        let mut peer = Peer::new(self.names, kind, &self.network, self.address, seed);
        peer.is_lenient = self.is_lenient;
        self.peers.push(peer);
        self.names += 1;
        self.peers.len() - 1
    }

    /// Connects a client of any kind.
    pub fn connect_any(&mut self) -> usize {
        let kinds = [Kind::WebSocket, Kind::Polling, Kind::Upgrading];
        let kind = kinds[self.random.index(kinds.len())];
        self.connect(kind)
    }

    /// Connects so many clients of any kind.
    pub fn connect_some(&mut self, count: usize) {
        for _ in 0..count {
            self.connect_any();
        }
    }

    pub fn now(&self) -> Time {
        self.network.now()
    }

    /// Gives everybody a turn, in any order, some of them; those who have nothing to do are left
    /// asleep. Lets time pass when nobody had anything to do; gives how much.
    pub fn step(&mut self) -> Duration {
        if self.random.chance(10) {
            let any = self.random.index(8);
            self.lazy = (any < self.shards.len()).then_some(any);
        }
        let actors = self.shards.len() + self.peers.len();
        let mut order: Vec<usize> = (0..actors).collect();
        self.random.shuffle(&mut order);
        let some = self.random.range(1..=actors);
        let mut has_news = false;
        for (position, actor) in order.into_iter().enumerate() {
            if position >= some && has_news {
                break;
            }
            has_news |= match actor.checked_sub(self.shards.len()) {
                None if self.is_held_up(actor) => true,
                None => self.give_turn(actor),
                Some(peer) => self.peers[peer].step(),
            };
        }
        match has_news {
            true => Duration::ZERO,
            false => self.pass_time(),
        }
    }

    fn give_turn(&mut self, shard: usize) -> bool {
        let station = &mut self.shards[shard];
        let has_run = station.step().expect("the fake never fails");
        if has_run {
            m49_what_is_being_sent_is_charged_to_its_connection(&station.shard);
            (self.watch)(&station.shard);
        }
        has_run
    }

    fn is_held_up(&mut self, shard: usize) -> bool {
        self.lazy == Some(shard) && self.shards[shard].is_runnable() && !self.random.chance(60)
    }

    fn pass_time(&mut self) -> Duration {
        let now = self.now();
        let due = self.shards.iter().filter_map(Station::due).chain(self.network.next_event());
        let due = due.filter(|due| *due > now).min();
        // Without anything to come, a client may still want to act by chance.
        let Some(due) = due else {
            self.network.advance(Duration::from_millis(1));
            return Duration::MAX;
        };
        let pause = due.since(now).min(Duration::from_secs(1));
        self.network.advance(pause);
        pause
    }

    /// Runs until something is so; panics when that takes longer than it may.
    pub fn run_until(&mut self, what: &str, limit: Duration, done: impl Fn(&World) -> bool) {
        let end = self.now().after(limit);
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            assert!(self.now() < end, "{what}: not within {limit:?}\n{}", self.describe());
            self.step();
        }
        panic!("{what}: turns without end\n{}", self.describe());
    }

    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now().after(duration);
        self.run_until("time passes", duration.saturating_mul(2), |world| world.now() >= end);
    }

    /// Runs until everything that is under way has arrived, and only heartbeats are to come.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if self.step() >= Duration::from_millis(500) {
                return;
            }
        }
        panic!("something is done again and again\n{}", self.describe());
    }

    /// Runs until all clients have joined, those that were lost excepted.
    pub fn run_until_joined(&mut self) {
        self.run_until("clients join", Duration::from_secs(9), |world| {
            world.peers.iter().all(|peer| matches!(peer.phase, Phase::Joined | Phase::Gone))
        });
    }

    /// Runs until there is somebody to talk, or nobody will ever be.
    pub fn run_until_one_joined(&mut self) {
        self.run_until("a client joins", Duration::from_secs(9), |world| {
            let mut peers = world.peers.iter();
            peers.any(Peer::is_joined) || world.peers.iter().all(|peer| peer.phase == Phase::Gone)
        });
    }

    /// Everybody leaves, one way or the other, or the server closes; then nothing may be left.
    pub fn finish(mut self) {
        if self.random.chance(500) {
            self.everybody_leaves();
        }
        self.close();
    }

    /// All clients leave: the server must have forgotten them after the heartbeat at the latest.
    pub fn everybody_leaves(&mut self) {
        for peer in &mut self.peers {
            let how = Leave::any(&mut self.random);
            (peer.is_lenient, peer.is_deaf) = (true, false);
            if peer.phase != Phase::Gone {
                peer.leave(how);
            }
        }
        self.run_until("clients are forgotten", Duration::from_secs(150), |world| {
            let held = world.network.counters();
            held.connections + held.unaccepted + held.handles == 0
                && world.shards.iter().all(|station| station.sessions() == 0)
        });
        // The deadlines of those who have gone pass, and nobody is there any more to miss them.
        self.run_until("a shard gives everything back", Duration::from_secs(300), |world| {
            world.shards.iter().all(|station| station.held().is_empty())
        });
        let left = self.network.counters();
        let expected = Counters { handles_dropped: left.handles_dropped, ..Counters::default() };
        assert_eq!(left, expected, "what is held when all clients are gone");
    }

    /// Closes the server; gives the world's fingerprint.
    pub fn close(mut self) -> u64 {
        self.peers.iter_mut().for_each(|peer| peer.is_lenient = true);
        self.server.close();
        let end = self.now().after(Duration::from_secs(20));
        while !self.shards.is_empty() {
            assert!(self.now() < end, "the server closes: not within 20 s\n{}", self.describe());
            self.step();
            // A shard goes as soon as it has finished, whatever the others still want of it.
            for station in self.shards.extract_if(.., |it| it.outlook == Outlook::Finished) {
                let stats = station.shard.context().with(|state| state.stats);
                assert_eq!(stats.sessions_opened, stats.sessions_closed, "sessions closed");
                assert_eq!(stats.handlers_panicked, 0);
            }
        }
        let (connected, gone) = self.handlers.with(|seen| (seen.connected, seen.disconnected));
        assert_eq!(connected, gone, "every socket that was connected is disconnected, once");
        let left = self.network.counters();
        let expected = Counters { handles_dropped: left.handles_dropped, ..Counters::default() };
        assert_eq!(left, expected, "what is held when the shards have ended");
        self.network.fingerprint()
    }

    fn describe(&self) -> String {
        let mut text = format!("at {} µs\n", self.now().as_micros());
        for peer in &self.peers {
            let (name, kind, phase) = (peer.name, peer.kind, peer.phase);
            let _ = writeln!(text, "peer {name}: {kind:?} {phase:?}, {} events", peer.events.len());
        }
        for station in &self.shards {
            let state = station.shard.context();
            let _ = writeln!(
                text,
                "shard: {:?}, ready {}, holds {:?}, {:?}",
                station.outlook,
                station.shard.driver().is_ready(),
                station.held(),
                state.with(|state| state.stats),
            );
        }
        let _ = writeln!(text, "{:?}", self.network.counters());
        text
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.handlers.with(|seen| seen.server = None);
    }
}

/// What the kernel has of a connection counts as long as it has it: the frames are in memory, and
/// within the limit of what may wait for the client.
fn m49_what_is_being_sent_is_charged_to_its_connection(shard: &Shard<Sim>) {
    for (key, bytes) in shard.driver().sends_in_flight() {
        let queued = shard.context().with(|state| {
            let conn = state.connections.get(key).expect("who is sent something is known");
            conn.queue.bytes()
        });
        assert!(bytes <= queued, "{bytes} bytes are being sent, and {queued} are counted");
    }
}

/// What a test wants to know of a shard.
pub trait Inspect {
    fn sessions(&self) -> usize;
}

impl Inspect for Station {
    fn sessions(&self) -> usize {
        self.shard.context().with(|state| state.sessions.len())
    }
}
