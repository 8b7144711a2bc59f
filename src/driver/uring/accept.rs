//! Accepts: one operation per listener that completes with every connection, with a pause when
//! descriptors are used up or the driver has as many connections as it may.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use io_uring::{cqueue, opcode, types};

use super::{Completions, Features, Uring};
use crate::base::clock::Time;
use crate::base::slab::Key;
use crate::driver::backoff::Backoff;
use crate::driver::token::{Kind, Token};
use crate::driver::{Completion, net, sys};

/// A listening socket, and how far its accepting is.
pub struct Listener {
    listener: net::Listener,
    /// What the kernel has been asked for.
    armed: Option<Accept>,
    /// Whether the operation that the kernel has was cancelled.
    cancelled: bool,
    /// Whether it is to be closed as soon as its operation has ended.
    stopping: bool,
    /// Whether to wait before the next one.
    backoff: Backoff,
}

/// The two ways to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accept {
    /// One operation for all connections to come.
    Many,
    /// An operation for one connection: near the limit, since `Many` would take, unasked, all that
    /// are waiting. And on a socket that shards share: the kernel wakes whoever has waited longest,
    /// which with `Many` is always the same.
    One,
}

impl Listener {
    pub(super) fn new(listener: net::Listener) -> Listener {
        Listener {
            listener,
            armed: None,
            cancelled: false,
            stopping: false,
            backoff: Backoff::new(),
        }
    }

    /// What the operation should be with so much room for connections, at that time.
    fn wanted(&self, room: usize, features: Features, now: Time) -> Option<Accept> {
        if self.stopping || room == 0 || self.backoff.is_pausing(now) {
            None
        } else if features.multishot_accept
            && room > net::BACKLOG as usize
            && !self.listener.is_shared
        {
            Some(Accept::Many)
        } else {
            Some(Accept::One)
        }
    }
}

impl Uring {
    fn room(&self) -> usize {
        self.connections_max.saturating_sub(self.connections.len())
    }

    /// Brings the operations of all listeners in line with what is wanted now.
    pub(super) fn update_listeners(&mut self, now: Time) {
        for position in 0..self.listener_keys.len() {
            self.update_listener(self.listener_keys[position], now);
        }
    }

    fn update_listener(&mut self, key: Key, now: Time) {
        let (room, features) = (self.room(), self.features);
        let Some(listener) = self.listeners.get_mut(key) else { return };
        let wanted = listener.wanted(room, features, now);
        match listener.armed {
            None => {
                let Some(accept) = wanted else { return };
                listener.armed = Some(accept);
                listener.cancelled = false;
                listener.backoff.end();
                let descriptor = types::Fd(listener.listener.socket.as_raw_fd());
                let flags = libc::SOCK_CLOEXEC;
                let entry = match accept {
                    Accept::Many => opcode::AcceptMulti::new(descriptor).flags(flags).build(),
                    Accept::One => {
                        let (address, length) = (ptr::null_mut(), ptr::null_mut());
                        opcode::Accept::new(descriptor, address, length).flags(flags).build()
                    }
                };
                self.stats.operations_in_flight += 1;
                // SAFETY: neither entry has memory: nobody asked for the peer's address.
                unsafe { self.ring.push(entry, Token::new(Kind::Accept, key)) };
            }
            Some(armed) if wanted != Some(armed) && !listener.cancelled => {
                // One connection more is no harm when there is room for many.
                if (armed, wanted) != (Accept::One, Some(Accept::Many)) {
                    listener.cancelled = true;
                    self.cancel(Token::new(Kind::Accept, key), Token::new(Kind::CancelAccept, key));
                }
            }
            Some(_) => {}
        }
    }

    /// A cancel found nothing to end; as for [`Uring::recancel_receive`].
    pub(super) fn recancel_accept(&mut self, key: Key) {
        if let Some(listener) = self.listeners.get_mut(key) {
            // The next turn cancels again, should the operation still be there and unwanted.
            listener.cancelled = false;
        }
    }

    /// Whether the kernel has been asked for many connections, of each listener.
    #[cfg(test)]
    pub(super) fn accepts_many(&self) -> Vec<bool> {
        let listeners = self.listener_keys.iter().filter_map(|&key| self.listeners.get(key));
        listeners.map(|listener| listener.armed == Some(Accept::Many)).collect()
    }

    /// Closes all listeners as soon as the kernel has given their operations back.
    pub(super) fn stop_listeners(&mut self) {
        for key in self.listener_keys.clone() {
            if let Some(listener) = self.listeners.get_mut(key) {
                listener.stopping = true;
                self.update_listener(key, Time::ZERO);
                self.forget_stopped(key);
            }
        }
    }

    fn forget_stopped(&mut self, key: Key) {
        if self.listeners.get(key).is_some_and(|it| it.stopping && it.armed.is_none()) {
            self.listeners.remove(key);
            self.listener_keys.retain(|&other| other != key);
        }
    }

    /// The kernel reports of an accept: a connection, its end, or both.
    pub(super) fn accepted(&mut self, token: Token, entry: &cqueue::Entry, out: &mut Completions) {
        let result = entry.result();
        let socket = (result >= 0).then(|| {
            // SAFETY: the kernel made this descriptor for this completion, which is reaped once,
            // so that nobody else owns it.
            TcpStream::from(unsafe { OwnedFd::from_raw_fd(result) })
        });
        let Some(key) = token.key_in(&self.listeners) else { return };
        let Some(listener) = self.listeners.get_mut(key) else { return };
        if !cqueue::more(entry.flags()) {
            listener.armed = None;
            listener.cancelled = false;
            self.stats.operations_in_flight -= 1;
        }
        match socket {
            Some(socket) => {
                listener.backoff.accepted();
                out.push(Completion::Accepted(self.admit(socket)));
            }
            None if listener.backoff.refused(-result, sys::monotonic_time()) => {
                self.stats.accepts_refused += 1;
            }
            None => {}
        }
        self.forget_stopped(key);
    }

    /// A descriptor was closed: there may be one to accept with.
    pub(super) fn resume_accepting(&mut self) {
        self.listeners.values_mut().for_each(|listener| listener.backoff.end());
    }

    /// When the first listener has paused long enough, if that is all it lacks.
    pub(super) fn next_resumption(&self) -> Option<Time> {
        if self.room() == 0 {
            return None;
        }
        self.listeners.iter().filter_map(|(_, listener)| listener.backoff.until()).min()
    }
}
