//! Accepts: as many connections as wait, with a pause when descriptors are used up or the driver
//! has as many connections as it may.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::poll::{self, Interest};
use super::{Completions, Epoll};
use crate::base::clock::Time;
use crate::base::slab::Key;
use crate::driver::token::{Kind, Token};
use crate::driver::{Completion, net, sys};

/// The first pause after an accept that the kernel refused; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connections that are accepted from one listener before the driver looks at others.
const ACCEPTS_PER_REPORT: usize = 64;

/// A listening socket, and how far its accepting is.
pub struct Listener {
    listener: net::Listener,
    /// Whether the kernel reports of it.
    is_watched: bool,
    /// How long the next pause will be.
    pause: Duration,
    /// When to go on after a refusal.
    resume_at: Option<Time>,
}

impl Epoll {
    pub(super) fn add_listener(&mut self, listener: net::Listener) {
        // It fails for no socket; an accept that waits would be the worst that comes of it.
        let _ = listener.set_nonblocking();
        let listener = Listener { listener, is_watched: false, pause: PAUSE_MIN, resume_at: None };
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
            if listener.resume_at.is_some_and(|time| time <= now) {
                listener.resume_at = None;
            }
            let is_wanted = room > 0 && listener.resume_at.is_none();
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
        for key in std::mem::take(&mut self.listener_keys) {
            // One that shards share is not closed with this descriptor, and would go on reporting.
            if let Some(listener) = self.listeners.remove(key).filter(|it| it.is_watched) {
                let _ = self.poll.remove(listener.listener.socket.as_fd());
            }
        }
    }

    /// Takes the connections that wait at a listener.
    pub(super) fn accept(&mut self, key: Key, out: &mut Completions) {
        for _ in 0..ACCEPTS_PER_REPORT.min(self.room()) {
            let Some(listener) = self.listeners.get_mut(key) else { return };
            match poll::accept(listener.listener.socket.as_fd()) {
                Ok(socket) => {
                    listener.pause = PAUSE_MIN;
                    out.push(Completion::Accepted(self.admit(socket)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.refused(key, &error),
            }
        }
    }

    /// Decides when to go on after an accept that failed.
    fn refused(&mut self, key: Key, error: &io::Error) {
        let now = sys::monotonic_time();
        let Some(listener) = self.listeners.get_mut(key) else { return };
        match error.raw_os_error().unwrap_or(libc::EIO) {
            // The connection failed before it was accepted (accept(2)).
            libc::EINTR | libc::ECONNABORTED | libc::EPERM | libc::EPROTO | libc::ENETDOWN => {}
            libc::ENETUNREACH | libc::EHOSTDOWN | libc::EHOSTUNREACH => {}
            libc::ENOPROTOOPT | libc::ENONET => {}
            // Descriptors or memory are used up. What else there may be must not spin either.
            _ => {
                self.stats.accepts_refused += 1;
                listener.resume_at = Some(now.after(listener.pause));
                listener.pause = (2 * listener.pause).min(PAUSE_MAX);
            }
        }
    }

    /// A descriptor was closed: there may be one to accept with.
    pub(super) fn resume_accepting(&mut self) {
        for &key in &self.listener_keys {
            if let Some(listener) = self.listeners.get_mut(key) {
                listener.resume_at = None;
            }
        }
    }

    /// When the first listener has paused long enough, if that is all it lacks.
    pub(super) fn next_resumption(&self) -> Option<Time> {
        if self.room() == 0 {
            return None;
        }
        let listeners = self.listener_keys.iter().filter_map(|&key| self.listeners.get(key));
        listeners.filter_map(|listener| listener.resume_at).min()
    }
}
