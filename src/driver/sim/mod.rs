//! A seeded fake kernel: whole shards run on it, in one thread, under faults that a real kernel
//! shows once a year.
//!
//! Method, after TigerBeetle's `message_bus_fuzz`:
//! 1. A [`Network`] is made from a seed and [`Faults`]. Nothing else is random, and time passes
//!    only when the test says so: a seed that fails, fails again.
//! 2. Each shard gets a driver of the network, a [`Sim`], and the test plays the peers with
//!    [`Client`]s.
//! 3. The test steps the shards in any order, lets time pass when none has anything to do, and
//!    checks what clients received. At the end [`Network::counters`] must be all zero.
//!
//! Code that breaks a rule of the [`Driver`] ends the test with a panic that names the rule and
//! the seed.
//!
//! Where the rules leave it open, the fake does as Linux does: [`Completion::Sent`] and
//! [`Completion::Detached`] may follow [`Completion::Ended`]; a driver that adopts a connection
//! reports its end again; an error is reported once, by whichever operation meets it first; a send
//! in flight fails when its connection is shut down. One batch of completions may name a connection
//! several times, so a shard that closes it at the first must pass over the others (and release
//! their buffers); a [`Handle`] among them is dropped.

mod client;
mod connection;
mod faults;
mod network;
mod random;
mod ring;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{Client, End};
pub use faults::Faults;
pub use network::{Counters, Network};
pub use random::{PerMille, Random};

use std::cell::RefMut;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use self::network::{Dropped, Kernel, SocketId, World};
use self::ring::{CANARY, Ring};
use super::{BufferId, Completion, Driver, DriverStats, Sent};
use crate::base::clock::Time;
use crate::base::frame::Gather;
use crate::base::slab::Key;

/// One shard's driver on a [`Network`]. When it is dropped, all it holds is closed, as when a
/// process ends.
#[derive(Debug)]
pub struct Sim {
    network: Network,
    /// The position of its ring in the kernel.
    number: usize,
    memory: Vec<Box<[u8]>>,
    woken: Arc<Woken>,
}

/// A connection between two drivers. Dropping it closes the connection and is counted in
/// [`Counters::handles_dropped`].
#[derive(Debug)]
pub struct Handle {
    /// The connection, and where to say that the handle was dropped; `None` once it was adopted.
    held: Option<(SocketId, Dropped)>,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Handle {
    fn new(socket: SocketId, dropped: &Dropped) -> Handle {
        Handle { held: Some((socket, Arc::clone(dropped))) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some((socket, dropped)) = self.held.take() {
            dropped.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        }
    }
}

impl Sim {
    fn new(network: Network, number: usize, buffers: u16, buffer_bytes: usize) -> Sim {
        let buffer = vec![CANARY; buffer_bytes].into_boxed_slice();
        let memory = vec![buffer; usize::from(buffers)];
        Sim { network, number, memory, woken: Arc::default() }
    }

    /// Whether the waker was used since the last turn, and that has been noticed.
    pub fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Acquire) && self.with(Ring::notices_waker)
    }

    /// The sends in flight, and how many bytes of their connection's queue each of them has.
    pub fn sends_in_flight(&self) -> Vec<(Key, usize)> {
        self.with(|ring, _| ring.sends_in_flight())
    }

    /// Whether a [`Driver::turn`] without `until` would return now instead of waiting. A test that
    /// steps only shards of which this is true, or whose deadline has come, finds lost wake-ups.
    pub fn is_ready(&self) -> bool {
        let is_woken = self.is_woken();
        let kernel = self.network.kernel();
        let next = kernel.rings[self.number].next_event(&kernel.world);
        is_woken || next.is_some_and(|due| due <= kernel.world.now)
    }

    /// The network of the driver.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Does something to this driver's part of the kernel that cannot violate a rule. (What can is
    /// called without a closure in between, so that a panic names the line of the shard.)
    fn with<T>(&self, act: impl FnOnce(&mut Ring, &mut World) -> T) -> T {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        act(ring, world)
    }

