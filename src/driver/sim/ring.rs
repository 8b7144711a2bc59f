//! One driver as the fake kernel keeps it: listeners, connections and operations in flight.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Handle;
use super::connection::{Connection, Receiving, SendInFlight, State, Step};
use super::network::{Counters, SocketId, World};
use super::random::Random;
use crate::base::clock::Time;
use crate::base::frame::Gather;
use crate::base::slab::{Key, Slab};
use crate::driver::{BufferId, Completion, DriverStats, Sent};

/// A released buffer is filled with this, so that whoever reads it later does not find what it
/// looks for.
pub(super) const CANARY: u8 = 0xdb;

/// How long a driver waits until it accepts again after it found no descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Ring {
    connections: Slab<Connection>,
    listeners: Vec<Listener>,
    /// Buffers that the kernel may fill.
    free: Vec<u16>,
    /// By buffer: whether the shard has it.
    lent: Vec<bool>,
    /// Connections that the last turn reported as detached. The shard may not have come to that
    /// completion yet, and may still want to be rid of them.
    left: Vec<Key>,
    accepts_per_turn: usize,
    pub random: Random,
    stats: DriverStats,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    backlog: VecDeque<(Time, SocketId)>,
    retry: Time,
}

impl Ring {
    pub fn new(buffers: u16, accepts_per_turn: usize, random: Random) -> Ring {
        Ring {
            connections: Slab::new(),
            listeners: Vec::new(),
            free: (0..buffers).collect(),
            lent: vec![false; usize::from(buffers)],
            left: Vec::new(),
            accepts_per_turn,
            random,
            stats: DriverStats::default(),
        }
    }
}

/// Accepting.
impl Ring {
    pub fn listen(&mut self, address: SocketAddr) {
        let listener = Listener { address, backlog: VecDeque::new(), retry: Time::ZERO };
        self.listeners.push(listener);
    }

    pub fn stop_listening(&mut self, world: &mut World) {
        for (_, socket) in self.listeners.drain(..).flat_map(|listener| listener.backlog) {
            let refused = world.socket_mut(socket);
            refused.break_server(libc::ECONNRESET, true);
            refused.break_client();
            world.close_server(socket);
        }
    }

    pub fn listens_on(&self, address: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| listener.takes(address))
    }

    /// Leaves a new client to the listener of an address.
    pub fn offer(&mut self, address: SocketAddr, due: Time, socket: SocketId) {
        let mut listeners = self.listeners.iter_mut();
        if let Some(listener) = listeners.find(|listener| listener.takes(address)) {
            listener.backlog.push_back((due, socket));
        }
    }

    fn accept(
        &mut self,
        world: &mut World,
        mut descriptors: usize,
        completions: &mut Vec<Completion<Handle>>,
    ) {
        let mut accepts_left = self.accepts_per_turn;
        for listener in &mut self.listeners {
            while accepts_left > 0 && listener.next_event().is_some_and(|due| due <= world.now) {
                let full = descriptors >= world.faults.descriptors;
                if full || world.random.chance(world.faults.accepts_refused) {
                    self.stats.accepts_refused += 1;
                    listener.retry = world.now.after(ACCEPT_RETRY);
                    break;
                }
                let Some((_, socket)) = listener.backlog.pop_front() else { break };
                accepts_left -= 1;
                descriptors += 1;
                let key = self.connections.insert(Connection::new(socket));
                completions.push(Completion::Accepted(key));
            }
        }
    }
}

/// What the shard asks for.
impl Ring {
    /// A connection that the shard may use.
    #[track_caller]
    fn live(&mut self, world: &World, key: Key) -> &mut Connection {
        match self.connections.get_mut(key) {
            Some(connection) if !matches!(connection.state, State::Closing(..)) => connection,
            _ => world.violated("a connection is used after it was closed or has left the driver"),
        }
    }

    /// A connection that the shard may use and has not asked to leave.
    #[track_caller]
    fn open(&mut self, world: &World, key: Key) -> &mut Connection {
        let connection = self.live(world, key);
        if connection.state != State::Open {
            world.violated("a connection is used after detach");
        }
        connection
    }

    pub fn peer(&self, world: &World, key: Key) -> Option<SocketAddr> {
        let connection = self.connections.get(key)?;
        let socket = world.socket(connection.socket);
        let named = !matches!(connection.state, State::Closing(..)) && !socket.broken;
        named.then_some(socket.client_address)
    }

    #[track_caller]
    pub fn receive(&mut self, world: &World, key: Key) {
        let connection = self.open(world, key);
        if !connection.ended {
            connection.receiving = Receiving::Yes;
        }
    }

    #[track_caller]
    pub fn pause(&mut self, world: &mut World, key: Key) {
        if self.left.contains(&key) {
            return;
        }
        let connection = self.live(world, key);
        if connection.receiving == Receiving::Yes {
            connection.receiving = Receiving::Until(world.due(world.faults.cancels_late));
        }
    }

