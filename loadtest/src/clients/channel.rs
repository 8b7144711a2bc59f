//! One socket of a client, and the bytes that wait on either side of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::poller::Poller;
use crate::sys;

/// Buffers that are kept for whoever needs one next, so that nothing is allocated per message.
#[derive(Default)]
pub struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// More than ever wait at once when a server keeps up.
    const KEPT_MAX: usize = 1024;
    /// One that has grown beyond this is not worth keeping.
    const CAPACITY_MAX: usize = 1 << 20;

    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes back what the place holds.
    pub fn reclaim(&mut self, place: &mut Vec<u8>) {
        let mut buffer = std::mem::take(place);
        let is_useful = (1..=Buffers::CAPACITY_MAX).contains(&buffer.capacity());
        if is_useful && self.0.len() < Buffers::KEPT_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// What reading gave.
pub enum Received {
    Bytes(usize),
    Nothing,
    /// The connection is over, and why.
    End(io::Error),
}

#[derive(Default)]
pub struct Channel {
    pub socket: Option<TcpStream>,
    /// The beginning of something that has not come whole.
    partial: Vec<u8>,
    /// What has not been sent.
    outgoing: Vec<u8>,
    /// Whether the poller says when there is room to send.
    awaits_room: bool,
    /// What went wrong with sending; the next `receive` tells it.
    broken: Option<io::Error>,
}

impl Channel {
    pub fn open(&mut self, socket: TcpStream, token: u64, poller: &Poller) -> io::Result<()> {
        poller.watch(&socket, token)?;
        self.socket = Some(socket);
        self.awaits_room = false;
        self.broken = None;
        Ok(())
    }

    /// Lets the socket go, and forgets what was waiting. A broken connection leaves no trace in
    /// the kernel; one that ends in order may stay there for a minute, with its port.
    pub fn close(&mut self, breaks: bool, buffers: &mut Buffers) {
        if let Some(socket) = self.socket.take().filter(|_| breaks) {
            // When this fails the connection ends in order, which is as good for the server.
            let _ = sys::break_on_close(&socket);
        }
        buffers.reclaim(&mut self.partial);
        buffers.reclaim(&mut self.outgoing);
    }

    /// Where to write what shall be sent.
    pub fn outgoing(&mut self, buffers: &mut Buffers) -> &mut Vec<u8> {
        if self.outgoing.capacity() == 0 {
            self.outgoing = buffers.take();
        }
        &mut self.outgoing
    }

    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Puts what was kept to the front of `buffer` and says how much that is.
    pub fn restore(&mut self, buffer: &mut [u8], buffers: &mut Buffers) -> usize {
        let length = self.partial.len();
        buffer[..length].copy_from_slice(&self.partial);
        buffers.reclaim(&mut self.partial);
        length
    }

    /// Keeps the beginning of something until the rest has come.
    pub fn keep(&mut self, bytes: &[u8], buffers: &mut Buffers) {
        if !bytes.is_empty() {
            self.partial = buffers.take();
            self.partial.extend_from_slice(bytes);
        }
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let Some(socket) = &mut self.socket else { return Received::Nothing };
        if let Some(error) = self.broken.take() {
            return Received::End(error);
        }
        if buffer.is_empty() {
            let why = "a message longer than any that was sent";
            return Received::End(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        match socket.read(buffer) {
            Ok(0) => {
                let why = "the server closed the connection";
                Received::End(io::Error::new(io::ErrorKind::UnexpectedEof, why))
            }
            Ok(count) => Received::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(error) => Received::End(error),
        }
    }

    /// Whether the server has ended a connection on which nothing was under way. A server may do so
    /// at any time; what is then sent is lost, and may not be sent again by whoever sent it.
    pub fn is_stale(&self) -> bool {
        let peeked = self.socket.as_ref().map(|socket| socket.peek(&mut [0]));
        !matches!(peeked, Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what there is room for. An error is left for the next `receive` to find.
    pub fn send(&mut self, token: u64, poller: &Poller, buffers: &mut Buffers) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        match socket.write(&self.outgoing) {
            Ok(count) => drop(self.outgoing.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.outgoing.clear();
                self.broken = Some(error);
            }
        }
        let awaits_room = !self.outgoing.is_empty();
        if awaits_room != self.awaits_room {
            self.awaits_room = awaits_room;
            poller.wants_to_send(socket, token, awaits_room)?;
        }
        if !awaits_room {
            buffers.reclaim(&mut self.outgoing);
        }
        Ok(())
    }
}
