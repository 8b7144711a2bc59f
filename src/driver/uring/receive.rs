//! Receives: one operation per connection, always the one that suits it.
//!
//! That of a busy connection ([`super::busy`]) completes with every arrival of bytes, until it is
//! cancelled, the peer has finished, or no buffer was free; on a kernel without such receives,
//! there is one for each arrival. A quiet one is polled, and received from once when that reports
//! something, be it bytes, the peer's end or an error.

use std::os::fd::AsRawFd;
use std::ptr;

use io_uring::{cqueue, opcode, squeue, types};

use super::busy::{Epoch, Pace};
use super::{Completions, Connection, Features, Stage, Uring, buffers};
use crate::base::slab::Key;
use crate::driver::Completion;
use crate::driver::token::{Kind, Token};

/// How far the receiving of one connection is. See [`Uring::update_receive`], which alone starts
/// and cancels the operation.
#[derive(Clone, Copy, Debug)]
pub struct Receive {
    /// Whether the shard wants bytes.
    pub wanted: bool,
    /// The operation that the kernel has.
    pub armed: Option<Operation>,
    /// Whether the operation that the kernel has was cancelled.
    pub cancelled: bool,
    /// Whether it waits in [`Uring::starved`] for a buffer.
    pub starved: bool,
    /// Whether the operation had waited for a buffer, and has not received since.
    pub retried: bool,
    /// Whether the peer has finished, or the connection has failed: nothing more is reported.
    pub ended: bool,
    /// Whether there is something to receive, as far as is known, so that a poll is pointless.
    pub ready: bool,
    /// How much it has to do.
    pub pace: Pace,
}

/// The ways to wait for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reports that there is something to receive.
    Poll,
    /// Receives once.
    One,
    /// Receives again and again.
    Many,
}

impl Receive {
    /// Of a connection that is new in that epoch.
    pub fn new(epoch: Epoch) -> Receive {
        Receive {
            wanted: false,
            armed: None,
            cancelled: false,
            starved: false,
            retried: false,
            ended: false,
            ready: false,
            pace: Pace::new(epoch),
        }
    }

    /// The operation that suits the connection now.
    fn suitable(&self, features: Features) -> Operation {
        match (self.pace.is_busy(), self.ready) {
            (true, _) if features.multishot_receive => Operation::Many,
            (true, _) | (false, true) => Operation::One,
            (false, false) => Operation::Poll,
        }
    }

    /// Whether the operation that the kernel has should end. A poll, or a receive that ends by
    /// itself, may finish when the connection has become busy.
    fn is_unsuitable(&self) -> bool {
        let lasts = match self.armed {
            Some(Operation::Many) => true,
            Some(Operation::One) => !self.ready,
            Some(Operation::Poll) | None => false,
        };
        lasts && !self.pace.is_busy()
    }
}

impl Operation {
    fn entry(self, descriptor: types::Fd) -> squeue::Entry {
        match self {
            // The peer's end counts as input, and errors are reported unasked.
            Operation::Poll => opcode::PollAdd::new(descriptor, libc::POLLIN as u32).build(),
            Operation::One => opcode::Recv::new(descriptor, ptr::null_mut(), 0)
                .buf_group(buffers::GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Operation::Many => opcode::RecvMulti::new(descriptor, buffers::GROUP).build(),
        }
    }
}

impl Uring {
    /// Brings the operation in line with what is wanted, if that takes anything.
    pub(super) fn update_receive(&mut self, key: Key) {
        let features = self.features;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let open = connection.is_open();
        let receive = &mut connection.receive;
        let wanted = open && receive.wanted && !receive.ended;
        if wanted && receive.armed.is_none() && !receive.starved {
            let operation = receive.suitable(features);
            receive.armed = Some(operation);
            receive.cancelled = false;
            let entry = operation.entry(types::Fd(connection.socket.as_raw_fd()));
            self.stats.operations_in_flight += 1;
            // SAFETY: the entry has no memory of its own; the kernel takes provided buffers, which
            // outlive the ring's operations (`Uring::drop`), and a poll none.
            unsafe { self.ring.push(entry, Token::new(Kind::Receive, key)) };
        } else if (!wanted || receive.is_unsuitable())
            && receive.armed.is_some()
            && !receive.cancelled
        {
            receive.cancelled = true;
            self.cancel(Token::new(Kind::Receive, key), Token::new(Kind::CancelReceive, key));
        }
    }

