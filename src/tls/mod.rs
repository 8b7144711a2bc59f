//! TLS between a driver and its shard: what arrives is decrypted before the shard sees it, and what
//! the shard sends is encrypted behind its back.
//!
//! ```text
//! driver ─▶ Received ─▶ Channel (rustls) ─▶ plaintext, in the buffer it came in ─▶ shard
//! driver ◀─ Output ◀─── Channel ◀─────────── one record of the queue ◀──────────── shard
//!              ▲            │
//!              └────────────┘  handshake, alerts, updates of keys
//! ```
//!
//! [`Tls`] is a [`Driver`] over another one and keeps the same rules. A connection begins with TLS
//! unless it has come by a Unix socket or from the application. It is given to the shard when it is
//! accepted, and not when its handshake has ended: so the limits and deadlines of the shard hold
//! for those that never end theirs. What is sent before that waits for it.
//!
//! What a connection that is idle costs is the state of rustls: no buffer belongs to it. rustls
//! bounds what a peer may have us answer: it ends connections that ask for new keys, or to
//! negotiate again, without end.

mod channel;
mod context;
mod driver;
mod options;
mod output;
#[cfg(test)]
pub mod tests;

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use self::channel::{Channel, Outcome, Scratch};
use self::output::{Frames, Output};
use crate::base::frame::Gather;
use crate::base::limits::TLS_SEND_BYTES;
use crate::base::slab::{Key, Slab};
use crate::driver::{BufferId, Completion, Driver, Sent};

pub use channel::Front;
pub use context::Context;
pub use options::TlsOptions;

/// Says what the bytes that a connection begins with, and whose peer that is, are in front of TLS.
pub type Preamble = Box<dyn Fn(Option<SocketAddr>, &[u8]) -> Front>;

/// A [`Driver`] whose connections are encrypted.
pub struct Tls<D: Driver> {
    inner: D,
    context: Arc<Context>,
    /// Whether something may come in front of TLS, and what.
    preamble: Option<Preamble>,
    /// Those that are encrypted, by the keys of the inner driver.
    connections: Slab<Box<Connection>>,
    /// What the inner driver has reported.
    completions: Vec<Completion<D::Handle>>,
    /// Connections whose end was reported elsewhere.
    ended: Vec<Key>,
    /// Plaintext that is longer than the buffer that the end of its ciphertext has come in, and
    /// whose name it has.
    spilled: Vec<(BufferId, Vec<u8>)>,
    plain: Vec<u8>,
    cipher: Scratch,
    frames: Frames,
}

/// A connection on its way to another shard.
pub struct Handle<H> {
    inner: H,
    channel: Option<Box<Channel>>,
    /// Why nothing can be sent any more.
    failure: Option<i32>,
}

/// A connection that is encrypted.
struct Connection {
    channel: Box<Channel>,
    output: Output,
    /// A send that waits for the end of the handshake.
    waiting: Option<Box<[u8]>>,
    /// Bytes of the shard in what waits to be sent, of a send that is in flight for it.
    in_flight: usize,
    /// Whether the shard has been told of the end, or is in the next turn.
    is_told: bool,
    /// Whether the shard has said that nothing will follow.
    is_last: bool,
    /// Whether it is shut down when everything is sent.
    is_finishing: bool,
    /// Whether it goes to another shard.
    is_leaving: bool,
    /// Whether it does so when everything is sent, and not now.
    leaves_later: bool,
}

impl Connection {
    fn new(channel: Box<Channel>) -> Box<Connection> {
        Box::new(Connection {
            channel,
            output: Output::default(),
            waiting: None,
            in_flight: 0,
            is_told: false,
            is_last: false,
            is_finishing: false,
            is_leaving: false,
            leaves_later: false,
        })
    }

    /// Whether the inner driver was told that it goes to another shard: nothing more is sent here.
    fn has_left(&self) -> bool {
        self.is_leaving && !self.leaves_later
    }
}

