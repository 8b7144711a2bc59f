//! The kernel, as one shard sees it: file descriptors, buffers, completions. No protocol.
//!
//! A [`Driver`] belongs to one thread and is shaped by completions: an operation is asked for, and
//! what became of it is reported by a later [`Driver::turn`]. The same shard code runs on
//! `uring::Uring`, on `epoll::Epoll` where there is no io_uring, and on `sim::Sim`, a seeded fake
//! kernel.
//!
//! Rules that every driver keeps, so that a shard can rely on them (`tests.rs` has each on every
//! driver of a real kernel):
//! - A connection is named by a [`Key`] whose generation is new for each connection. After
//!   [`Driver::close`] no completion names it again, although the kernel may still work on it.
//! - At most one send is in flight for a connection.
//! - Bytes of one connection are reported in the order in which they arrived, and nothing is
//!   reported after its [`Completion::Ended`].
//! - What the kernel runs out of (descriptors on accept, buffers on receive) is retried by the
//!   driver; a shard never sees it but in [`DriverStats`].

mod backoff;
pub mod epoll;
pub mod memory;
pub mod net;
pub mod rights;
pub mod sim;
pub mod sys;
pub mod systemd;
#[cfg(test)]
pub(crate) mod tests;
mod token;
pub mod unix;
pub mod uring;
mod waker;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use crate::base::clock::Time;
use crate::base::frame::Gather;
use crate::base::slab::Key;

/// Names a filled receive buffer until [`Driver::release`] gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// Most receive buffers of a driver: the most that io_uring takes.
const RECEIVE_BUFFERS_MAX: u16 = 1 << 15;

/// Checks what is asked for receive buffers; in the same way for every driver, so that options that
/// are good on one machine are good on another.
///
/// # Errors
/// `InvalidInput` unless their number is a power of two up to 32,768 and their size 1 to 2^31 - 1.
fn check_receive_buffers(count: u16, bytes_each: usize) -> io::Result<()> {
    let invalid = |message: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if !count.is_power_of_two() || count > RECEIVE_BUFFERS_MAX {
        return invalid("receive_buffers must be a power of two up to 32768");
    }
    if bytes_each == 0 || bytes_each > i32::MAX as usize {
        return invalid("receive_buffer_bytes must be 1 to 2147483647");
    }
    Ok(())
}

/// What became of an operation.
#[derive(Debug)]
pub enum Completion<H> {
    /// A client connected. It is not received from until [`Driver::receive`].
    Accepted(Key),
    /// Bytes arrived: the first `length` ones of a buffer, which the shard must release.
    Received {
        /// The connection.
        connection: Key,
        /// The buffer that holds the bytes.
        buffer: BufferId,
        /// How many there are, at least 1.
        length: usize,
    },
    /// Nothing more will arrive: the peer finished (`None`) or the kernel reports an error number.
    Ended(Key, Option<i32>),
    /// A send that was [`Sent::Later`] has ended: so many bytes were taken (at least 1; maybe fewer
    /// than asked for), or the kernel reports an error number.
    Sent(Key, Result<usize, i32>),
    /// A connection that [`Driver::detach`] was asked for has left this driver: every operation on
    /// it has ended, and all bytes that had arrived were reported before.
    Detached(Key, H),
}

/// The immediate answer to [`Driver::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took so many bytes; all there were, or fewer. Nothing is in flight.
    Now(usize),
    /// The driver keeps the frames and will report [`Completion::Sent`].
    Later,
    /// The connection is of no use any more; the kernel's error number.
    Failed(i32),
}

/// What a driver has seen and done since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Connections that are open or still closing.
    pub connections: u64,
    /// Operations that the kernel has not reported the end of.
    pub operations_in_flight: u64,
    /// Times that an accept found no free file descriptor.
    pub accepts_refused: u64,
    /// Times that a receive found no free buffer.
    pub buffers_exhausted: u64,
    /// Sends that the kernel took at once, and at least in part.
    pub sends_direct: u64,
    /// Sends that had to wait for room in the socket buffer.
    pub sends_deferred: u64,
    /// Times that the driver waited for the kernel.
    pub waits: u64,
}

