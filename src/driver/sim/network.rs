//! The world that simulated drivers and their clients share: time, chance, sockets.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Sim;
use super::client::{Client, End};
use super::faults::Faults;
use super::random::{PerMille, Random};
use super::ring::Ring;
use super::socket::{Pipe, Segment, Socket};
use crate::base::clock::Time;
use crate::base::limits::Limits;

/// A seeded network with its own clock. Clones are the same network.
///
/// The clock stands still but for [`Network::advance`] and [`Faults::stalls`]. A test steps the
/// shards on it until [`Network::next_event`] is in the future, and then advances to that or to the
/// shards' own deadline, whichever comes first.
#[derive(Clone)]
pub struct Network(Rc<RefCell<Kernel>>);

/// What the fake kernel holds; all zero when everything was given back and no handle was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that a driver has, closing ones included.
    pub connections: usize,
    /// Clients that were not accepted yet.
    pub unaccepted: usize,
    /// Receives that are armed and sends that have not ended.
    pub operations: usize,
    /// Handles that were detached and not adopted.
    pub handles: usize,
    /// Handles that were dropped and so closed their connection, since the start. Right only when
    /// the shard had closed the connection before it came to [`Completion::Detached`].
    ///
    /// [`Completion::Detached`]: crate::driver::Completion::Detached
    pub handles_dropped: usize,
    /// Receive buffers that a shard has not released, or that the kernel picked for a connection
    /// that is closing.
    pub buffers: usize,
}

/// Names one connection of the network; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketId(u64);

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// Connections of dropped handles. A handle may be dropped on any thread, so this alone is shared.
pub(super) type Dropped = Arc<Mutex<Vec<SocketId>>>;

#[derive(Debug)]
pub(super) struct Kernel {
    pub world: World,
    pub rings: Vec<Ring>,
}

/// What is outside of the drivers.
#[derive(Debug)]
pub(super) struct World {
    pub seed: u64,
    pub random: Random,
    pub faults: Faults,
    pub now: Time,
    pub handles: usize,
    pub dropped: Dropped,
    handles_dropped: usize,
    sockets: BTreeMap<SocketId, Socket>,
    sockets_made: u64,
    fingerprint: u64,
}

impl Network {
    /// A network without anything on it.
    pub fn new(seed: u64, faults: Faults) -> Network {
        let world = World {
            seed,
            random: Random::new(seed),
            faults,
            now: Time::ZERO,
            handles: 0,
            dropped: Dropped::default(),
            handles_dropped: 0,
            sockets: BTreeMap::new(),
            sockets_made: 0,
            fingerprint: FINGERPRINT_SEED,
        };
        Network(Rc::new(RefCell::new(Kernel { world, rings: Vec::new() })))
    }

    /// A driver on this network; one per shard. It uses the receive buffers of the limits.
    pub fn driver(&self, limits: &Limits) -> Sim {
        let mut kernel = self.kernel_mut();
        let buffers = limits.receive_buffers.min(kernel.world.faults.receive_buffers);
        let random = kernel.world.random.fork();
        let number = kernel.rings.len();
        kernel.rings.push(Ring::new(buffers, random));
        drop(kernel);
        Sim::new(self.clone(), number, buffers, limits.receive_buffer_bytes)
    }

    /// Connects a client to an address; one of the drivers that listen there will accept it.
    /// Without any, the client has ended with [`End::Refused`].
    pub fn connect(&self, address: SocketAddr) -> Client {
        let mut kernel = self.kernel_mut();
        let Kernel { world, rings } = &mut *kernel;
        let socket = world.new_socket();
        let mut listening: Vec<&mut Ring> =
            rings.iter_mut().filter(|ring| ring.listens_on(address)).collect();
        if listening.is_empty() {
            let refused = world.socket_mut(socket);
            refused.client_end = Some(End::Refused);
            refused.server_gone = true;
        } else {
            let due = world.arrival();
            let chosen = world.random.index(listening.len());
            listening[chosen].offer(address, due, socket);
        }
        drop(kernel);
        Client::new(self.clone(), socket)
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.kernel().world.now
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        self.kernel_mut().world.advance(duration);
    }

    /// The next time at which something happens by itself: bytes arrive, or a driver has something
    /// to report. Now, when a driver has something already; `None` when the world only waits for
    /// shards and clients.
    pub fn next_event(&self) -> Option<Time> {
        let mut kernel = self.kernel_mut();
        kernel.reap();
        let Kernel { world, rings } = &*kernel;
        let arrivals = world.sockets.values().flat_map(|socket| [&socket.up, &socket.down]);
        let arrivals = arrivals.filter_map(Pipe::next_due);
        arrivals.chain(rings.iter().filter_map(|ring| ring.next_event(world))).min()
    }

