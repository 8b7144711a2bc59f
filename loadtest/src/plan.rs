//! What is to be done: the options, whether they fit together, and each process' share of them.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::codec::Protocol;
use crate::failure::Failure;
use crate::payload;

/// How many connections share a source address. Each address has 28,232 ports by default, but the
/// kernel looks at every other one first, and when these are taken it passes all of them by before
/// each further one: 18,000 connections from one address take three times as long as from two.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;
/// Descriptors that a process needs besides its clients'.
const OTHER_DESCRIPTORS: u64 = 64;
pub const PROCESSES_MAX: usize = 64;
const PAYLOAD_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeName {
    Idle,
    Fanout,
    Rooms,
    Echo,
    Churn,
    Polling,
    Storm,
}

impl ModeName {
    const ALL: [(&'static str, ModeName); 7] = [
        ("idle", ModeName::Idle),
        ("fanout", ModeName::Fanout),
        ("rooms", ModeName::Rooms),
        ("echo", ModeName::Echo),
        ("churn", ModeName::Churn),
        ("polling", ModeName::Polling),
        ("storm", ModeName::Storm),
    ];

    pub fn parse(name: &str) -> Option<ModeName> {
        ModeName::ALL.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    pub fn name(self) -> &'static str {
        ModeName::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }

    /// Whether clients say anything by themselves while they are measured.
    pub fn has_messages(self) -> bool {
        !matches!(self, ModeName::Idle | ModeName::Churn | ModeName::Storm)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Polling,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: ModeName,
    pub target: SocketAddrV4,
    pub protocol: Protocol,
    pub transport: Transport,
    pub clients: usize,
    pub payload: usize,
    pub window: usize,
    pub rate: Option<f64>,
    pub seconds: f64,
    pub warmup: f64,
    /// How long an idle server has before its memory is read.
    pub settle: f64,
    /// How long what is under way at the end may take before it is lost.
    pub drain: f64,
    pub room_size: usize,
    pub connect_rate: f64,
    pub handshakes: usize,
    pub server_pid: Option<u32>,
    pub cpu: Option<usize>,
    pub processes: usize,
    pub source_addresses: Option<usize>,
    pub json: Option<String>,
    pub sleeps: bool,
}

impl Plan {
    /// What is done when nothing else is said.
    pub fn new(mode: ModeName, target: SocketAddrV4) -> Plan {
        Plan {
            mode,
            target,
            protocol: Protocol::SocketIo,
            transport: Transport::WebSocket,
            clients: 100,
            payload: 64,
            window: 1,
            rate: None,
            seconds: 3.0,
            warmup: 0.5,
            settle: 1.0,
            drain: 5.0,
            room_size: 10,
            connect_rate: 5000.0,
            handshakes: 128,
            server_pid: None,
            cpu: None,
            processes: 1,
            source_addresses: None,
            json: None,
            sleeps: false,
        }
    }

    /// Says what does not fit together.
    pub fn check(&self) -> Result<(), Failure> {
        let most = if self.mode == ModeName::Rooms { self.clients } else { usize::MAX };
        let is_polling = self.transport == Transport::Polling;
        let per_process = self.clients / self.processes.max(1);
        let shares_window = self.mode == ModeName::Rooms && self.rate.is_none();
        let rules = [
            (
                self.target.ip().is_loopback(),
                "--target: only loopback (127.0.0.0/8): a swarm in front of somebody else's \
                 machine is an attack",
            ),
            (self.clients >= 1, "--clients: at least 1"),
            (
                (payload::LENGTH_MIN..=PAYLOAD_MAX).contains(&self.payload),
                "--payload: 48 to 1048576 bytes",
            ),
            (self.window >= 1, "--window: at least 1"),
            (self.rate.is_none_or(|rate| rate > 0.0), "--rate: more than 0"),
            (
                self.rate.is_none() || self.mode.has_messages(),
                "--rate: this mode sends no messages; see --connect-rate",
            ),
            (
                self.seconds > 0.0 && self.seconds <= 86_400.0,
                "--seconds: more than 0, a day at most",
            ),
            ((0.0..=3600.0).contains(&self.warmup), "--warmup: 0 to 3600"),
            ((0.0..=3600.0).contains(&self.settle), "--settle: 0 to 3600"),
            ((0.0..=3600.0).contains(&self.drain), "--drain: 0 to 3600"),
            ((1..=most).contains(&self.room_size), "--room-size: 1 to the number of clients"),
            (self.connect_rate > 0.0, "--connect-rate: more than 0"),
            (self.handshakes >= 1, "--handshakes: at least 1"),
            (
                !is_polling || self.protocol == Protocol::SocketIo,
                "--transport polling: only with --protocol socketio",
            ),
            ((1..=PROCESSES_MAX).contains(&self.processes), "--processes: 1 to 64"),
            (self.processes <= self.clients, "--processes: at most one a client"),
            (
                self.mode != ModeName::Rooms || per_process >= self.room_size,
                "--processes: each has to hold a room",
            ),
            (
                !shares_window || self.window >= self.processes,
                "--processes: rooms need a --window of at least one a process",
            ),
            (
                self.source_addresses.is_none_or(|count| (1..=65_000).contains(&count)),
                "--source-addresses: 1 to 65000",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(Failure::Usage((*what).to_owned())),
            None => Ok(()),
        }
    }

    fn sockets_per_client(&self) -> usize {
        match self.transport {
            Transport::WebSocket => 1,
            Transport::Polling => 2,
        }
    }

    /// The descriptors that the largest share needs.
    pub fn descriptors(&self) -> u64 {
        let clients = self.clients.div_ceil(self.processes);
        (clients * self.sockets_per_client()) as u64 + OTHER_DESCRIPTORS
    }

    /// Where the connections of a client come from: all addresses get as many.
    pub fn source(&self, client: usize) -> Ipv4Addr {
        let connections = self.clients * self.sockets_per_client();
        let needed = connections.div_ceil(CONNECTIONS_PER_ADDRESS);
        let count = self.source_addresses.unwrap_or(needed);
        Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + (client % count) as u32)
    }

    /// What one process of them does.
    pub fn share(&self, worker: usize) -> Share {
        let part =
            |all: usize| (all * worker / self.processes, all * (worker + 1) / self.processes);
        let (first_client, end) = part(self.clients);
        let (first_slot, last_slot) = part(self.window);
        let clients = end - first_client;
        // By the number of clients, so that each has as much to do.
        let of_all = clients as f64 / self.clients as f64;
        Share {
            worker,
            first_client,
            clients,
            window: last_slot - first_slot,
            rate: self.rate.map(|rate| rate * of_all),
            connect_rate: self.connect_rate * of_all,
            handshakes: (self.handshakes / self.processes).max(1),
        }
    }
}

/// The part of a plan that one process does.
#[derive(Clone, Debug)]
pub struct Share {
    pub worker: usize,
    pub first_client: usize,
    pub clients: usize,
    /// Of the publishes under way in all rooms.
    pub window: usize,
    pub rate: Option<f64>,
    pub connect_rate: f64,
    pub handshakes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(change: impl FnOnce(&mut Plan)) -> Plan {
        let mut plan = Plan::new(ModeName::Rooms, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
        change(&mut plan);
        plan
    }

    #[track_caller]
    fn is_refused(option: &str, change: impl FnOnce(&mut Plan)) {
        let error = plan(change).check().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with(option), "{error}");
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_the_name_of_the_option() {
        plan(|_| ()).check().unwrap();
        is_refused("--target", |plan| plan.target.set_ip(Ipv4Addr::new(192, 0, 2, 1)));
        is_refused("--clients", |plan| plan.clients = 0);
        is_refused("--payload", |plan| plan.payload = 47);
        is_refused("--window", |plan| plan.window = 0);
        is_refused("--rate", |plan| plan.rate = Some(0.0));
        is_refused("--rate", |plan| (plan.mode, plan.rate) = (ModeName::Churn, Some(1.0)));
        is_refused("--seconds", |plan| plan.seconds = 0.0);
        is_refused("--seconds", |plan| plan.seconds = f64::NAN);
        is_refused("--room-size", |plan| plan.room_size = 101);
        is_refused("--transport", |plan| {
            (plan.protocol, plan.transport) = (Protocol::Plain, Transport::Polling);
        });
        is_refused("--processes", |plan| plan.processes = 65);
        is_refused("--processes", |plan| (plan.processes, plan.window) = (11, 20));
        is_refused("--processes", |plan| (plan.processes, plan.window) = (4, 3));
    }

    #[test]
    fn shares_are_the_whole() {
        let whole = plan(|plan| {
            (plan.clients, plan.processes, plan.window) = (103, 4, 7);
            plan.rate = Some(10.0);
        });
        let shares: Vec<Share> = (0..4).map(|worker| whole.share(worker)).collect();
        assert_eq!(shares.iter().map(|share| share.clients).sum::<usize>(), 103);
        assert_eq!(shares.iter().map(|share| share.window).sum::<usize>(), 7);
        let rate: f64 = shares.iter().filter_map(|share| share.rate).sum();
        assert!((rate - 10.0).abs() < 1e-9);
        for pair in shares.windows(2) {
            assert_eq!(pair[0].first_client + pair[0].clients, pair[1].first_client);
        }
    }

    #[test]
    fn a_source_address_is_added_for_every_10_000_connections() {
        let last = |clients: usize, transport| {
            let plan = plan(|plan| (plan.clients, plan.transport) = (clients, transport));
            (0..clients).map(|client| plan.source(client)).max()
        };
        assert_eq!(last(10_000, Transport::WebSocket), Some(Ipv4Addr::new(127, 0, 0, 1)));
        assert_eq!(last(10_001, Transport::WebSocket), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(last(10_000, Transport::Polling), Some(Ipv4Addr::new(127, 0, 0, 2)));
    }
}
