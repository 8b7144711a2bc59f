//! Receives: one operation per connection that completes with every arrival of bytes, until it is
//! cancelled, the peer has finished, or no buffer was free.

use std::os::fd::AsRawFd;

use io_uring::{cqueue, opcode, types};

use super::ring::{Kind, Token};
use super::{Completions, Connection, Stage, Uring, buffers};
use crate::base::slab::Key;
use crate::driver::Completion;

/// How far the receiving of one connection is. See [`Uring::update_receive`], which alone starts
/// and cancels the operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receive {
    /// Whether the shard wants bytes.
    pub wanted: bool,
    /// True exactly when the kernel has the operation.
    pub armed: bool,
    /// Whether the operation that the kernel has was cancelled.
    pub cancelled: bool,
    /// Whether it waits in [`Uring::starved`] for a buffer.
    pub starved: bool,
    /// Whether the operation had waited for a buffer, and has not received since.
    pub retried: bool,
    /// Whether the peer has finished, or the connection has failed: nothing more is reported.
    pub ended: bool,
}

impl Uring {
    /// Brings the operation in line with what is wanted, if that takes anything.
    pub(super) fn update_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let open = connection.is_open();
        let receive = &mut connection.receive;
        let wanted = open && receive.wanted && !receive.ended;
        if wanted && !receive.armed && !receive.starved {
            receive.armed = true;
            receive.cancelled = false;
            let descriptor = types::Fd(connection.socket.as_raw_fd());
            let entry = opcode::RecvMulti::new(descriptor, buffers::GROUP).build();
            self.stats.operations_in_flight += 1;
            // SAFETY: the entry has no memory of its own; the kernel takes provided buffers, which
            // outlive the ring's operations (`Uring::drop`).
            unsafe { self.ring.push(entry, Token::new(Kind::Receive, key)) };
        } else if !wanted && receive.armed && !receive.cancelled {
            receive.cancelled = true;
            self.cancel(Token::new(Kind::Receive, key), Token::new(Kind::CancelReceive, key));
        }
    }

    /// A cancel found nothing to end. If the receive goes on nevertheless, the kernel was just
    /// working on it; it has to be cancelled once more.
    pub(super) fn recancel_receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.receive.armed && connection.receive.cancelled {
            connection.receive.cancelled = false;
            self.update_receive(key);
        }
    }

    /// The kernel reports of a receive: bytes, its end, or both.
    pub(super) fn received(&mut self, token: Token, entry: &cqueue::Entry, out: &mut Completions) {
        let buffer = cqueue::buffer_select(entry.flags()).map(|id| self.buffers.take(id));
        let found = token.key_in(&self.connections);
        let Some((key, connection)) =
            found.and_then(|key| self.connections.get_mut(key).map(|connection| (key, connection)))
        else {
            // Not reached while operations are counted right; a buffer must not be lost even so.
            return buffer.into_iter().for_each(|id| self.buffers.release(id));
        };
        let length = usize::try_from(entry.result()).unwrap_or(0);
        match buffer {
            Some(buffer) if length > 0 && connection.stage != Stage::Closing => {
                connection.receive.retried = false;
                out.push(Completion::Received { connection: key, buffer, length });
            }
            Some(buffer) => self.buffers.release(buffer),
            None => {}
        }
        if !cqueue::more(entry.flags()) {
            self.receive_ended(key, entry.result(), out);
        }
    }

    fn receive_ended(&mut self, key: Key, result: i32, out: &mut Completions) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receive.armed = false;
        connection.receive.cancelled = false;
        self.stats.operations_in_flight -= 1;
        match connection.stage {
            // The peer's end, too, is left for the new owner to find.
            Stage::Detaching | Stage::Closing => return self.settle(key),
            Stage::Open => {}
        }
        match -result {
            0 => {
                connection.receive.ended = true;
                out.push(Completion::Ended(key, None));
            }
            libc::ENOBUFS => self.starve(key),
            // Bytes: the kernel ends a receive early when it must put completions aside.
            ..0 | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            error => {
                connection.receive.ended = true;
                out.push(Completion::Ended(key, Some(error)));
            }
        }
        self.update_receive(key);
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
