//! One driver as the fake kernel keeps it: listeners, connections and operations in flight.

mod accept;

use std::collections::VecDeque;
use std::net::SocketAddr;

use self::accept::Listener;
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

#[derive(Debug)]
pub(super) struct Ring {
    connections: Slab<Connection>,
    /// Closed connections that the kernel still works on, in whose slots there may be others.
    closing: Vec<Connection>,
    listeners: Vec<Listener>,
    /// Clients that were accepted before their listener went.
    accepted: VecDeque<SocketId>,
    /// Buffers that the kernel may fill.
    free: Vec<u16>,
    /// Those that it may fill from the next turn on.
    released: Vec<u16>,
    /// By buffer: whether the shard has it.
    lent: Vec<bool>,
    /// Connections that the last turn reported as detached. The shard may not have come to that
    /// completion yet, and may still want to be rid of them.
    left: Vec<Key>,
    /// When it is noticed that the waker was used.
    woken: Option<Time>,
    pub random: Random,
    stats: DriverStats,
}

impl Ring {
    pub fn new(buffers: u16, random: Random) -> Ring {
        Ring {
            connections: Slab::new(),
            closing: Vec::new(),
            listeners: Vec::new(),
            accepted: VecDeque::new(),
            free: (0..buffers).collect(),
            released: Vec::new(),
            lent: vec![false; usize::from(buffers)],
            left: Vec::new(),
            woken: None,
            random,
            stats: DriverStats::default(),
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
        if let Some(error) = world.send_failure() {
            return Sent::Failed(error);
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
        if world.random.chance(world.faults.slots_reused) {
            self.closing.extend(self.connections.remove(key));
        }
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

    pub fn release(&mut self, world: &mut World, buffer: BufferId) {
        self.lent[usize::from(buffer.0)] = false;
        match world.random.chance(world.faults.releases_late) {
            true => self.released.push(buffer.0),
            false => self.free.push(buffer.0),
        }
    }

    /// The waker was used; answers whether that is known by now.
    pub fn notices_waker(&mut self, world: &mut World) -> bool {
        let late = world.faults.wakes_late;
        *self.woken.get_or_insert_with(|| world.due(late)) <= world.now
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
        self.woken = None;
        self.free.append(&mut self.released);
        if world.random.chance(world.faults.turns_spurious) {
            return;
        }
        self.end_closing(world);
        let most = completions.len().saturating_add(world.faults.completions_max);
        let accept_first = !world.random.chance(world.faults.completions_reordered);
        if accept_first {
            self.accept(world, descriptors, most, completions);
        }
        let mut ready: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        let short = world.random.chance(world.faults.turns_short);
        let mut steps_left = if short { world.random.range(1..=8) } else { usize::MAX };
        let mut position = 0;
        while steps_left > 0 && completions.len() < most && !ready.is_empty() {
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
            self.accept(world, descriptors, most, completions);
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
            if world.random.chance(world.faults.ends_late) {
                connection.retry = world.later();
                return None;
            }
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
        Ring::send_ends(world, connection)
    }

    fn send_ends(world: &mut World, connection: &mut Connection) -> Option<Result<usize, i32>> {
        let send = connection.send.take()?;
        let gather = Gather { head: &send.frames, tail: &[], skip: send.skip };
        if !gather.slices().flatten().eq(&send.bytes) {
            world.violated("the memory of a send changes while it is in flight");
        }
        let socket = world.socket_mut(connection.socket);
        if socket.broken || socket.down.finished {
            return Some(Err(socket.error.take().unwrap_or(libc::EPIPE)));
        }
        if let Some(error) = world.send_failure() {
            return Some(Err(error));
        }
        Some(Ok(world.send(connection.socket, &send.bytes)))
    }

    /// The last operation of a closed connection has ended: the slot can be used again.
    fn closed(&mut self, world: &mut World, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            self.let_go(world, connection);
        }
    }

    /// Does the same for those whose slot others have already.
    fn end_closing(&mut self, world: &mut World) {
        let is_over = |it: &mut Connection| it.closes().is_some_and(|due| due <= world.now);
        let over: Vec<Connection> = self.closing.extract_if(.., is_over).collect();
        over.into_iter().for_each(|connection| self.let_go(world, connection));
    }

    /// The descriptor is closed.
    fn let_go(&mut self, world: &mut World, mut connection: Connection) {
        // The cancellation of a send may come too late to stop it.
        let taken_late = world.random.chance(world.faults.cancels_late);
        if taken_late && world.room_bytes(connection.socket) > 0 {
            Ring::send_ends(world, &mut connection);
        }
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
        let closing = std::mem::take(&mut self.closing);
        closing.into_iter().for_each(|connection| self.let_go(world, connection));
        std::mem::take(&mut self.accepted).into_iter().for_each(|it| world.close_server(it));
        self.lent.clear();
        self.free.clear();
        self.released.clear();
    }
}

/// What can be seen from outside.
impl Ring {
    /// When a turn has something to do.
    pub fn next_event(&self, world: &World) -> Option<Time> {
        let buffers = !(self.free.is_empty() && self.released.is_empty());
        let connections = self.connections.iter();
        let steps = connections.flat_map(|(_, connection)| connection.steps(world, buffers));
        let closing = self.closing.iter().filter_map(Connection::closes);
        let accepts = self.listeners.iter().filter_map(Listener::next_event);
        let accepted = self.accepted.front().map(|_| world.now);
        let others = accepts.chain(closing).chain(accepted).chain(self.woken);
        steps.map(|(due, _)| due).chain(others).min().map(|due| due.max(world.now))
    }

    pub fn descriptors(&self) -> usize {
        self.connections.len() + self.closing.len()
    }

    pub fn sends_in_flight(&self) -> Vec<(Key, usize)> {
        let connections = self.connections.iter();
        let open = connections.filter(|(_, it)| !matches!(it.state, State::Closing(..)));
        open.filter_map(|(key, it)| Some((key, it.send.as_ref()?.bytes.len()))).collect()
    }

    /// Adds what this driver holds.
    pub fn count(&self, counters: &mut Counters, now: Time) {
        counters.connections += self.descriptors();
        counters.unaccepted += self.listeners.iter().map(|it| it.backlog.len()).sum::<usize>();
        counters.unaccepted += self.accepted.len();
        counters.buffers += self.lent.len() - self.free.len() - self.released.len();
        counters.operations += self.operations(now);
    }

    fn operations(&self, now: Time) -> usize {
        let open = self.connections.iter().map(|(_, connection)| connection);
        open.chain(&self.closing).map(|connection| connection.operations(now)).sum()
    }

    pub fn stats(&self, now: Time) -> DriverStats {
        DriverStats {
            connections: self.descriptors() as u64,
            operations_in_flight: self.operations(now) as u64,
            ..self.stats
        }
    }

    /// A turn gave nothing: a real driver would have waited.
    pub fn waited(&mut self) {
        self.stats.waits += 1;
    }
}
