//! One TCP connection as the fake kernel keeps it: a pipe each way and how each end is doing.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::client::End;
use crate::base::clock::Time;

/// Something on its way through a pipe.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    Finish,
    /// The other end learns this error number and, if `discards`, loses what it has not taken.
    Reset {
        errno: i32,
        discards: bool,
    },
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    transit: VecDeque<(Time, Segment)>,
    arrived: VecDeque<u8>,
    held_bytes: usize,
    /// The sending end has said that nothing more will come.
    pub finished: bool,
}

impl Pipe {
    /// Sends a segment that arrives at a time, or with the one before it, if that is later.
    pub fn push(&mut self, due: Time, segment: Segment) {
        match &segment {
            Segment::Bytes(bytes) => self.held_bytes += bytes.len(),
            Segment::Finish | Segment::Reset { .. } => self.finished = true,
        }
        self.transit.push_back((due, segment));
    }

    /// Lets bytes arrive that are due, up to the first signal, which is returned.
    fn arrive(&mut self, now: Time) -> Option<Segment> {
        while self.transit.front().is_some_and(|(due, _)| *due <= now) {
            match self.transit.pop_front() {
                Some((_, Segment::Bytes(bytes))) => self.arrived.extend(bytes),
                Some((_, signal)) => return Some(signal),
                None => break,
            }
        }
        None
    }

    /// Takes the first bytes that have arrived, so many of them at most.
    pub fn take(&mut self, bytes_max: usize) -> impl Iterator<Item = u8> {
        let length = bytes_max.min(self.arrived.len());
        self.held_bytes -= length;
        self.arrived.drain(..length)
    }

    /// When the next segment arrives.
    pub fn next_due(&self) -> Option<Time> {
        self.transit.front().map(|(due, _)| *due)
    }

    /// Bytes that have arrived and were not taken.
    pub fn arrived_bytes(&self) -> usize {
        self.arrived.len()
    }

    /// Bytes that were sent and not taken.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Loses what is on its way.
    fn lose_transit(&mut self) {
        self.transit.clear();
        self.held_bytes = self.arrived.len();
    }

    /// Loses what has arrived.
    fn lose_arrived(&mut self) {
        self.held_bytes -= self.arrived.len();
        self.arrived.clear();
    }
}

/// A connection between a client and the server.
#[derive(Debug)]
pub(super) struct Socket {
    pub client_address: SocketAddr,
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
    /// Nothing more will arrive at the server.
    pub up_ended: bool,
    /// What the kernel will tell the next operation of the server, once.
    pub error: Option<i32>,
    /// The connection was reset, as far as the server knows.
    pub broken: bool,
    /// How the connection ended for the client.
    pub client_end: Option<End>,
    /// The client has let go of its end.
    pub client_gone: bool,
    /// The server has no descriptor of it any more.
    pub server_gone: bool,
}

impl Socket {
    /// A fresh connection; the server has not accepted it.
    pub fn new(client_address: SocketAddr) -> Socket {
        Socket {
            client_address,
            up: Pipe::default(),
            down: Pipe::default(),
            up_ended: false,
            error: None,
            broken: false,
            client_end: None,
            client_gone: false,
            server_gone: false,
        }
    }

    /// Lets everything arrive that is due.
    pub fn settle(&mut self, now: Time) {
        while let Some(signal) = self.up.arrive(now) {
            match signal {
                Segment::Reset { errno, discards } => self.break_server(errno, discards),
                Segment::Finish | Segment::Bytes(_) => self.up_ended = true,
            }
        }
        while let Some(signal) = self.down.arrive(now) {
            let end = match signal {
                Segment::Reset { .. } => End::Reset,
                Segment::Finish | Segment::Bytes(_) => End::Finished,
            };
            self.client_end.get_or_insert(end);
        }
        // A host answers bytes for a socket that nobody holds any more with a reset.
        if self.client_gone && self.down.arrived_bytes() > 0 {
            self.down.lose_arrived();
            self.break_server(libc::ECONNRESET, false);
        }
    }

    /// The server's end is of no use any more. What has arrived can still be received, unless it
    /// is discarded; then the error is reported.
    pub fn break_server(&mut self, errno: i32, discards: bool) {
        if self.broken || self.server_gone {
            return;
        }
        self.broken = true;
        self.error = Some(errno);
        self.up_ended = true;
        self.up.lose_transit();
        self.down.lose_transit();
        if discards {
            self.up.lose_arrived();
        }
    }

    /// The client's end is of no use any more; it can still read what has arrived.
    pub fn break_client(&mut self) {
        self.down.lose_transit();
        self.client_end.get_or_insert(End::Reset);
    }

    /// Whether a receive would report something: bytes, or the end.
    pub fn has_input(&self) -> bool {
        self.up.arrived_bytes() > 0 || self.up_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_never_overtakes_the_one_before_it() {
        let mut pipe = Pipe::default();
        pipe.push(Time::from_micros(9), Segment::Bytes(b"late".to_vec()));
        pipe.push(Time::from_micros(1), Segment::Bytes(b" early".to_vec()));
        pipe.push(Time::from_micros(1), Segment::Finish);
        assert!(pipe.arrive(Time::from_micros(8)).is_none());
        assert_eq!(pipe.arrived_bytes(), 0);
        assert!(matches!(pipe.arrive(Time::from_micros(9)), Some(Segment::Finish)));
        assert_eq!(pipe.take(100).collect::<Vec<u8>>(), b"late early");
        assert_eq!(pipe.held_bytes(), 0);
    }

    #[test]
    fn bytes_for_a_client_that_has_gone_are_answered_with_a_reset() {
        let mut socket = Socket::new(SocketAddr::from(([10, 0, 0, 1], 1)));
        socket.client_gone = true;
        socket.down.push(Time::ZERO, Segment::Bytes(b"x".to_vec()));
        socket.settle(Time::ZERO);
        assert_eq!((socket.broken, socket.error), (true, Some(libc::ECONNRESET)));
        assert_eq!(socket.down.held_bytes(), 0);
    }
}
