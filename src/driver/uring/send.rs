//! Sends: at once by a direct call while the socket has room, else by the ring.
//!
//! A direct call costs less than an operation, and almost every socket has room. Two operations on
//! one nearly full socket could interleave their bytes, so that there is one at most.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{opcode, squeue, types};

use super::Uring;
use crate::base::frame::{Frame, Gather};
use crate::base::slab::Key;
use crate::driver::sys::{self, Follows};
use crate::driver::token::{Kind, Token};
use crate::driver::{Completion, Sent};

/// How a driver sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendMode {
    /// By a call that does not wait; by the ring when the socket is full.
    #[default]
    DirectFirst,
    /// By the ring always: one entry into the kernel submits the sends of many connections.
    RingOnly,
}

/// Operations that are kept for the next sends. Each has grown to what its sends gathered, up to
/// 2 KiB, and more than these are only needed when many clients are slow at once.
const SPARE_OPERATIONS: usize = 64;

/// What the kernel reads while a send is in flight. It is boxed and left alone until the send has
/// ended: the header points to the slices, and these to the bytes of the frames.
pub struct SendOperation {
    header: libc::msghdr,
    slices: Vec<libc::iovec>,
    /// Keeps the bytes in memory, whatever becomes of the queue that they were sent from.
    frames: Vec<Frame>,
}

impl SendOperation {
    fn new() -> SendOperation {
        // SAFETY: a message header is integers and pointers, for which all-zero bytes are a value.
        let header = unsafe { mem::zeroed() };
        SendOperation { header, slices: Vec::new(), frames: Vec::new() }
    }

    /// Makes the operation that of `gather`.
    fn fill(&mut self, gather: Gather<'_>) {
        self.frames.extend(gather.frames().cloned());
        self.slices.extend(gather.slices().map(|slice| libc::iovec {
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        }));
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len() as _;
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.slices.clear();
    }

    fn entry(&self, descriptor: i32) -> squeue::Entry {
        // Without MSG_WAITALL the kernel reports as soon as any bytes were taken, so that the
        // shard can tell a slow client from one that has stopped reading.
        opcode::SendMsg::new(types::Fd(descriptor), &raw const self.header)
            .flags(libc::MSG_NOSIGNAL as u32)
            .build()
    }
}

/// Operations without a send, for the next ones.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection takes the box as it is, and is small for it")]
pub struct SpareOperations(Vec<Box<SendOperation>>);

impl SpareOperations {
    fn take(&mut self) -> Box<SendOperation> {
        self.0.pop().unwrap_or_else(|| Box::new(SendOperation::new()))
    }

    /// Gives all of them to the allocator.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    fn give(&mut self, mut operation: Box<SendOperation>) {
        operation.clear();
        if self.0.len() < SPARE_OPERATIONS {
            self.0.push(operation);
        }
    }
}

impl Uring {
    /// [`crate::driver::Driver::send`], and `send_last`.
    pub(super) fn start_send(&mut self, key: Key, gather: Gather<'_>, follows: Follows) -> Sent {
        assert!(gather.slices().any(|slice| !slice.is_empty()), "a send has bytes");
        let Some(connection) = self.connections.get(key).filter(|found| found.is_open()) else {
            return Sent::Failed(libc::EBADF);
        };
        assert!(connection.send.is_none(), "at most one send is in flight for a connection");
        if self.send_mode == SendMode::DirectFirst {
            match sys::send_slices(connection.socket.as_fd(), gather.slices(), follows) {
                Ok(taken) => {
                    self.stats.sends_direct += 1;
                    return Sent::Now(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Sent::Failed(error.raw_os_error().unwrap_or(libc::EIO)),
            }
            self.stats.sends_deferred += 1;
        }
        let mut operation = self.spare_operations.take();
        operation.fill(gather);
        self.submit_send(key, operation);
        Sent::Later
    }

    fn submit_send(&mut self, key: Key, operation: Box<SendOperation>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let entry = operation.entry(connection.socket.as_raw_fd());
        connection.send = Some(operation);
        self.stats.operations_in_flight += 1;
        // SAFETY: the header, its slices and the bytes they point to are on the heap, in a box, a
        // vector and counted frames. The connection owns the operation, and gives it up only to
        // `send_ended`; it is itself not removed before (`settle`, and `Uring::drop` as the last).
        unsafe { self.ring.push(entry, Token::new(Kind::Send, key)) };
    }

    /// The kernel reports that a send has ended.
    pub(super) fn send_ended(&mut self, token: Token, result: i32, out: &mut super::Completions) {
        let Some(key) = token.key_in(&self.connections) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(operation) = connection.send.take() else { return };
        let open = connection.is_open();
        self.stats.operations_in_flight -= 1;
        if open && matches!(-result, libc::EINTR | libc::EAGAIN) {
            self.submit_send(key, operation);
            return;
        }
        self.spare_operations.give(operation);
        if !open {
            self.settle(key);
            return;
        }
        out.push(Completion::Sent(
            key,
            match result {
                1.. => Ok(result as usize),
                // A send with bytes takes some or fails; the shard relies on that.
                0 => Err(libc::EPIPE),
                _ => Err(-result),
            },
        ));
    }

    /// Asks the kernel to end the send of a connection that is being closed.
    pub(super) fn cancel_send(&mut self, key: Key) {
        if self.connections.get(key).is_some_and(|found| found.send.is_some()) {
            self.cancel(Token::new(Kind::Send, key), Token::new(Kind::CancelSend, key));
        }
    }

    /// A cancel found nothing to end; as for [`Uring::recancel_receive`].
    pub(super) fn recancel_send(&mut self, key: Key) {
        self.cancel_send(key);
    }
}
