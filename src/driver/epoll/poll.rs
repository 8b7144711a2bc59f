//! One epoll instance, and the calls that never wait which follow its reports.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::base::fit::Fit;
use crate::driver::token::Token;

/// Reports that one wait takes. More are no problem, the next wait has them.
const REPORTS: usize = 1024;

/// What a socket reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That there are connections to accept, as long as there are. Of the shards that share a
    /// socket not all are woken by one connection.
    Accept,
    /// That something has arrived, or that there is room again: each change once.
    Changes,
    /// That a counter was added to: each time once.
    Additions,
}

/// A report of the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Of what.
    pub token: Token,
    /// Whether there may be something to receive: bytes, the peer's end or an error.
    pub is_readable: bool,
    /// Whether the peer's end or an error is among that.
    pub is_ending: bool,
    /// Whether there may be room to send, or an error that a send would find.
    pub is_writable: bool,
}

/// The instance.
pub struct Poll {
    descriptor: OwnedFd,
    reports: Vec<libc::epoll_event>,
    /// Whether the kernel is to have no memory for one more.
    #[cfg(test)]
    pub is_full: bool,
}

impl Poll {
    /// Makes one.
    ///
    /// # Errors
    /// Those of `epoll_create1`: no descriptor or no memory is left.
    pub fn new() -> io::Result<Poll> {
        // SAFETY: the call takes no memory.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us, so nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Poll {
            descriptor,
            reports: Vec::new(),
            #[cfg(test)]
            is_full: false,
        })
    }

    /// Has a descriptor report, until it is closed or taken out.
    ///
    /// # Errors
    /// Those of `epoll_ctl`: no memory is left, or the limit of `fs.epoll.max_user_watches` is
    /// reached.
    pub fn add(&self, socket: BorrowedFd<'_>, interest: Interest, token: Token) -> io::Result<()> {
        #[cfg(test)]
        if self.is_full {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let events = match interest {
            Interest::Accept => libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
            Interest::Changes => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Interest::Additions => libc::EPOLLIN | libc::EPOLLET,
        };
        let mut event = libc::epoll_event { events: events as u32, u64: token.to_raw() };
        self.control(libc::EPOLL_CTL_ADD, socket, &raw mut event)
    }

    /// Has it report nothing more.
    ///
    /// # Errors
    /// `NotFound` when it did not.
    pub fn remove(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket, std::ptr::null_mut())
    }

    fn control(
        &self,
        operation: libc::c_int,
        socket: BorrowedFd<'_>,
        event: *mut libc::epoll_event,
    ) -> io::Result<()> {
        let own = self.descriptor.as_raw_fd();
        // SAFETY: `event` is null for a removal, which reads none, and else points to a live
        // structure, which the call reads.
        match unsafe { libc::epoll_ctl(own, operation, socket.as_raw_fd(), event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits for reports, so long at most (`None`: for ever), and gives how many there are.
    ///
    /// # Errors
    /// Those of `epoll_wait`.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<usize> {
        self.reports.clear();
        self.reports.reserve(REPORTS);
        // A whole millisecond rather than none, or the wait would end before its time and be
        // repeated; what is longer than the call can express is waited for in parts.
        let patience_ms = patience.map_or(-1, |patience| {
            libc::c_int::try_from(patience.as_micros().div_ceil(1_000)).unwrap_or(libc::c_int::MAX)
        });
        let (own, room) = (self.descriptor.as_raw_fd(), REPORTS as libc::c_int);
        // SAFETY: there is room for so many events behind the pointer, and the call writes no more.
        let count = unsafe { libc::epoll_wait(own, self.reports.as_mut_ptr(), room, patience_ms) };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        // SAFETY: the kernel has written so many events.
        unsafe { self.reports.set_len(count) };
        Ok(count)
    }

    /// One of the reports of the last wait.
    pub fn report(&self, position: usize) -> Option<Report> {
        let event = *self.reports.get(position)?;
        let (bits, token) = (event.events as libc::c_int, Token::from_raw(event.u64));
        let failed = libc::EPOLLERR | libc::EPOLLHUP;
        let is_ending = bits & (libc::EPOLLRDHUP | failed) != 0;
        Some(Report {
            token,
            is_readable: is_ending || bits & libc::EPOLLIN != 0,
            is_ending,
            is_writable: bits & (libc::EPOLLOUT | failed) != 0,
        })
    }

    /// Gives memory back, between two turns.
    pub fn fit(&mut self, least: usize) {
        self.reports.clear();
        self.reports.fit(least);
    }
}

/// Takes a connection that waits at a listener, which does not block.
///
/// # Errors
/// `WouldBlock` when there is none; else those of `accept4`.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<TcpStream> {
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: nobody asks for the peer's address, so that the call takes no memory.
    let socket =
        unsafe { libc::accept4(listener.as_raw_fd(), address, length, libc::SOCK_CLOEXEC) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, so nobody else owns it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket) }))
}

/// Receives what has arrived, up to the length of a buffer, and does not wait for more.
///
/// # Errors
/// `WouldBlock` when there is nothing; else those of `recv`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    loop {
        // SAFETY: `buffer` is writable for its length, and the call writes no further.
        let taken = unsafe { libc::recv(socket.as_raw_fd(), start, length, libc::MSG_DONTWAIT) };
        match usize::try_from(taken) {
            Ok(taken) => return Ok(taken),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
