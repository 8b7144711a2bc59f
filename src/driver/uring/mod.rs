//! The driver on io_uring: one ring per shard, which its thread alone enters.
//!
//! ```text
//! listen ─▶ accept, multishot ─▶ Accepted ─▶ receive, multishot, buffers on demand ─▶ Received
//!           (silent for a while) ─▶ poll ─▶ receive, once ─▶ Received  (often) ─▶ multishot
//! send   ─▶ sendmsg, no waiting ─▶ Sent::Now        (socket full) ─▶ sendmsg on the ring ─▶ Sent
//! close  ─▶ cancel what is in flight ─▶ its last completion ─▶ close(fd), the slot is free
//! ```
//!
//! Closing goes as in TigerBeetle's message bus: terminate, join, close. Closing a descriptor does
//! not end an operation in flight, which would go on in the socket and in its memory; so nothing of
//! a connection is given up before the kernel has reported the end of each of its operations.
//!
//! Operations reach the kernel in the order in which they were pushed. A cancel is pushed behind
//! the operation it is to end, and the operation's successor behind the cancel; so that a cancel,
//! which names its target by connection, never ends a successor.

mod accept;
mod buffers;
mod busy;
mod canary;
mod features;
mod receive;
mod ring;
mod send;
#[cfg(test)]
mod tests;

pub use features::Features;
pub use send::SendMode;

use std::collections::VecDeque;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use self::accept::Listener;
use self::buffers::Buffers;
use self::busy::Epoch;
use self::receive::Receive;
use self::ring::Ring;
use self::send::{SendOperation, SpareOperations};
use super::net::Handle;
use super::token::{Kind, Token};
use super::waker::WakeSignal;
use super::{BufferId, Completion, Driver, DriverStats, Sent, net, sys, unix};
use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::base::frame::Gather;
use crate::base::limits::Limits;
use crate::base::slab::{Key, Slab};

/// How long dropping a driver waits for the kernel to end its operations. It takes microseconds;
/// beyond this time the memory that the kernel might still use is leaked.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

type Completions = Vec<Completion<Handle>>;

/// A [`Driver`] on an io_uring of its own. It must be used by the thread that made it.
pub struct Uring {
    ring: Ring,
    features: Features,
    connections: Slab<Connection>,
    connections_max: usize,
    listeners: Slab<Listener>,
    listener_keys: Vec<Key>,
    /// Unmapped by `drop` alone, which knows whether the kernel is done with them.
    buffers: ManuallyDrop<Buffers>,
    /// Connections that wait for a receive buffer, first come, first served.
    starved: VecDeque<Key>,
    /// Those of this turn that had waited for a buffer before, and again found none.
    unserved: Vec<Key>,
    /// The epoch of the time that was last read.
    epoch: Epoch,
    /// The epoch that a test has chosen instead.
    #[cfg(test)]
    epoch_held: Option<Epoch>,
    /// The busy connections, each once, and when it was queued; and some that have left.
    busy: VecDeque<(Key, Epoch)>,
    /// Detaching connections whose operations have ended.
    settled: Vec<Key>,
    /// Cancels of this turn that found nothing to end.
    cancel_misses: Vec<Token>,
    spare_operations: SpareOperations,
    send_mode: SendMode,
    signal: Arc<WakeSignal>,
    woken: bool,
    /// Completions between their reaping and their handling; empty between turns.
    reaped: Vec<cqueue::Entry>,
    stats: DriverStats,
}

/// What the driver holds for each connection.
struct Connection {
    socket: TcpStream,
    stage: Stage,
    receive: Receive,
    /// There exactly when the kernel has a send of the connection.
    send: Option<Box<SendOperation>>,
}

/// Whose the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The shard's.
    Open,
    /// Another driver's, as soon as the kernel has given the receive back.
    Detaching,
    /// Nobody's; it is closed as soon as the kernel has given all operations back.
    Closing,
}

impl Uring {
    /// Sets a driver up for the calling thread, and raises the process's limit of descriptors as
    /// far as it may be. Without `limits.connections` the driver takes that many connections, less
    /// a reserve of 64 descriptors.
    ///
    /// # Errors
    /// What the kernel lacks, forbids or has run out of, and how to change that (Linux 5.19 is
    /// needed); `InvalidInput` for receive buffers that no driver has.
    pub fn new(limits: &Limits) -> io::Result<Uring> {
        Uring::with(limits, SendMode::default(), Features::ALL)
    }

    /// As [`Uring::new`], with a choice of how to send, and with features that are used if the
    /// kernel has them.
    ///
    /// # Errors
    /// As [`Uring::new`].
    pub fn with(limits: &Limits, send_mode: SendMode, wanted: Features) -> io::Result<Uring> {
        Uring::on(features::set_up(wanted)?, limits, send_mode)
    }