impl<D: Driver> Tls<D> {
    /// TLS over a driver.
    pub fn new(inner: D, context: Arc<Context>, preamble: Option<Preamble>) -> Tls<D> {
        Tls {
            inner,
            context,
            preamble,
            connections: Slab::new(),
            completions: Vec::new(),
            ended: Vec::new(),
            spilled: Vec::new(),
            plain: Vec::new(),
            cipher: Scratch::default(),
            frames: Frames::default(),
        }
    }

    fn reported(
        &mut self,
        completion: Completion<D::Handle>,
        out: &mut Vec<Completion<Handle<D::Handle>>>,
    ) {
        match completion {
            Completion::Accepted(key) => {
                if !self.inner.is_local(key) {
                    let channel = Box::new(Channel::new(self.preamble.is_some()));
                    self.connections.insert_at(key, Connection::new(channel));
                }
                out.push(Completion::Accepted(key));
            }
            Completion::Received { connection, buffer, length } => {
                self.received(connection, buffer, length, out);
            }
            Completion::Ended(key, error) => self.ended(key, error, out),
            Completion::Sent(key, result) => match self.connections.get_mut(key) {
                Some(connection) => {
                    let driver = (&mut self.inner, key);
                    let result = connection.output.sent(driver, result, &mut self.frames);
                    self.proceed(key, result, out);
                }
                None => out.push(Completion::Sent(key, result)),
            },
            Completion::Detached(key, inner) => {
                let connection = self.connections.remove(key);
                let failure = connection.as_ref().and_then(|found| found.output.failure());
                let channel = connection.map(|connection| connection.channel);
                out.push(Completion::Detached(key, Handle { inner, channel, failure }));
            }
        }
    }