    #[track_caller]
    pub fn send(&mut self, world: &mut World, key: Key, gather: Gather<'_>) -> Sent {
        let connection = self.open(world, key);
        if connection.send.is_some() {
            world.violated("two sends are in flight for one connection");
        }
        let bytes: Vec<u8> = gather.slices().flatten().copied().collect();
        if bytes.is_empty() {
            world.violated("a send has no bytes");
        }
        let id = connection.socket;
        world.maybe_cut(id);
        let socket = world.socket_mut(id);
        if socket.broken || socket.down.finished {
            return Sent::Failed(socket.error.take().unwrap_or(libc::EPIPE));
        }
        let deferred = world.random.chance(world.faults.sends_deferred);
        if !deferred && world.room_bytes(id) > 0 {
            self.stats.sends_direct += 1;
            return Sent::Now(world.send(id, &bytes));
        }
        let due = if deferred { world.later() } else { world.now };
        let frames = gather.frames().cloned().collect();
        connection.send = Some(SendInFlight { due, frames, skip: gather.skip, bytes });
        self.stats.sends_deferred += 1;
        Sent::Later
    }

    #[track_caller]
    pub fn shutdown(&mut self, world: &mut World, key: Key) {
        let socket = self.open(world, key).socket;
        world.finish_server(socket);
    }

    #[track_caller]
    pub fn close(&mut self, world: &mut World, key: Key) {
        if self.left.contains(&key) {
            return;
        }
        let connection = self.live(world, key);
        if connection.operations(world.now) == 0 {
            connection.state = State::Closing(world.now, None);
            return self.closed(world, key);
        }
        let due = world.due(world.faults.cancels_late);
        let picks = connection.receives_at(world.now) && due > world.now;
        let buffer = if picks { self.free.pop() } else { None };
        self.live(world, key).state = State::Closing(due, buffer);
    }

    #[track_caller]
    pub fn detach(&mut self, world: &mut World, key: Key) {
        let connection = self.open(world, key);
        if connection.send.is_some() {
            world.violated("a connection is detached while a send is in flight");
        }
        let due = world.due(world.faults.cancels_late);
        connection.state = State::Detaching(due);
        if connection.receiving != Receiving::No {
            connection.receiving = Receiving::Until(due);
        }
    }

    pub fn adopt(&mut self, socket: SocketId) -> Key {
        self.connections.insert(Connection::new(socket))
    }

    /// Whether the shard has the buffer.
    pub fn is_lent(&self, buffer: BufferId) -> bool {
        self.lent.get(usize::from(buffer.0)).copied().unwrap_or(false)
    }

    pub fn release(&mut self, buffer: BufferId) {
        self.lent[usize::from(buffer.0)] = false;
        self.free.push(buffer.0);
    }
}

/// What the kernel does.
impl Ring {
    /// Does what is due now, in an order of its own.
    pub fn turn(
        &mut self,
        world: &mut World,
        descriptors: usize,
        memory: &mut [Box<[u8]>],
        completions: &mut Vec<Completion<Handle>>,
    ) {
        self.left.clear();
        if world.random.chance(world.faults.turns_spurious) {
            return;
        }
        let accept_first = !world.random.chance(world.faults.completions_reordered);
        if accept_first {
            self.accept(world, descriptors, completions);
        }
        let mut ready: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        let short = world.random.chance(world.faults.turns_short);
        let mut steps_left = if short { world.random.range(1..=8) } else { usize::MAX };
        let mut position = 0;
        while steps_left > 0 && !ready.is_empty() {
            if world.random.chance(world.faults.completions_reordered) {
                position = world.random.index(ready.len());
            }
            position %= ready.len();
            let key = ready[position];
            let Some(step) = self.next_step(world, key) else {
                ready.remove(position);
                continue;
            };
            completions.extend(self.perform(world, key, step, memory));
            steps_left -= 1;
            // One step each in turn, so that no connection takes every buffer.
            position += 1;
        }
        if !accept_first {
            self.accept(world, descriptors, completions);
        }
    }

    /// One of the steps that are due for a connection.
    fn next_step(&mut self, world: &mut World, key: Key) -> Option<Step> {
        let buffers = !self.free.is_empty();
        let connection = self.connections.get_mut(key)?;
        if !buffers && !connection.starved && connection.wants_buffer(world) {
            connection.starved = true;
            self.stats.buffers_exhausted += 1;
        }
        let mut due = [None; 3];
        let mut length = 0;
        for (_, step) in connection.steps(world, buffers).filter(|(due, _)| *due <= world.now) {
            due[length] = Some(step);
            length += 1;
        }
        if length > 1 && world.random.chance(world.faults.completions_reordered) {
            return due[world.random.index(length)];
        }
        due[0]
    }

    fn perform(
        &mut self,
        world: &mut World,
        key: Key,
        step: Step,
        memory: &mut [Box<[u8]>],
    ) -> Option<Completion<Handle>> {
        match step {
            Step::Receive => self.received(world, key, memory),
            Step::Send => Some(Completion::Sent(key, self.sent(world, key)?)),
            Step::Leave => match self.connections.get(key)?.state {
                State::Open => None,
                State::Detaching(_) => {
                    let socket = self.connections.remove(key)?.socket;
                    world.handles += 1;
                    self.left.push(key);
                    Some(Completion::Detached(key, Handle::new(socket, &world.dropped)))
                }
                State::Closing(..) => {
                    self.closed(world, key);
                    None
                }
            },
        }
    }

