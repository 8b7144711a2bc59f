//! A TCP connection: what it is to the protocol, and what waits to be sent on it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use async_task::Task;

use crate::base::clock::Time;
use crate::base::rate::Allowance;
use crate::base::slab::Key;
use crate::proto::engine_v3::Form;
use crate::proto::http::{BodyReader, Encoding, FieldBuf, HeadScanner};
use crate::proto::websocket::{Decoder, WindowBits};

use super::decide::Decided;
use super::queue::Queue;
use super::shared::Settings;
use super::timer::Armed;

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// What waits to be sent.
    pub queue: Queue,
    /// What it is used for.
    pub role: Role,
    /// What happens when everything has been sent.
    pub after: After,
    /// Whether it is in the list of those to flush.
    pub is_dirty: bool,
    /// The first frames of the queue that the driver is sending; none when it works on no send.
    pub in_flight: u8,
    /// Whether it was told that the client is behind.
    pub is_lagging: bool,
    /// When something is to be done about it if nothing happens before.
    pub deadline: Time,
    /// Its entry among the timers.
    pub armed: Armed,
}

/// Where a connection has come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody has made it.
    Network,
    /// Another shard, which has read the beginning, has handed it over.
    Shard,
    /// The application has accepted it.
    Application,
}

/// A connection that has come.
#[derive(Debug)]
pub struct Arrival {
    /// The bytes that were read from it.
    pub read: Vec<u8>,
    /// Whom it is from.
    pub peer: Option<SocketAddr>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether nobody else can read what is sent on it.
    pub is_encrypted: bool,
}

/// What a connection is used for.
#[derive(Debug)]
pub enum Role {
    /// HTTP requests, one after the other.
    Http(Box<Http>),
    /// A WebSocket.
    WebSocket(WebSocket),
    /// Nothing: what arrives is thrown away.
    Discard,
}

/// What happens when everything has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Stay,
    /// No more will be sent, and the peer is given a moment to finish: closing at once would make
    /// the kernel reset the connection when unread bytes are left, and take the answer with it.
    Linger,
    /// It is closed: the peer has said that it sends nothing more.
    Close,
    /// It is handed over to the shard that owns its session.
    Leave(u16),
}

/// The state of an HTTP connection.
#[derive(Debug, Default)]
pub struct Http {
    /// What has arrived and is not worked off.
    pub input: Vec<u8>,
    /// How far `input` was searched for the end of the head.
    pub scanner: HeadScanner,
    /// Where the current request is.
    pub stage: Stage,
    /// Whether the connection stays after the current response.
    pub keep_alive: bool,
    /// When the body of the current request began to come, and what has come of it.
    pub body_began: (Time, usize),
    /// What the packets that answer the current request may be compressed with.
    pub encoding: Option<Encoding>,
    /// What the answer to the current request holds besides its own headers.
    pub fields: Box<[FieldBuf]>,
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// Whether nobody else can read what is sent.
    pub is_encrypted: bool,
}

/// Where a request is.
#[derive(Debug, Default)]
pub enum Stage {
    /// Its head is awaited.
    #[default]
    Head,
    /// What a proxy says before the first request is awaited.
    Preamble,
    /// The application is asked about it, by a task that ends with the connection.
    Deciding(Option<Task<()>>),
    /// The application has been asked about it.
    Decided(Box<Decided>),
    /// Its body is being received.
    Body(BodyReader, Vec<u8>, Purpose),
    /// It is a GET of this session, which waits for packets.
    Held(Key),
    /// Its packets are being worked off, for this session.
    Posting(Key),
    /// It is being handed over to another shard, with its head.
    Leaving,
    /// The connection will serve no more requests.
    Over,
}

/// What a body is for.
#[derive(Debug)]
pub enum Purpose {
    /// Packets of a session, in a payload of this form; there is but one in v4.
    Packets(Key, Form),
    /// A request outside the path of the server: its head.
    Fallback(Box<http::Request<()>>),
}