    fn received(
        &mut self,
        key: Key,
        buffer: BufferId,
        length: usize,
        out: &mut Vec<Completion<Handle<D::Handle>>>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            out.push(Completion::Received { connection: key, buffer, length });
            return;
        };
        let channel = &mut connection.channel;
        if channel.end.is_some() {
            return self.inner.release(buffer);
        }
        self.plain.clear();
        self.cipher.clear();
        let (context, plain, cipher) = (&*self.context, &mut self.plain, &mut self.cipher);
        let was_established = channel.is_established();
        let outcome = if channel.is_unannounced()
            && let Some(preamble) = &self.preamble
        {
            let peer = self.inner.peer(key);
            let input = &self.inner.buffer(buffer)[..length];
            channel.announce(context, input, |bytes| preamble(peer, bytes), plain, cipher)
        } else {
            let input = &mut self.inner.buffer(buffer)[..length];
            channel.receive(context, input, plain, cipher)
        };
        let is_established = !was_established && channel.is_established();
        let answer = self.cipher.written();
        let result = if connection.has_left() {
            connection.channel.unsent.extend_from_slice(answer);
            Ok(())
        } else {
            let driver = (&mut self.inner, key);
            connection.output.send(driver, answer, &mut self.frames, false)
        };
        self.give(key, (buffer, length), out);
        self.proceed(key, result, out);
        if is_established {
            self.send_waiting(key, out);
        }
        match outcome {
            Outcome::Open => {}
            Outcome::Finished => self.ended(key, None, out),
            Outcome::Failed => self.ended(key, Some(libc::EPROTO), out),
        }
    }

    /// Reports what was decrypted, in the buffer that it has come in or under its name.
    /// More than the `filled` bytes of ciphertext do not go there: the rest is the kernel's.
    fn give(
        &mut self,
        key: Key,
        (buffer, filled): (BufferId, usize),
        out: &mut Vec<Completion<Handle<D::Handle>>>,
    ) {
        let length = self.plain.len();
        if length == 0 {
            return self.inner.release(buffer);
        }
        match self.inner.buffer(buffer)[..filled].get_mut(..length) {
            Some(bytes) => bytes.copy_from_slice(&self.plain),
            None => self.spilled.push((buffer, mem::take(&mut self.plain))),
        }
        out.push(Completion::Received { connection: key, buffer, length });
    }

    /// Nothing more will arrive.
    fn ended(
        &mut self,
        key: Key,
        error: Option<i32>,
        out: &mut Vec<Completion<Handle<D::Handle>>>,
    ) {
        if let Some(connection) = self.connections.get_mut(key) {
            if connection.channel.end.replace(error).is_some() {
                return;
            }
            connection.is_told = true;
            if connection.waiting.take().is_some() {
                out.push(Completion::Sent(key, Err(error.unwrap_or(libc::EPIPE))));
            }
        }
        out.push(Completion::Ended(key, error));
    }

    /// Goes on when something has been sent, or cannot be.
    fn proceed(
        &mut self,
        key: Key,
        result: Result<(), i32>,
        out: &mut Vec<Completion<Handle<D::Handle>>>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.output.is_empty() {
            return;
        }
        let in_flight = mem::take(&mut connection.in_flight);
        match result {
            _ if in_flight > 0 => out.push(Completion::Sent(key, result.map(|()| in_flight))),
            // Nobody waits for it, and nothing can follow what is missing now.
            Err(error) => self.ended(key, Some(error), out),
            Ok(()) => {}
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if mem::take(&mut connection.is_finishing) {
            self.inner.shutdown(key);
        }
        if mem::take(&mut connection.leaves_later) {
            self.inner.detach(key);
        }
    }

    /// Sends what the handshake was waited for with.
    fn send_waiting(&mut self, key: Key, out: &mut Vec<Completion<Handle<D::Handle>>>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(waiting) = connection.waiting.take() else { return };
        connection.in_flight = waiting.len();
        self.cipher.clear();
        let result = match connection.channel.encrypt(&waiting, &mut self.cipher) {
            Ok(()) => {
                let (driver, is_last) = ((&mut self.inner, key), connection.is_last);
                let cipher = self.cipher.written();
                connection.output.send(driver, cipher, &mut self.frames, is_last)
            }
            Err(_) => Err(libc::EPIPE),
        };
        self.proceed(key, result, out);
    }

    fn start_send(&mut self, key: Key, gather: Gather<'_>, is_last: bool) -> Sent {
        let Some(connection) = self.connections.get_mut(key) else {
            return match is_last {
                false => self.inner.send(key, gather),
                true => self.inner.send_last(key, gather),
            };
        };
        assert!(
            connection.in_flight == 0 && connection.waiting.is_none(),
            "at most one send is in flight for a connection"
        );
        if connection.is_leaving {
            return Sent::Failed(libc::EBADF);
        }
        connection.is_last |= is_last;
        self.plain.clear();
        for slice in gather.slices() {
            let room = TLS_SEND_BYTES - self.plain.len();
            if room == 0 {
                break;
            }
            self.plain.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        assert!(!self.plain.is_empty(), "a send has bytes");
        let channel = &mut connection.channel;
        if !channel.is_established() && channel.end.is_none() {
            connection.waiting = Some(self.plain.as_slice().into());
            return Sent::Later;
        }
        self.cipher.clear();
        if channel.encrypt(&self.plain, &mut self.cipher).is_err() {
            return Sent::Failed(libc::EPIPE);
        }
        let driver = (&mut self.inner, key);
        match connection.output.send(driver, self.cipher.written(), &mut self.frames, is_last) {
            Ok(()) if connection.output.is_empty() => Sent::Now(self.plain.len()),
            Ok(()) => {
                connection.in_flight = self.plain.len();
                Sent::Later
            }
            Err(error) => Sent::Failed(error),
        }
    }

    /// Tells the peer of an encrypted connection that nothing more will come.
    fn say_goodbye(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.has_left() {
            return;
        }
        self.cipher.clear();
        if connection.channel.finish(&mut self.cipher).is_ok() {
            let driver = (&mut self.inner, key);
            // One that fails is seen to fail where it is received from.
            let _ = connection.output.send(driver, self.cipher.written(), &mut self.frames, true);
        }
    }
}