    /// On a ring that has these features.
    fn on(
        (ring, features): (Ring, Features),
        limits: &Limits,
        send_mode: SendMode,
    ) -> io::Result<Uring> {
        let connections_max = net::connections_max(limits)?;
        // A sandbox without randomness is found out now, and not with the first session.
        sys::fill_random(&mut [0])?;
        let buffers = Buffers::new(&ring, limits.receive_buffers, limits.receive_buffer_bytes)?;
        let signal = WakeSignal::new()?;
        let mut uring = Uring {
            ring,
            features,
            connections: Slab::new(),
            connections_max,
            listeners: Slab::new(),
            listener_keys: Vec::new(),
            buffers: ManuallyDrop::new(buffers),
            starved: VecDeque::new(),
            unserved: Vec::new(),
            epoch: Epoch::of(sys::monotonic_time()),
            #[cfg(test)]
            epoch_held: None,
            busy: VecDeque::new(),
            settled: Vec::new(),
            cancel_misses: Vec::new(),
            spare_operations: SpareOperations::default(),
            send_mode,
            signal,
            woken: false,
            reaped: Vec::new(),
            stats: DriverStats::default(),
        };
        uring.poll_signal();
        Ok(uring)
    }

    /// What is used of what not every kernel has.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The socket of a connection, also while that is being closed.
    #[cfg(test)]
    pub(super) fn socket(&self, key: Key) -> Option<&TcpStream> {
        self.connections.get(key).map(|found| &found.socket)
    }

    fn poll_signal(&mut self) {
        let descriptor = types::Fd(self.signal.descriptor());
        let entry = opcode::PollAdd::new(descriptor, libc::POLLIN as u32).multi(true).build();
        // SAFETY: a poll has no memory.
        unsafe { self.ring.push(entry, Token::wake()) };
    }

    fn admit(&mut self, socket: TcpStream) -> Key {
        let (stage, receive) = (Stage::Open, Receive::new(self.epoch));
        let key = self.connections.insert(Connection { socket, stage, receive, send: None });
        self.queue_busy(key);
        key
    }

    /// Asks the kernel to end an operation, whose own completion tells that it has ended.
    fn cancel(&mut self, target: Token, name: Token) {
        let entry = opcode::AsyncCancel::new(target.to_raw()).build();
        // SAFETY: a cancel has no memory.
        unsafe { self.ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS), name) };
    }

    /// Goes on with a connection that the shard has given up, if nothing is in flight any more.
    fn settle(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.receive.armed.is_some() || connection.send.is_some() {
            return;
        }
        match connection.stage {
            Stage::Open => {}
            Stage::Detaching => self.settled.push(key),
            Stage::Closing => {
                if !connection.receive.ended {
                    sys::discard_unread(connection.socket.as_fd());
                }
                self.connections.remove(key);
                self.resume_accepting();
            }
        }
    }

    /// Reports the connections that are free to leave, unless they were closed meanwhile.
    fn deliver_settled(&mut self, out: &mut Completions) {
        for key in mem::take(&mut self.settled) {
            let detaching = |found: &&Connection| found.stage == Stage::Detaching;
            if self.connections.get(key).filter(detaching).is_some()
                && let Some(connection) = self.connections.remove(key)
            {
                out.push(Completion::Detached(key, Handle::of(connection.socket)));
                self.resume_accepting();
            }
        }
    }

    /// Handles what the kernel has completed.
    fn reap(&mut self, out: &mut Completions) {
        let mut reaped = mem::take(&mut self.reaped);
        self.ring.reap(&mut reaped);
        for entry in reaped.drain(..) {
            let token = Token::from_raw(entry.user_data());
            match token.kind() {
                Some(Kind::Receive) => self.received(token, &entry, out),
                Some(Kind::Send) => self.send_ended(token, entry.result(), out),
                Some(Kind::Accept) => self.accepted(token, &entry, out),
                Some(Kind::CancelAccept | Kind::CancelReceive | Kind::CancelSend) => {
                    self.cancel_misses.push(token);
                }
                Some(Kind::Wake) => {
                    self.woken = true;
                    if !cqueue::more(entry.flags()) {
                        self.poll_signal();
                    }
                }
                None => {}
            }
        }
        self.reaped = reaped;
        self.requeue_unserved();
        self.retry_cancels();
    }

    /// Looks at the cancels that found nothing, now that all that had ended is known.
    fn retry_cancels(&mut self) {
        while let Some(token) = self.cancel_misses.pop() {
            if token.kind() == Some(Kind::CancelAccept) {
                if let Some(key) = token.key_in(&self.listeners) {
                    self.recancel_accept(key);
                }
            } else if let Some(key) = token.key_in(&self.connections) {
                match token.kind() {
                    Some(Kind::CancelReceive) => self.recancel_receive(key),
                    _ => self.recancel_send(key),
                }
            }
        }
    }

    /// How long the kernel may be waited for; zero when there is something to report already.
    fn patience(&self, now: Time, until: Option<Time>, idle: bool) -> Option<Duration> {
        if !idle {
            return Some(Duration::ZERO);
        }
        let own = self.next_resumption().into_iter().chain(self.next_look(now));
        let deadline = until.into_iter().chain(own).min();
        deadline.map(|time| time.since(now))
    }
}

impl Driver for Uring {
    type Handle = Handle;
    type Listener = net::Listener;