    /// A cancel found nothing to end. If the receive goes on nevertheless, the kernel was just
    /// working on it; it has to be cancelled once more.
    pub(super) fn recancel_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.receive.armed.is_some() && connection.receive.cancelled {
            connection.receive.cancelled = false;
            self.update_receive(key);
        }
    }

    /// The kernel reports of a receive, or of the poll before it: bytes, its end, or both.
    pub(super) fn received(&mut self, token: Token, entry: &cqueue::Entry, out: &mut Completions) {
        let length = usize::try_from(entry.result()).unwrap_or(0);
        let buffer = cqueue::buffer_select(entry.flags()).map(|id| self.buffers.take(id, length));
        let found = token.key_in(&self.connections);
        let Some((key, connection)) =
            found.and_then(|key| self.connections.get_mut(key).map(|connection| (key, connection)))
        else {
            // Not reached while operations are counted right; a buffer must not be lost even so.
            return buffer.into_iter().for_each(|id| self.buffers.release(id));
        };
        match buffer {
            Some(buffer) if length > 0 && connection.stage != Stage::Closing => {
                connection.receive.retried = false;
                if connection.receive.pace.arrived(self.epoch) {
                    self.queue_busy(key);
                }
                out.push(Completion::Received { connection: key, buffer, length });
            }
            Some(buffer) => self.buffers.release(buffer),
            None => {}
        }
        if !cqueue::more(entry.flags()) {
            self.receive_ended(key, entry, out);
        }
    }

    fn receive_ended(&mut self, key: Key, entry: &cqueue::Entry, out: &mut Completions) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let operation = connection.receive.armed.take();
        connection.receive.cancelled = false;
        self.stats.operations_in_flight -= 1;
        match connection.stage {
            // The peer's end, too, is left for the new owner to find.
            Stage::Detaching | Stage::Closing => return self.settle(key),
            Stage::Open => {}
        }
        let error = -entry.result();
        if operation == Some(Operation::Poll) {
            // Whatever else the poll found, the receive will tell.
            connection.receive.ready = error != libc::ECANCELED;
        } else {
            connection.receive.ready =
                error == libc::ENOBUFS || cqueue::sock_nonempty(entry.flags());
            self.conclude_receive(key, error, out);
        }
        self.update_receive(key);
    }

    /// Draws the conclusions from the last result of a receive.
    fn conclude_receive(&mut self, key: Key, error: i32, out: &mut Completions) {
        let ended = match error {
            libc::ENOBUFS => return self.starve(key),
            // Bytes: that is all of a single receive, and the kernel ends a lasting one early when
            // it must put completions aside.
            ..0 | libc::ECANCELED | libc::EINTR | libc::EAGAIN => return,
            0 => None,
            error => Some(error),
        };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.receive.ended = true;
            out.push(Completion::Ended(key, ended));
        }
    }

    /// Queues a connection that found no buffer. One that had waited and got nothing keeps its
    /// place, or a busy connection before it could take the free buffers each time.
    fn starve(&mut self, key: Key) {
        self.stats.buffers_exhausted += 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receive.starved = true;
        if connection.receive.retried {
            self.unserved.push(key);
        } else {
            self.starved.push_back(key);
        }
    }

    /// Puts those that keep their place before the others, in their order.
    pub(super) fn requeue_unserved(&mut self) {
        while let Some(key) = self.unserved.pop() {
            self.starved.push_front(key);
        }
    }

    /// Starts the receives that wait for a buffer, one for each that is free.
    pub(super) fn feed_starved(&mut self) {
        let mut free = self.buffers.available();
        while free > 0
            && let Some(key) = self.starved.pop_front()
        {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.receive.starved = false;
            connection.receive.retried = true;
            if connection.receive.wanted && connection.stage == Stage::Open {
                free -= 1;
                self.update_receive(key);
            }
        }
    }
}

impl Connection {
    /// Whether the shard may still ask for anything.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }
}
