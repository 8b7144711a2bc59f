//! The driver on epoll, for kernels and sandboxes that have no io_uring: what the kernel reports as
//! ready is done at once, and reported as done.
//!
//! ```text
//! listen ─▶ readable ─▶ accept ─▶ Accepted
//! receive ─▶ readable ─▶ a free buffer, recv, until it is not filled ─▶ Received
//! send   ─▶ sendmsg, no waiting ─▶ Sent::Now     (socket full) ─▶ writable ─▶ sendmsg ─▶ Sent
//! close  ─▶ close(fd)
//! ```
//!
//! A connection reports each change once (edge-triggered) and is registered once, so that neither
//! a pause nor a full socket takes a call. The driver remembers which ones may have something to
//! receive. No operation is ever in flight: nothing has to be waited for when a connection goes.

mod accept;
mod buffers;
mod poll;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use self::accept::Listener;
use self::buffers::Buffers;
use self::poll::{Interest, Poll, Report};
use super::net::Handle;
use super::sys::{self, Follows};
use super::token::{Kind, Token};
use super::waker::WakeSignal;
use super::{BufferId, Completion, Driver, DriverStats, Sent, net, unix};
use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::base::frame::{Frame, Gather};
use crate::base::limits::Limits;
use crate::base::slab::{Key, Slab};

type Completions = Vec<Completion<Handle>>;

/// A [`Driver`] on epoll.
pub struct Epoll {
    poll: Poll,
    connections: Slab<Connection>,
    connections_max: usize,
    listeners: Slab<Listener>,
    listener_keys: Vec<Key>,
    buffers: Buffers,
    /// Connections that may have something to receive, and are wanted to, each once; and some that
    /// have left.
    ready: VecDeque<Key>,
    /// Connections that are free to leave.
    settled: Vec<Key>,
    /// Connections that the kernel does not watch, and why.
    unwatched: Vec<(Key, i32)>,
    signal: Arc<WakeSignal>,
    woken: bool,
    stats: DriverStats,
}

/// What the driver holds for each connection.
struct Connection {
    socket: TcpStream,
    /// Whether it is on its way to another driver.
    is_detaching: bool,
    /// Whether the shard wants bytes.
    is_wanted: bool,
    /// Whether there may be something to receive, as far as the kernel has said.
    is_readable: bool,
    /// Whether that ends with the peer's end or an error, of which it does not tell again.
    is_ending: bool,
    /// Whether it stands in [`Epoll::ready`].
    is_queued: bool,
    /// Whether the peer has finished, or the connection has failed: nothing more is reported.
    has_ended: bool,
    /// What waits for room in the socket.
    send: Option<Box<Deferred>>,
}

/// A send that waits for room. It keeps its bytes in memory, whatever becomes of the queue that
/// they were sent from.
struct Deferred {
    frames: Vec<Frame>,
    skip: usize,
}

impl Epoll {
    /// Sets a driver up, and raises the process's limit of descriptors as far as it may be. Without
    /// `limits.connections` the driver takes that many connections, less a reserve.
    ///
    /// # Errors
    /// What the kernel forbids or has run out of; `InvalidInput` for receive buffers that no driver
    /// has.
    pub fn new(limits: &Limits) -> io::Result<Epoll> {
        let connections_max = net::connections_max(limits)?;
        // A sandbox without randomness is found out now, and not with the first session.
        sys::fill_random(&mut [0])?;
        let poll = Poll::new()?;
        let buffers = Buffers::new(limits.receive_buffers, limits.receive_buffer_bytes)?;
        let signal = WakeSignal::new()?;
        poll.add(signal.counter(), Interest::Additions, Token::wake())?;
        Ok(Epoll {
            poll,
            connections: Slab::new(),
            connections_max,
            listeners: Slab::new(),
            listener_keys: Vec::new(),
            buffers,
            ready: VecDeque::new(),
            settled: Vec::new(),
            unwatched: Vec::new(),
            signal,
            woken: false,
            stats: DriverStats::default(),
        })
    }

    /// The socket of a connection.
    #[cfg(test)]
    pub(super) fn socket(&self, key: Key) -> Option<&TcpStream> {
        self.connections.get(key).map(|found| &found.socket)
    }

