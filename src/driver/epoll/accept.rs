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
    ///
    /// # Errors
    /// The kernel cannot watch a listener.
    pub(super) fn update_listeners(&mut self, now: Time) -> io::Result<()> {
        let room = self.room();
        for &key in &self.listener_keys {
            let Some(listener) = self.listeners.get_mut(key) else { continue };
            if !listener.backoff.is_pausing(now) {
                listener.backoff.end();
            }
            let is_wanted = room > 0 && listener.backoff.until().is_none();
            let socket = listener.listener.socket.as_fd();
            match (is_wanted, listener.is_watched) {
                (true, false) => {
                    self.poll.add(socket, Interest::Accept, Token::new(Kind::Accept, key))?;
                }
                (false, true) => self.poll.remove(socket)?,
                _ => {}
            }
            listener.is_watched = is_wanted;
        }
        Ok(())
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
    ///
    /// # Errors
    /// The kernel cannot watch the listener any more.
    pub(super) fn accept(&mut self, key: Key, out: &mut Completions) -> io::Result<()> {
        let Some(listener) = self.listeners.get(key) else { return Ok(()) };
        if listener.listener.is_shared {
            self.accept_one(key, out);
            return self.let_others_go_first(key);
        }
        for _ in 0..ACCEPTS_PER_REPORT.min(self.room()) {
            if !self.accept_one(key, out) {
                break;
            }
        }
        Ok(())
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

    /// Watches a listener anew: the kernel wakes the first of those who wait, which would always be
    /// the same.
    fn let_others_go_first(&mut self, key: Key) -> io::Result<()> {
        let Some(listener) = self.listeners.get(key) else { return Ok(()) };
        let socket = listener.listener.socket.as_fd();
        self.poll.remove(socket)?;
        self.poll.add(socket, Interest::Accept, Token::new(Kind::Accept, key))
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
