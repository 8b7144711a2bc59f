//! What a client that does not read is still due.

#[cfg(any(feature = "glommio", feature = "tokio"))]
use std::{io, task::Poll};

/// Bytes that may wait for one client. Beyond, it is disconnected.
pub const BACKLOG_MAX: usize = 64 << 20;

/// What became of bytes that were to be sent.
#[cfg(any(feature = "glommio", feature = "tokio"))]
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// They are on their way, or others wait already, or the connection has failed.
    Fine,
    /// The socket is full: somebody has to wait for room.
    Full,
    /// The client is too slow to be kept.
    TooSlow,
}

/// Bytes in order, of which the first have been sent.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    /// Queues more. False: the client is too slow to be kept.
    #[must_use]
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        // Moving what is left only when it is less than what is gone moves each byte once or less.
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.rest().len() <= BACKLOG_MAX
    }

    /// What is to be sent next.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// So many bytes of it were sent. When nothing is left, its memory is given back.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.rest().is_empty() {
            *self = Backlog::default();
        }
    }
}

/// For servers whose sockets can be asked to take what they can.
#[cfg(any(feature = "glommio", feature = "tokio"))]
impl Backlog {
    /// Sends at once what the socket takes, unless others wait already, and queues the rest.
    pub fn send(
        &mut self,
        bytes: &[u8],
        try_send: impl FnOnce(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Sent {
        let is_first = self.rest().is_empty();
        let count = match is_first {
            false => 0,
            true => match try_send(bytes) {
                Poll::Ready(Ok(count)) => count,
                Poll::Pending => 0,
                // Whoever receives will find the connection broken.
                Poll::Ready(Err(_)) => return Sent::Fine,
            },
        };
        match &bytes[count..] {
            [] => Sent::Fine,
            rest if !self.add(rest) => Sent::TooSlow,
            _ if is_first => Sent::Full,
            _ => Sent::Fine,
        }
    }

    /// Sends what waits until nothing does or the socket is full.
    pub fn drain(
        &mut self,
        mut try_send: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.rest().is_empty() {
            match try_send(self.rest()) {
                Poll::Ready(Ok(count)) => self.sent(count),
                other => return other.map_ok(drop),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut backlog = Backlog::default();
        let mut out = Vec::new();
        for round in 0..100_u8 {
            assert!(backlog.add(&[round; 7]));
            let count = usize::from(round) % backlog.rest().len();
            out.extend_from_slice(&backlog.rest()[..count]);
            backlog.sent(count);
        }
        out.extend_from_slice(backlog.rest());
        let expected: Vec<u8> = (0..100).flat_map(|round| [round; 7]).collect();
        assert_eq!(out, expected);
        backlog.sent(backlog.rest().len());
        assert_eq!(backlog.bytes.capacity(), 0);
    }

    #[cfg(any(feature = "glommio", feature = "tokio"))]
    #[test]
    fn only_the_first_who_finds_the_socket_full_waits_for_room() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.send(b"abc", |_| Poll::Ready(Ok(3))), Sent::Fine);
        assert_eq!(backlog.send(b"abc", |_| Poll::Ready(Ok(1))), Sent::Full);
        assert_eq!(backlog.send(b"d", |_| unreachable!("others wait")), Sent::Fine);
        assert!(backlog.drain(|_| Poll::Pending).is_pending());
        let mut seen = Vec::new();
        let drained = backlog.drain(|bytes| {
            seen.push(bytes[0]);
            Poll::Ready(Ok(1))
        });
        assert!(matches!(drained, Poll::Ready(Ok(()))));
        assert_eq!(seen, b"bcd");
        assert_eq!(backlog.send(b"e", |_| Poll::Pending), Sent::Full);
    }

    #[test]
    fn more_than_the_limit_is_too_much() {
        let mut backlog = Backlog::default();
        assert!(backlog.add(&vec![0; BACKLOG_MAX]));
        assert!(!backlog.add(&[0]));
    }
}