/// The state of a WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    /// The session it carries, or wants to; [`Key::NONE`] where it only echoes.
    pub session: Key,
    /// Frames that have not arrived completely.
    pub decoder: Decoder,
    /// Control frames that the peer may send.
    pub control: Allowance,
    /// Whether our close frame was sent: only the peer's is awaited.
    pub is_closing: bool,
    /// The server's window, if it was agreed on that messages may be compressed.
    pub deflate: Option<WindowBits>,
}

impl Http {
    /// The session that the current request is for, once it is known and matters to it.
    pub fn session(&self) -> Option<Key> {
        match &self.stage {
            Stage::Held(session) | Stage::Posting(session) => Some(*session),
            Stage::Body(_, _, Purpose::Packets(session, _)) => Some(*session),
            _ => None,
        }
    }
}

impl Conn {
    /// A connection that has just been made, or handed over with the bytes of a request.
    pub fn new(arrival: Arrival, now: Time, settings: &Settings) -> Conn {
        let Arrival { read: input, peer, origin, is_encrypted } = arrival;
        let is_new = origin == Origin::Network;
        let stage = match is_new && settings.proxy_protocol && settings.trusts(peer) {
            true => Stage::Preamble,
            false => Stage::Head,
        };
        let http = Http { input, peer, stage, is_encrypted, ..Http::default() };
        Conn {
            queue: Queue::default(),
            role: Role::Http(Box::new(http)),
            after: After::Stay,
            is_dirty: false,
            in_flight: 0,
            is_lagging: false,
            deadline: now.after(settings.options.limits.head_timeout),
            armed: Armed::default(),
        }
    }

    /// Whether its deadline is the one for what is being sent, which begins anew with each piece
    /// that is taken.
    pub fn is_timed_by_sending(&self) -> bool {
        match &self.role {
            Role::WebSocket(socket) => !socket.is_closing && self.after == After::Stay,
            Role::Http(http) => match http.stage {
                Stage::Head => http.input.is_empty(),
                Stage::Held(_) | Stage::Posting(_) | Stage::Over => true,
                _ => false,
            },
            Role::Discard => self.after == After::Close,
        }
    }

    /// Puts the connection, whose key this is, into the list of those to flush, once.
    pub fn mark_dirty(&mut self, key: Key, dirty: &mut VecDeque<Key>) {
        if !std::mem::replace(&mut self.is_dirty, true) {
            dirty.push_back(key);
        }
    }

    /// Whether nothing is to be done, so that what is sent now goes out in its order.
    pub fn is_idle(&self) -> bool {
        self.is_flushed() && !self.is_dirty && self.after == After::Stay
    }

    /// Whether everything has been sent.
    pub fn is_flushed(&self) -> bool {
        self.queue.is_empty() && !self.is_sending()
    }

    /// The memory of what has come on it and is kept, since the rest of it has not.
    pub fn received_bytes(&self) -> usize {
        match &self.role {
            Role::Http(http) => {
                let request = match &http.stage {
                    Stage::Body(_, body, _) => body.capacity(),
                    Stage::Decided(decided) => decided.head.len(),
                    _ => 0,
                };
                http.input.capacity() + request
            }
            Role::WebSocket(socket) => socket.decoder.held_bytes(),
            Role::Discard => 0,
        }
    }

    /// Whether nobody is served on it, or will be before something has come that has not: it has
    /// no whole request yet, none for a session, or had its last answer.
    pub fn is_unserved(&self) -> bool {
        match &self.role {
            Role::Http(http) => match http.stage {
                // It is kept alive only behind a whole request.
                Stage::Head => !http.input.is_empty() || !http.keep_alive,
                Stage::Preamble | Stage::Over | Stage::Body(_, _, Purpose::Fallback(_)) => true,
                _ => false,
            },
            Role::WebSocket(_) => false,
            Role::Discard => true,
        }
    }

    /// Whether the driver works on a send.
    pub fn is_sending(&self) -> bool {
        self.in_flight > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_websocket_connection_is_within_the_memory_budget() {
        assert!(size_of::<Conn>() <= 80, "{}", size_of::<Conn>());
    }
}