    /// Changes what goes wrong from now on; [`Faults::none`] heals the network. Buffers that a
    /// driver was made without do not come back.
    pub fn set_faults(&self, faults: Faults) {
        self.kernel_mut().world.faults = faults;
    }

    /// What is held now.
    pub fn counters(&self) -> Counters {
        let mut kernel = self.kernel_mut();
        kernel.reap();
        let Kernel { world, rings } = &*kernel;
        let mut counters = Counters {
            handles: world.handles,
            handles_dropped: world.handles_dropped,
            ..Counters::default()
        };
        rings.iter().for_each(|ring| ring.count(&mut counters, world.now));
        counters
    }

    /// A number that stands for every completion so far and its time: two runs that give the same
    /// one went the same way.
    pub fn fingerprint(&self) -> u64 {
        self.kernel().world.fingerprint
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.kernel().world.seed
    }

    pub(super) fn kernel(&self) -> Ref<'_, Kernel> {
        self.0.borrow()
    }

    pub(super) fn kernel_mut(&self) -> RefMut<'_, Kernel> {
        self.0.borrow_mut()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.try_borrow() {
            Ok(kernel) => {
                let World { seed, now, .. } = &kernel.world;
                write!(formatter, "Network(seed {seed}, at {} µs)", now.as_micros())
            }
            Err(_) => write!(formatter, "Network(in use)"),
        }
    }
}

impl Kernel {
    /// The part of one driver, and the world.
    pub fn parts(&mut self, number: usize) -> (&mut Ring, &mut World) {
        (&mut self.rings[number], &mut self.world)
    }

    /// Closes the connections of handles that were dropped since.
    pub fn reap(&mut self) {
        let mut dropped = self.world.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = std::mem::take(&mut *dropped);
        drop(dropped);
        for socket in sockets {
            self.world.handles -= 1;
            self.world.handles_dropped += 1;
            self.world.close_server(socket);
        }
    }

    /// Connections of all drivers, and those between two.
    pub fn descriptors(&self) -> usize {
        self.world.handles + self.rings.iter().map(Ring::descriptors).sum::<usize>()
    }
}

/// The longest that a process is stopped.
const STALL_MAX: Duration = Duration::from_millis(250);

/// How far the times are apart at which clients come together.
const BURST: Duration = Duration::from_millis(10);

/// How a connection breaks.
const RESETS: [i32; 4] = [libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::EPIPE];

const FINGERPRINT_SEED: u64 = 0xcbf2_9ce4_8422_2325;
const FINGERPRINT_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Why a lookup cannot fail: see [`World::forget`].
const FORGOTTEN: &str = "a socket stays until both of its ends are gone";

impl World {
    /// Ends the test: the code under test did what the rule forbids.
    #[track_caller]
    pub fn violated(&self, rule: &str) -> ! {
        panic!("rule of the driver violated (seed {}): {rule}", self.seed)
    }

    /// Mixes a fact into the fingerprint (FNV-1a, a word at a time).
    pub fn note(&mut self, fact: u64) {
        self.fingerprint = (self.fingerprint ^ fact).wrapping_mul(FINGERPRINT_PRIME);
    }

    /// Now, or by chance a moment later.
    pub fn due(&mut self, late: PerMille) -> Time {
        if self.random.chance(late) { self.later() } else { self.now }
    }

    /// A moment later than now.
    pub fn later(&mut self) -> Time {
        let most = u64::try_from(self.faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        let micros = self.random.below(most.max(1)).saturating_add(1);
        self.now.after(Duration::from_micros(micros))
    }

    /// Lets time pass.
    fn advance(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        let now = self.now;
        self.sockets.values_mut().for_each(|socket| socket.settle(now));
    }

    /// By chance, lets time pass as if the process had been stopped.
    pub fn maybe_stall(&mut self) {
        if self.random.chance(self.faults.stalls) {
            let micros = self.random.below(STALL_MAX.as_micros() as u64);
            self.advance(Duration::from_micros(micros));
        }
    }

    /// When a client that connects now can be accepted.
    fn arrival(&mut self) -> Time {
        let due = self.due(self.faults.deliveries_delayed);
        if !self.random.chance(self.faults.accepts_in_bursts) {
            return due;
        }
        let micros = due.as_micros().next_multiple_of(BURST.as_micros() as u64);
        Time::from_micros(micros)
    }

    fn new_socket(&mut self) -> SocketId {
        self.sockets_made += 1;
        let id = SocketId(self.sockets_made);
        let host = Ipv4Addr::from(0x0a00_0000 | (self.sockets_made as u32 & 0x00ff_ffff));
        self.sockets.insert(id, Socket::new(SocketAddr::from((host, 40_000))));
        id
    }

    /// A connection that its client, a driver or a handle has.
    pub fn socket(&self, id: SocketId) -> &Socket {
        let Some(socket) = self.sockets.get(&id) else { unreachable!("{FORGOTTEN}") };
        socket
    }

    /// The same, to change it.
    pub fn socket_mut(&mut self, id: SocketId) -> &mut Socket {
        let Some(socket) = self.sockets.get_mut(&id) else { unreachable!("{FORGOTTEN}") };
        socket
    }

    /// Room for what the server sends.
    pub fn room_bytes(&self, id: SocketId) -> usize {
        self.faults.socket_buffer_bytes.saturating_sub(self.socket(id).down.held_bytes())
    }

    /// Sends bytes, in pieces that arrive when the network likes.
    pub fn transmit(&mut self, id: SocketId, direction: Direction, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let cut = self.random.chance(self.faults.deliveries_split);
            let length = if cut { self.random.range(1..=bytes.len()) } else { bytes.len() };
            let (piece, rest) = bytes.split_at(length);
            self.push(id, direction, Segment::Bytes(piece.to_vec()));
            bytes = rest;
        }
    }