    fn received(
        &mut self,
        world: &mut World,
        key: Key,
        memory: &mut [Box<[u8]>],
    ) -> Option<Completion<Handle>> {
        let connection = self.connections.get_mut(key)?;
        world.maybe_cut(connection.socket);
        if world.socket(connection.socket).up.arrived_bytes() == 0 {
            connection.ended = true;
            connection.receiving = Receiving::No;
            let errno = world.socket_mut(connection.socket).error.take();
            return Some(Completion::Ended(key, errno));
        }
        if world.random.chance(world.faults.receives_exhausted) {
            self.stats.buffers_exhausted += 1;
            connection.retry = world.later();
            return None;
        }
        connection.starved = false;
        // Any of the free ones, so that a shard cannot rely on an order.
        let buffer = self.free.swap_remove(world.random.index(self.free.len()));
        let bytes = &mut memory[usize::from(buffer)];
        let most = world.socket(connection.socket).up.arrived_bytes().min(bytes.len());
        let split = world.random.chance(world.faults.receives_split);
        let length = if split { world.random.range(1..=most) } else { most };
        let arrived = world.socket_mut(connection.socket).up.take(length);
        bytes.iter_mut().zip(arrived).for_each(|(slot, byte)| *slot = byte);
        self.lent[usize::from(buffer)] = true;
        Some(Completion::Received { connection: key, buffer: BufferId(buffer), length })
    }

    /// Ends the send in flight.
    fn sent(&mut self, world: &mut World, key: Key) -> Option<Result<usize, i32>> {
        let connection = self.connections.get_mut(key)?;
        let send = connection.send.take()?;
        let gather = Gather { head: &send.frames, tail: &[], skip: send.skip };
        if !gather.slices().flatten().eq(&send.bytes) {
            world.violated("the memory of a send changes while it is in flight");
        }
        let socket = world.socket_mut(connection.socket);
        if socket.broken || socket.down.finished {
            return Some(Err(socket.error.take().unwrap_or(libc::EPIPE)));
        }
        Some(Ok(world.send(connection.socket, &send.bytes)))
    }

    /// The last operation of a closed connection has ended: the descriptor is closed and the slot
    /// can be used again.
    fn closed(&mut self, world: &mut World, key: Key) {
        // The cancellation of a send may come too late to stop it.
        let taken_late = world.random.chance(world.faults.cancels_late);
        let room = |socket| world.room_bytes(socket) > 0;
        if taken_late && self.connections.get(key).is_some_and(|closing| room(closing.socket)) {
            self.sent(world, key);
        }
        let Some(connection) = self.connections.remove(key) else { return };
        if let State::Closing(_, Some(buffer)) = connection.state {
            self.free.push(buffer);
        }
        world.close_server(connection.socket);
    }

    /// Lets go of everything, as the kernel does when a process ends.
    pub fn abandon(&mut self, world: &mut World) {
        self.stop_listening(world);
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.closed(world, key));
        self.lent.clear();
        self.free.clear();
    }
}

/// What can be seen from outside.
impl Ring {
    /// When a turn has something to do.
    pub fn next_event(&self, world: &World) -> Option<Time> {
        let buffers = !self.free.is_empty();
        let connections = self.connections.iter();
        let steps = connections.flat_map(|(_, connection)| connection.steps(world, buffers));
        let accepts = self.listeners.iter().filter_map(Listener::next_event);
        steps.map(|(due, _)| due).chain(accepts).min().map(|due| due.max(world.now))
    }

    pub fn descriptors(&self) -> usize {
        self.connections.len()
    }

    /// Adds what this driver holds.
    pub fn count(&self, counters: &mut Counters, now: Time) {
        counters.connections += self.connections.len();
        counters.unaccepted += self.listeners.iter().map(|it| it.backlog.len()).sum::<usize>();
        counters.buffers += self.lent.len() - self.free.len();
        counters.operations += self.operations(now);
    }

    fn operations(&self, now: Time) -> usize {
        self.connections.iter().map(|(_, connection)| connection.operations(now)).sum()
    }

    pub fn stats(&self, now: Time) -> DriverStats {
        DriverStats {
            connections: self.connections.len() as u64,
            operations_in_flight: self.operations(now) as u64,
            ..self.stats
        }
    }

    /// A turn gave nothing: a real driver would have waited.
    pub fn waited(&mut self) {
        self.stats.waits += 1;
    }
}

impl Listener {
    fn takes(&self, address: SocketAddr) -> bool {
        let any = self.address.ip().is_unspecified();
        self.address.port() == address.port() && (any || self.address.ip() == address.ip())
    }

    fn next_event(&self) -> Option<Time> {
        self.backlog.front().map(|(due, _)| self.retry.max(*due))
    }
}