/// One shard's way to the kernel. See the module documentation for the rules.
pub trait Driver {
    /// A connection on its way to another shard's driver of the same kind.
    type Handle: Send + 'static;

    /// Where clients come from: made on any thread, for one driver.
    type Listener: Send + 'static;

    /// The time now.
    fn now(&self) -> Time;

    /// Fills `out` from the driver's source of randomness; the kernel's, for a real driver.
    fn random(&mut self, out: &mut [u8]);

    /// Starts to accept connections.
    fn listen(&mut self, listener: Self::Listener);

    /// Stops accepting. Connections that the kernel has accepted by then are still reported; what
    /// waits to be accepted is refused, unless another process has the listener, too.
    fn stop_listening(&mut self);

    /// The address of the peer, if the connection still has one.
    fn peer(&self, connection: Key) -> Option<SocketAddr>;

    /// Whether the connection has come by a Unix socket.
    fn is_local(&self, connection: Key) -> bool {
        let _ = connection;
        false
    }

    /// Whether nobody between the peer and this driver can read what is sent.
    fn is_encrypted(&self, connection: Key) -> bool {
        let _ = connection;
        false
    }

    /// Memory that the driver itself keeps for a connection, of what is not for the shard yet.
    fn kept_bytes(&self, connection: Key) -> usize {
        let _ = connection;
        0
    }

    /// Starts to receive, until [`Completion::Ended`], [`Driver::pause`] or [`Driver::close`].
    /// Does nothing when the connection is being received from already.
    fn receive(&mut self, connection: Key);

    /// Stops receiving soon; what had arrived may still be reported. [`Driver::receive`] goes on.
    fn pause(&mut self, connection: Key);

    /// The bytes of a receive buffer.
    fn buffer(&mut self, buffer: BufferId) -> &mut [u8];

    /// Gives a receive buffer back, once.
    fn release(&mut self, buffer: BufferId);

    /// Sends the slices of `gather` ([`Gather::slices`]). Must not be called while a send of the
    /// connection is in flight.
    fn send(&mut self, connection: Key, gather: Gather<'_>) -> Sent;

    /// As [`Driver::send`], for bytes behind which the connection is shut down or closed in this
    /// turn: the kernel may let them travel with its end.
    fn send_last(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.send(connection, gather)
    }

    /// Tells the peer that nothing more will be sent.
    fn shutdown(&mut self, connection: Key);

    /// Forgets the connection: its operations are cancelled and its descriptor is closed when the
    /// last of them has ended. What the kernel had taken is still delivered to the peer, unless
    /// that goes on sending and so makes the kernel reset the connection; [`Driver::shutdown`] and
    /// receiving until [`Completion::Ended`] before is the way to be sure.
    fn close(&mut self, connection: Key);

    /// Takes the connection off this driver; [`Completion::Detached`] gives it to the caller.
    /// Must not be called while a send of the connection is in flight. An end that was reported, or
    /// comes meanwhile, is reported by the driver that adopts the connection and receives from it.
    fn detach(&mut self, connection: Key);

    /// Makes a detached connection one of this driver. It is not received from until
    /// [`Driver::receive`].
    fn adopt(&mut self, handle: Self::Handle) -> Key;

    /// Makes a connection one of this driver that comes from none, and is not encrypted by one:
    /// what the driver of the kernel takes as its handle. `None` for anything else.
    fn attach(&mut self, socket: Box<dyn Any + Send>) -> Option<Key> {
        socket.downcast().ok().map(|handle| self.adopt(*handle))
    }

    /// Ends a [`Driver::turn`] that waits, from any thread; one that does not wait yet will not.
    fn waker(&self) -> Waker;

    /// Submits what was asked for and adds what has completed to `completions`. Without any, it
    /// waits until there is one, the waker is used or the time is `until` (`None`: no such time).
    ///
    /// # Errors
    /// What the kernel reports of the driver itself, not of an operation; the shard cannot go on.
    fn turn(
        &mut self,
        until: Option<Time>,
        completions: &mut Vec<Completion<Self::Handle>>,
    ) -> io::Result<()>;

    /// Gives back what it has grown by for a crowd that has left, beyond what `least` connections
    /// need.
    fn fit(&mut self, least: usize);

    /// Counters.
    fn stats(&self) -> DriverStats;
}