    /// Sends as much as there is room for, or by chance less; gives how much.
    pub fn send(&mut self, id: SocketId, bytes: &[u8]) -> usize {
        let most = bytes.len().min(self.room_bytes(id));
        let short = most > 1 && self.random.chance(self.faults.sends_short);
        let length = if short { self.random.range(1..=most - 1) } else { most };
        self.transmit(id, Direction::Down, &bytes[..length]);
        length
    }

    /// What a send fails with, by chance.
    pub fn send_failure(&mut self) -> Option<i32> {
        let errors = [libc::ENOBUFS, libc::ENOMEM, libc::EPIPE, libc::ECANCELED];
        let fails = self.random.chance(self.faults.sends_failed);
        fails.then(|| errors[self.random.index(errors.len())])
    }

    fn push(&mut self, id: SocketId, direction: Direction, segment: Segment) {
        let due = self.due(self.faults.deliveries_delayed);
        let now = self.now;
        let socket = self.socket_mut(id);
        match direction {
            Direction::Up => socket.up.push(due, segment),
            Direction::Down => socket.down.push(due, segment),
        }
        socket.settle(now);
    }

    /// By chance, breaks the connection for both ends.
    pub fn maybe_cut(&mut self, id: SocketId) {
        if !self.random.chance(self.faults.resets) {
            return;
        }
        let errno = RESETS[self.random.index(RESETS.len())];
        let discards = self.random.chance(self.faults.resets_discarding);
        let socket = self.socket_mut(id);
        socket.break_server(errno, discards);
        socket.break_client();
    }

    /// The server says that it will send nothing more.
    pub fn finish_server(&mut self, id: SocketId) {
        let socket = self.socket(id);
        if !socket.down.finished && !socket.broken {
            self.push(id, Direction::Down, Segment::Finish);
        }
    }

    /// The server's descriptor is closed. As on Linux the client is reset when bytes of it were
    /// never received; what the kernel had taken from the server arrives before that.
    pub fn close_server(&mut self, id: SocketId) {
        let socket = self.socket_mut(id);
        socket.server_gone = true;
        match socket.up.held_bytes() > 0 && !socket.broken {
            true => {
                let reset = Segment::Reset { errno: libc::ECONNRESET, discards: false };
                self.push(id, Direction::Down, reset);
            }
            false => self.finish_server(id),
        }
        self.forget(id);
    }

    /// The client says that it will send nothing more.
    pub fn finish_client(&mut self, id: SocketId) {
        let socket = self.socket(id);
        if !socket.up.finished && !socket.broken {
            self.push(id, Direction::Up, Segment::Finish);
        }
    }

    /// The client breaks the connection.
    pub fn reset_client(&mut self, id: SocketId) {
        let discards = self.random.chance(self.faults.resets_discarding);
        self.push(id, Direction::Up, Segment::Reset { errno: libc::ECONNRESET, discards });
        self.socket_mut(id).break_client();
    }

    /// The client lets go of its end; it resets the connection when it did not read everything.
    pub fn close_client(&mut self, id: SocketId) {
        match self.socket(id).down.arrived_bytes() > 0 {
            true => self.reset_client(id),
            false => self.finish_client(id),
        }
        let now = self.now;
        let socket = self.socket_mut(id);
        socket.client_gone = true;
        socket.settle(now);
        self.forget(id);
    }

    /// Drops a connection that nobody has any more.
    fn forget(&mut self, id: SocketId) {
        let socket = self.socket(id);
        if socket.client_gone && socket.server_gone {
            self.sockets.remove(&id);
        }
    }
}