    fn now(&self) -> Time {
        sys::monotonic_time()
    }

    fn random(&mut self, out: &mut [u8]) {
        let filled = sys::fill_random(out);
        assert!(filled.is_ok(), "the kernel gave randomness when the driver was made");
    }

    fn listen(&mut self, listener: net::Listener) {
        // One of another process, which has epoll, does not wait; and would not on the ring.
        let _ = sys::set_blocking(listener.socket.as_fd(), true);
        self.listener_keys.push(self.listeners.insert(Listener::new(listener)));
    }

    fn stop_listening(&mut self) {
        self.stop_listeners();
    }

    fn peer(&self, connection: Key) -> Option<SocketAddr> {
        let found = self.connections.get(connection).filter(|found| found.is_open())?;
        found.socket.peer_addr().ok()
    }

    fn is_local(&self, connection: Key) -> bool {
        let found = self.connections.get(connection);
        found.is_some_and(|found| unix::is_unix(found.socket.as_fd()).unwrap_or(false))
    }

    fn receive(&mut self, connection: Key) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.receive.wanted = true;
            self.update_receive(connection);
        }
    }

    fn pause(&mut self, connection: Key) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.receive.wanted = false;
            self.update_receive(connection);
        }
    }

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        self.buffers.bytes(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.buffers.release(buffer);
    }

    fn send(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, sys::Follows::More)
    }

    fn send_last(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, sys::Follows::End)
    }

    fn shutdown(&mut self, connection: Key) {
        if let Some(found) = self.connections.get(connection).filter(|found| found.is_open()) {
            // It fails when the peer is gone already, which the receive reports.
            let _ = found.socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, connection: Key) {
        let Some(found) = self.connections.get_mut(connection) else { return };
        if found.stage == Stage::Closing {
            return;
        }
        found.stage = Stage::Closing;
        self.update_receive(connection);
        self.cancel_send(connection);
        self.settle(connection);
    }

    fn detach(&mut self, connection: Key) {
        let Some(found) = self.connections.get_mut(connection) else { return };
        if found.stage != Stage::Open {
            return;
        }
        assert!(found.send.is_none(), "no send is in flight when a connection is detached");
        found.stage = Stage::Detaching;
        self.update_receive(connection);
        self.settle(connection);
    }

    fn adopt(&mut self, handle: Handle) -> Key {
        self.admit(handle.into_stream())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.signal))
    }

    fn turn(&mut self, until: Option<Time>, completions: &mut Completions) -> io::Result<()> {
        let before = completions.len();
        self.deliver_settled(completions);
        let mut now = self.now();
        self.pass(now);
        loop {
            self.buffers.publish();
            self.feed_starved();
            self.look_at_busy();
            self.update_listeners(now);
            let patience = self.patience(now, until, completions.len() == before);
            self.stats.waits += u64::from(patience != Some(Duration::ZERO));
            self.ring.enter(patience)?;
            now = self.now();
            self.pass(now);
            self.reap(completions);
            self.deliver_settled(completions);
            if mem::take(&mut self.woken) {
                self.signal.lower();
                return Ok(());
            }
            // What the kernel completed may concern nobody but the driver; then the wait goes on.
            if completions.len() > before || until.is_some_and(|until| until <= now) {
                return Ok(());
            }
        }
    }

    fn fit(&mut self, least: usize) {
        self.connections.fit(least);
        self.starved.fit(least);
        self.busy.fit(least);
        self.unserved.fit(least);
        self.cancel_misses.fit(least);
        self.reaped.fit(least);
        self.spare_operations.clear();
        if self.connections.is_empty() {
            // SAFETY: a receive belongs to a connection, which stays until the kernel has reported
            // its end; and nothing else takes a buffer.
            unsafe { self.buffers.discard() };
        }
    }

    fn stats(&self) -> DriverStats {
        DriverStats { connections: self.connections.len() as u64, ..self.stats }
    }
}

impl Drop for Uring {
    /// Ends all operations, and waits until the kernel has reported that, before the memory that
    /// they use goes with the fields.
    fn drop(&mut self) {
        self.stop_listening();
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        keys.iter().for_each(|&key| self.close(key));
        let deadline = self.now().after(DROP_TIMEOUT);
        let mut completions = Vec::new();
        while self.stats.operations_in_flight > 0 && self.now() < deadline {
            let soon = self.now().after(Duration::from_millis(10));
            if self.turn(Some(soon), &mut completions).is_err() {
                break;
            }
        }
        if self.stats.operations_in_flight > 0 {
            // Closing the ring ends its operations, but at a time of the kernel's choice: what
            // they use is leaked, but for the descriptors.
            for key in keys {
                let found = self.connections.get_mut(key);
                mem::forget(found.and_then(|connection| connection.send.take()));
            }
            return;
        }
        // SAFETY: this is the only place that drops the buffers, and it runs once. Every operation
        // that could write to them has ended, since `operations_in_flight` counts them all.
        unsafe { ManuallyDrop::drop(&mut self.buffers) };
    }
}