    fn admit(&mut self, socket: TcpStream) -> Key {
        let key = self.connections.next_key();
        let token = Token::new(Kind::Receive, key);
        if let Err(error) = self.poll.add(socket.as_fd(), Interest::Changes, token) {
            self.unwatched.push((key, error.raw_os_error().unwrap_or(libc::EIO)));
        }
        self.connections.insert(Connection {
            socket,
            is_detaching: false,
            is_wanted: false,
            is_readable: false,
            is_ending: false,
            is_queued: false,
            has_ended: false,
            send: None,
        })
    }

    /// Gives up connections of which the kernel would report nothing.
    fn end_unwatched(&mut self, out: &mut Completions) {
        for (key, error) in mem::take(&mut self.unwatched) {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.has_ended = true;
                out.push(Completion::Ended(key, Some(error)));
            }
        }
    }

    /// Puts a connection among those to be received from, if it is one of them.
    fn queue_ready(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_due = connection.is_wanted
            && connection.is_readable
            && !connection.has_ended
            && !connection.is_detaching;
        if is_due && !mem::replace(&mut connection.is_queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Receives what there is, a buffer from each connection in turn, while there are buffers.
    fn receive_ready(&mut self, out: &mut Completions) {
        while let Some(key) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if !connection.is_wanted || connection.is_detaching {
                connection.is_queued = false;
                continue;
            }
            let Some(buffer) = self.buffers.take() else {
                self.stats.buffers_exhausted += 1;
                return self.ready.push_front(key);
            };
            connection.is_queued = false;
            let bytes = self.buffers.bytes(buffer);
            match poll::receive(connection.socket.as_fd(), bytes) {
                Ok(0) => {
                    connection.has_ended = true;
                    out.push(Completion::Ended(key, None));
                }
                Ok(length) => {
                    // A buffer that was not filled took all there was (epoll(7)). What comes after
                    // it is reported anew, and so is an end that comes after it.
                    connection.is_readable = length == bytes.len() || connection.is_ending;
                    out.push(Completion::Received { connection: key, buffer, length });
                    self.queue_ready(key);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.is_readable = false;
                }
                Err(error) => {
                    connection.has_ended = true;
                    let number = error.raw_os_error().unwrap_or(libc::EIO);
                    out.push(Completion::Ended(key, Some(number)));
                }
            }
            self.buffers.release(buffer);
        }
    }

    /// Goes on with a send that has waited for room.
    fn send_deferred(&mut self, key: Key, out: &mut Completions) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(deferred) = connection.send.take() else { return };
        let gather = Gather { head: &deferred.frames, tail: &[], skip: deferred.skip };
        let result = sys::send_slices(connection.socket.as_fd(), gather.slices(), Follows::More);
        let result = match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.send = Some(deferred);
                return;
            }
            result => result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)),
        };
        self.stats.operations_in_flight -= 1;
        out.push(Completion::Sent(key, result));
    }

    fn start_send(&mut self, key: Key, gather: Gather<'_>, follows: Follows) -> Sent {
        assert!(gather.slices().any(|slice| !slice.is_empty()), "a send has bytes");
        let open = |found: &&mut Connection| !found.is_detaching;
        let Some(connection) = self.connections.get_mut(key).filter(open) else {
            return Sent::Failed(libc::EBADF);
        };
        assert!(connection.send.is_none(), "at most one send is in flight for a connection");
        match sys::send_slices(connection.socket.as_fd(), gather.slices(), follows) {
            Ok(taken) => {
                self.stats.sends_direct += 1;
                Sent::Now(taken)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stats.sends_deferred += 1;
                self.stats.operations_in_flight += 1;
                let frames = gather.frames().cloned().collect();
                connection.send = Some(Box::new(Deferred { frames, skip: gather.skip }));
                Sent::Later
            }
            Err(error) => Sent::Failed(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// Hands over the connections that are free to leave, unless they were closed meanwhile.
    fn deliver_settled(&mut self, out: &mut Completions) {
        for key in mem::take(&mut self.settled) {
            if let Some(connection) = self.connections.remove(key) {
                // One that was never watched needs no end of that.
                let _ = self.poll.remove(connection.socket.as_fd());
                out.push(Completion::Detached(key, Handle::of(connection.socket)));
                self.resume_accepting();
            }
        }
    }

    /// Does what the kernel reports that can be done.
    fn reported(&mut self, report: Report, out: &mut Completions) {
        match report.token.kind() {
            Some(Kind::Accept) => {
                if let Some(key) = report.token.key_in(&self.listeners) {
                    self.accept(key, out);
                }
            }
            Some(Kind::Receive) => {
                if let Some(key) = report.token.key_in(&self.connections) {
                    self.changed(key, report, out);
                }
            }
            Some(Kind::Wake) => self.woken = true,
            _ => {}
        }
    }

    /// A connection has changed.
    fn changed(&mut self, key: Key, report: Report, out: &mut Completions) {
        if report.is_writable {
            self.send_deferred(key, out);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_readable |= report.is_readable;
            connection.is_ending |= report.is_ending;
            self.queue_ready(key);
        }
    }

    /// How long the kernel may be waited for; not at all when there is something to do or to
    /// report already.
    fn patience(&self, now: Time, until: Option<Time>, is_idle: bool) -> Option<Duration> {
        if !is_idle || !self.ready.is_empty() && self.buffers.is_available() {
            return Some(Duration::ZERO);
        }
        let deadline = until.into_iter().chain(self.next_resumption()).min();
        deadline.map(|time| time.since(now))
    }
}

impl Driver for Epoll {
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
        self.add_listener(listener);
    }

    fn stop_listening(&mut self) {
        self.stop_listeners();
    }

    fn peer(&self, connection: Key) -> Option<SocketAddr> {
        let found = self.connections.get(connection).filter(|found| !found.is_detaching)?;
        found.socket.peer_addr().ok()
    }

    fn is_local(&self, connection: Key) -> bool {
        let found = self.connections.get(connection);
        found.is_some_and(|found| unix::is_unix(found.socket.as_fd()).unwrap_or(false))
    }

    fn receive(&mut self, connection: Key) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.is_wanted = true;
            self.queue_ready(connection);
        }
    }

    fn pause(&mut self, connection: Key) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.is_wanted = false;
        }
    }

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        self.buffers.bytes(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.buffers.release(buffer);
    }

    fn send(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, Follows::More)
    }

    fn send_last(&mut self, connection: Key, gather: Gather<'_>) -> Sent {
        self.start_send(connection, gather, Follows::End)
    }

    fn shutdown(&mut self, connection: Key) {
        if let Some(found) = self.connections.get(connection) {
            // It fails when the peer is gone already, which the receive reports.
            let _ = found.socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, connection: Key) {
        let Some(found) = self.connections.remove(connection) else { return };
        self.stats.operations_in_flight -= u64::from(found.send.is_some());
        if !found.has_ended {
            sys::discard_unread(found.socket.as_fd());
        }
        self.resume_accepting();
    }

    fn detach(&mut self, connection: Key) {
        let Some(found) = self.connections.get_mut(connection) else { return };
        assert!(found.send.is_none(), "no send is in flight when a connection is detached");
        if !mem::replace(&mut found.is_detaching, true) {
            self.settled.push(connection);
        }
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
        self.end_unwatched(completions);
        let mut now = self.now();
        loop {
            self.update_listeners(now);
            let patience = self.patience(now, until, completions.len() == before);
            self.stats.waits += u64::from(patience != Some(Duration::ZERO));
            for position in 0..self.poll.wait(patience)? {
                if let Some(report) = self.poll.report(position) {
                    self.reported(report, completions);
                }
            }
            self.receive_ready(completions);
            self.end_unwatched(completions);
            now = self.now();
            if mem::take(&mut self.woken) {
                self.signal.lower();
                return Ok(());
            }
            // What the kernel reports may concern nobody but the driver; then the wait goes on.
            if completions.len() > before || until.is_some_and(|until| until <= now) {
                return Ok(());
            }
        }
    }

    fn fit(&mut self, least: usize) {
        self.connections.fit(least);
        self.ready.fit(least);
        self.poll.fit(least);
        self.buffers.discard();
    }

    fn stats(&self) -> DriverStats {
        DriverStats { connections: self.connections.len() as u64, ..self.stats }
    }
}

impl Drop for Epoll {
    /// Closes the connections as [`Driver::close`] does: what they were sent shall arrive.
    fn drop(&mut self) {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
    }
}
