//! Bytes to meaning and back, from a client's side. Nothing here knows a socket or a clock.

pub mod plain;
pub mod polling;
pub mod socketio;
pub mod websocket;

/// What a server said, with the transport taken off.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The session is open; by polling, this is how it is called from now on.
    Open { session: Option<String> },
    /// The namespace let the client in.
    Connected,
    /// The namespace did not, or put the client out.
    Refused,
    /// A heartbeat that wants its answer.
    Ping,
    /// Somebody's publish.
    Broadcast(&'a [u8]),
    /// What was sent to be sent back; with the number it was asked under, if it has one.
    Reply { id: Option<u32>, payload: &'a [u8] },
    /// The room was entered.
    Joined,
    /// The session is over.
    Closed,
    /// Something that asks for nothing.
    Nothing,
    /// Something that no server should say to these clients.
    Unknown,
}

/// Which language the messages are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    SocketIo,
    Plain,
}

impl Protocol {
    pub fn decode(self, message: &[u8]) -> Heard<'_> {
        match self {
            Protocol::SocketIo => socketio::decode(message),
            Protocol::Plain => plain::decode(message),
        }
    }

    /// Asks for `payload` back; `id` tells this question from others.
    pub fn echo(self, id: u32, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Protocol::SocketIo => socketio::echo(id, payload, out),
            Protocol::Plain => plain::echo(payload, out),
        }
    }

    pub fn join(self, room: &str, out: &mut Vec<u8>) {
        match self {
            Protocol::SocketIo => socketio::join(room, out),
            Protocol::Plain => plain::join(room, out),
        }
    }

    /// For everybody, or for a room.
    pub fn publish(self, room: Option<&str>, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Protocol::SocketIo => socketio::publish(room, payload, out),
            Protocol::Plain => plain::publish(room, payload, out),
        }
    }

    /// The path that a WebSocket is asked for under.
    pub fn path(self) -> &'static str {
        match self {
            Protocol::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Protocol::Plain => "/",
        }
    }
}
