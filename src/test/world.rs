//! What runs under a simulated application: its shards, its clients, and the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::server::Server;
use crate::base::clock::Time;
use crate::driver::sim::{Faults, Network, Random};
use crate::session::handshake::Transport;
use crate::shard::station::Station;

use super::carrier::Dial;
use super::session::Session;

/// A server and its clients.
pub(super) struct World {
    server: Server,
    network: Network,
    stations: Vec<Station>,
    pub sessions: Vec<Session>,
    random: Random,
    address: SocketAddr,
    /// Handlers that have panicked, as far as the test was told.
    panics: u64,
}

/// Rounds without an end: something is done again and again.
const ROUNDS_MAX: usize = 1_000_000;

impl World {
    pub fn new(server: Server, seed: u64, shards: usize) -> World {
        if let Err(error) = server.take_plan() {
            panic!("the server cannot be simulated: {error}");
        }
        let network = Network::new(seed, Faults::none());
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let stations = Station::start(&server.shared, &network, shards, address);
        server.shared.listens(vec![address.into()]);
        let random = Random::new(!seed);
        World { server, network, stations, sessions: Vec::new(), random, address, panics: 0 }
    }

    /// Connects a client; gives its number.
    pub fn dial(&mut self, transport: Transport, query: &str, headers: String) -> usize {
        let dial = Dial {
            network: self.network.clone(),
            address: self.address,
            transport,
            target: format!("{}?EIO=4{query}", self.server.shared.settings.path),
            headers,
        };
        self.sessions.push(Session::open(dial, self.random.fork()));
        self.sessions.len() - 1
    }

    pub fn now(&self) -> Time {
        self.network.now()
    }

    /// Gives turns, in an order that the seed decides, until nobody has anything to do. No time
    /// passes.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let shards = self.stations.len();
            let mut order: Vec<usize> = (0..shards + self.sessions.len()).collect();
            self.random.shuffle(&mut order);
            let mut has_moved = false;
            for actor in order {
                has_moved |= match actor.checked_sub(shards) {
                    Some(session) => self.sessions[session].step(),
                    None => turn(&mut self.stations[actor]),
                };
            }
            if !has_moved && !self.stations.iter().any(Station::is_runnable) {
                return self.tell_of_panics();
            }
        }
        panic!("it never settles: something is done again and again, without time passing");
    }

    /// Lets time pass, from one thing that is due to the next.
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        self.settle();
        let end = self.now().after(duration);
        while self.now() < end {
            let due = self.stations.iter().filter_map(Station::due);
            let due = due.chain(self.network.next_event()).filter(|due| *due > self.now()).min();
            let next = due.unwrap_or(end).min(end);
            self.network.advance(next.since(self.now()));
            self.settle();
        }
    }

    /// A shard survives the panic of a handler; a test must not.
    #[track_caller]
    fn tell_of_panics(&mut self) {
        let stats = self.stations.iter().map(|it| it.shard.context().with(|state| state.stats));
        let panics = stats.map(|stats| stats.handlers_panicked).sum();
        let is_news = panics > self.panics;
        self.panics = panics;
        assert!(!is_news || std::thread::panicking(), "a handler has panicked: see above");
    }
}

fn turn(station: &mut Station) -> bool {
    match station.step() {
        Ok(has_run) => has_run,
        Err(error) => panic!("a shard cannot go on: {error}"),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Handlers often hold the server, which holds them.
        self.stations.clear();
        Arc::clone(&self.server.shared).forget_handlers();
    }
}