    /// The kernel, if the shard has the buffer.
    #[track_caller]
    fn lent(&self, buffer: BufferId) -> RefMut<'_, Kernel> {
        let kernel = self.network.kernel_mut();
        if !kernel.rings[self.number].is_lent(buffer) {
            kernel.world.violated("a buffer is used that the shard does not have");
        }
        kernel
    }
}

impl Driver for Sim {
    type Handle = Handle;
    type Listener = SocketAddr;

    fn now(&self) -> Time {
        self.network.now()
    }

    fn random(&mut self, out: &mut [u8]) {
        self.with(|ring, _| ring.random.fill(out));
    }

    fn listen(&mut self, address: SocketAddr) {
        self.with(|ring, _| ring.listen(address));
    }

    fn stop_listening(&mut self) {
        self.with(Ring::stop_listening);
    }

    fn peer(&self, connection: Key) -> Option<SocketAddr> {
        self.with(|ring, world| ring.peer(world, connection))
    }

    #[track_caller]
    fn receive(&mut self, connection: Key) {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.receive(world, connection);
    }

    #[track_caller]
    fn pause(&mut self, connection: Key) {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.pause(world, connection);
    }

    #[track_caller]
    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        drop(self.lent(buffer));
        &mut self.memory[usize::from(buffer.0)]
    }

    #[track_caller]
    fn release(&mut self, buffer: BufferId) {
        let mut kernel = self.lent(buffer);
        let (ring, world) = kernel.parts(self.number);
        ring.release(world, buffer);
        drop(kernel);
        self.memory[usize::from(buffer.0)].fill(CANARY);
    }

    #[track_caller]
    fn send(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.send(world, connection, gather)
    }

    #[track_caller]
    fn shutdown(&mut self, connection: Key) {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.shutdown(world, connection);
    }

    #[track_caller]
    fn close(&mut self, connection: Key) {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.close(world, connection);
    }

    #[track_caller]
    fn detach(&mut self, connection: Key) {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        ring.detach(world, connection);
    }

    fn adopt(&mut self, mut handle: Handle) -> Key {
        let mut kernel = self.network.kernel_mut();
        let (ring, world) = kernel.parts(self.number);
        match handle.held.take() {
            Some((socket, dropped)) if Arc::ptr_eq(&dropped, &world.dropped) => {
                world.handles -= 1;
                ring.adopt(socket)
            }
            _ => world.violated("a handle is adopted that belongs to another network"),
        }
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.woken))
    }

    /// Never waits: it does what is due at the time of the network and returns.
    fn turn(
        &mut self,
        _until: Option<Time>,
        completions: &mut Vec<Completion<Handle>>,
    ) -> io::Result<()> {
        let mut kernel = self.network.kernel_mut();
        kernel.reap();
        let descriptors = kernel.descriptors();
        let (ring, world) = kernel.parts(self.number);
        let woken = self.woken.0.swap(false, Ordering::AcqRel);
        let first = completions.len();
        ring.turn(world, descriptors, &mut self.memory, completions);
        if completions.len() == first && !woken {
            ring.waited();
        }
        world.maybe_stall();
        world.note(world.now.as_micros() << 16 | self.number as u64);
        completions[first..].iter().for_each(|completion| note(world, completion));
        Ok(())
    }

    fn fit(&mut self, _: usize) {}

    fn stats(&self) -> DriverStats {
        self.with(|ring, world| ring.stats(world.now))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.with(Ring::abandon);
    }
}

/// Makes a completion part of the fingerprint.
fn note(world: &mut World, completion: &Completion<Handle>) {
    let (kind, key, value) = match completion {
        Completion::Accepted(key) => (1, key, 0),
        Completion::Received { connection, buffer, length } => {
            (2, connection, (u64::from(buffer.0) << 32) | *length as u64)
        }
        Completion::Ended(key, errno) => (3, key, errno.map_or(0, i64::from) as u64),
        Completion::Sent(key, Ok(length)) => (4, key, *length as u64),
        Completion::Sent(key, Err(errno)) => (5, key, i64::from(*errno) as u64),
        Completion::Detached(key, _) => (6, key, 0),
    };
    world.note(kind);
    world.note(u64::from(key.index) << 32 | u64::from(key.generation));
    world.note(value);
}
