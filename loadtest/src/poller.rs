//! Which sockets have something, and how long was spent on asking in vain.

use std::io;
use std::os::fd::AsRawFd;

use crate::sys::{self, Epoll, Event};

/// Turns take at most so many events, so that time is looked at often.
const EVENTS_MAX: usize = 128;
/// How long a sleeping swarm sleeps at most: what others tell it by shared memory wakes nobody.
const SLEEP_MAX_NS: u64 = 1_000_000;

/// One socket that has something.
#[derive(Clone, Copy)]
pub struct Ready {
    /// What the socket was watched under.
    pub token: u64,
    /// There is room to send.
    pub can_send: bool,
    /// There are bytes, or the end, or an error.
    pub can_receive: bool,
}

pub struct Poller {
    epoll: Epoll,
    events: Vec<Event>,
    count: usize,
    sleeps: bool,
    /// Time that passed in turns that found nothing, while not sleeping.
    pub idle_ns: u64,
}

impl Poller {
    pub fn new(sleeps: bool) -> io::Result<Poller> {
        let events = vec![Event { events: 0, u64: 0 }; EVENTS_MAX];
        Ok(Poller { epoll: Epoll::new()?, events, count: 0, sleeps, idle_ns: 0 })
    }

    pub fn watch(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        self.epoll.add(socket, libc::EPOLLIN, token)
    }

    pub fn forget(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.epoll.remove(socket)
    }

    /// Says when there is room to send as well, or no longer so.
    pub fn wants_to_send(&self, socket: &impl AsRawFd, token: u64, wants: bool) -> io::Result<()> {
        let interest = if wants { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        self.epoll.change(socket, interest, token)
    }

    /// Looks for sockets that have something. `began_ns` is when the turn began; a swarm that
    /// sleeps does so until `until_ns` at most. Gives the time at which it has looked.
    pub fn look(&mut self, began_ns: u64, until_ns: u64) -> io::Result<u64> {
        self.count = if self.sleeps {
            let wait_ns = until_ns.saturating_sub(began_ns).min(SLEEP_MAX_NS);
            self.epoll.wait(&mut self.events, wait_ns)?
        } else {
            self.epoll.look(&mut self.events)?
        };
        let now_ns = sys::now_ns();
        if self.count == 0 && !self.sleeps {
            self.idle_ns += now_ns - began_ns;
        }
        Ok(now_ns)
    }

    /// Those that were found.
    pub fn found(&self) -> usize {
        self.count
    }

    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let (bits, token) = (event.events as i32, event.u64);
        Ready {
            token,
            can_send: bits & libc::EPOLLOUT != 0,
            can_receive: bits & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) != 0,
        }
    }
}
