//! Accepts: as many connections as wait, with a pause when descriptors are used up or the driver
//! has as many connections as it may.

use std::io;
use std::mem;
use std::os::fd::AsFd;

use super::poll::{self, Interest};
use super::{Completions, Epoll};
use crate::base::clock::Time;
use crate::base::slab::Key;
use crate::driver::backoff::Backoff;
use crate::driver::token::{Kind, Token};
use crate::driver::{Completion, net, sys};

/// Connections that are accepted from one listener before the driver looks at others.
const ACCEPTS_PER_REPORT: usize = 64;

/// A listening socket, and how far its accepting is.
pub struct Listener {
    listener: net::Listener,
    /// Whether the kernel reports of it.
    is_watched: bool,
    /// Whether to wait before the next accept.
    backoff: Backoff,
}

impl Epoll {
    pub(super) fn add_listener(&mut self, listener: net::Listener) {
        // It fails for no socket; an accept that waits would be the worst that comes of it.
        let _ = sys::set_blocking(listener.socket.as_fd(), false);
        let listener = Listener { listener, is_watched: false, backoff: Backoff::new() };
        self.listener_keys.push(self.listeners.insert(listener));
    }

    fn room(&self) -> usize {
        self.connections_max.saturating_sub(self.connections.len())
    }

    /// Has those listeners report that may accept now, and no others.
    pub(super) fn update_listeners(&mut self, now: Time) {
        let room = self.room();
        for position in 0..self.listener_keys.len() {
            let key = self.listener_keys[position];
            let Some(listener) = self.listeners.get_mut(key) else { continue };
            if !listener.backoff.is_pausing(now) {
                listener.backoff.end();
            }
            let is_wanted = room > 0 && listener.backoff.until().is_none();
            match (is_wanted, listener.is_watched) {
                (true, false) => self.watch(key),
                (false, true) => self.unwatch(key),
                _ => {}
            }
        }
    }

    /// Has a listener report. Where the kernel has no memory for that, or too much is watched on
    /// this host already, that is as good as an accept that it refuses: others are served.
    fn watch(&mut self, key: Key) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        let socket = listener.listener.socket.as_fd();
        match self.poll.add(socket, Interest::Accept, Token::new(Kind::Accept, key)) {
            Ok(()) => listener.is_watched = true,
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::ENOMEM);
                listener.backoff.refused(number, sys::monotonic_time());
                self.stats.accepts_refused += 1;
            }
        }
    }

    pub(super) fn unwatch(&mut self, key: Key) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        // It fails only where nothing is watched.
        let _ = self.poll.remove(listener.listener.socket.as_fd());
        listener.is_watched = false;
    }

    /// Closes all listeners.
    pub(super) fn stop_listeners(&mut self) {
        for key in mem::take(&mut self.listener_keys) {
            // One that shards share is not closed with this descriptor, and would go on reporting.
            if let Some(listener) = self.listeners.remove(key).filter(|it| it.is_watched) {
                let _ = self.poll.remove(listener.listener.socket.as_fd());
            }
        }
    }

    /// Takes the connections that wait at a listener; of one that shards share, one connection.
    pub(super) fn accept(&mut self, key: Key, out: &mut Completions) {
        let Some(listener) = self.listeners.get(key) else { return };
        if listener.listener.is_shared {
            self.accept_one(key, out);
            // Watched anew, since the kernel wakes the first of those who wait, which would always
            // be the same.
            self.unwatch(key);
            return self.watch(key);
        }
        for _ in 0..ACCEPTS_PER_REPORT.min(self.room()) {
            if !self.accept_one(key, out) {
                break;
            }
        }
    }

    /// Takes a connection, if there is one, and says whether to ask for the next.
    fn accept_one(&mut self, key: Key, out: &mut Completions) -> bool {
        let Some(listener) = self.listeners.get_mut(key) else { return false };
        match poll::accept(listener.listener.socket.as_fd()) {
            Ok(socket) => {
                listener.backoff.accepted();
                out.push(Completion::Accepted(self.admit(socket)));
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EIO);
                let pauses = listener.backoff.refused(number, sys::monotonic_time());
                self.stats.accepts_refused += u64::from(pauses);
                !pauses
            }
        }
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
