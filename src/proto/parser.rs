//! How Socket.IO packets are put into messages, and taken out of them: the option `parser`.
//!
//! A [`Form`] is given to [`Builder::parser`](crate::Builder::parser). Clients must be given the
//! matching parser, as `io(url, { parser })`, or they are disconnected with their first packet.
//!
//! ```
//! use fanfare::parser::Form;
//!
//! // For clients with `socket.io-msgpack-parser`.
//! let builder = fanfare::Server::builder().parser(Form::MessagePack);
//! ```
//!
//! Anything else is a [`Parser`] of the application's own.

use std::borrow::Cow;
use std::error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::json;
use super::socket::{self, Body, DecodeError};
use crate::base::limits::Limits;

/// The form that packets have on the wire.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Form {
    /// That of `socket.io-parser`, which every client speaks unless it is told otherwise: text, and
    /// a binary message for each binary value (`protocol.md` §14). The default.
    #[default]
    Json,
    /// That of `socket.io-msgpack-parser`: each packet is one binary message, with binary values
    /// in it where they belong (§17.1). Events with many numbers or binary values are shorter so,
    /// others not by much. Handlers see what JSON can express: a date is its ISO 8601 text.
    MessagePack,
    /// The application's own.
    Own(Arc<dyn Parser>),
}

impl<P: Parser> From<P> for Form {
    fn from(parser: P) -> Form {
        Form::Own(Arc::new(parser))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Form::Json => "Json",
            Form::MessagePack => "MessagePack",
            Form::Own(_) => "Own",
        })
    }
}

/// Why a parser cannot make messages of a packet, or a packet of messages.
pub type Error = Box<dyn error::Error + Send + Sync>;

/// A form of packets that the application invents: what Socket.IO calls a custom parser.
///
/// It is shared by all shards and called on their threads, so it must not block. It must not use
/// the server: an emit out of [`encode`](Parser::encode) panics. A panic is caught, and taken for
/// an error.
///
/// This one writes a packet as one JSON object, and its binary values behind it:
///
/// ```
/// use std::borrow::Cow;
///
/// use fanfare::parser::{Error, Kind, Message, Packet, Parser};
/// use serde::{Deserialize, Serialize};
/// use serde_json::value::RawValue;
///
/// struct Objects;
///
/// /// `{"type":2,"nsp":"/","data":["hello",1],"binaries":0}`
/// #[derive(Serialize, Deserialize)]
/// struct Object<'a> {
///     r#type: u8,
///     nsp: Cow<'a, str>,
///     id: Option<u64>,
///     #[serde(borrow)]
///     data: Option<&'a RawValue>,
///     binaries: usize,
/// }
///
/// impl Parser for Objects {
///     fn encode(&self, packet: &Packet<'_>) -> Result<Vec<Message>, Error> {
///         let object = Object {
///             r#type: packet.kind.number(),
///             nsp: packet.namespace.clone(),
///             id: packet.id,
///             data: packet.data.as_deref().map(serde_json::from_str).transpose()?,
///             binaries: packet.attachments.len(),
///         };
///         let mut messages = vec![Message::Text(serde_json::to_string(&object)?)];
///         messages.extend(packet.attachments.iter().cloned().map(Message::Binary));
///         Ok(messages)
///     }
///
///     fn decode<'a>(&self, messages: &'a [Message]) -> Result<Option<Packet<'a>>, Error> {
///         let [Message::Text(text), binaries @ ..] = messages else {
///             return Err("a packet begins with text".into());
///         };
///         let object: Object = serde_json::from_str(text)?;
///         if binaries.len() < object.binaries {
///             return Ok(None);
///         }
///         let bytes = |message: &Message| match message {
///             Message::Binary(bytes) => Ok(bytes.clone()),
///             Message::Text(_) => Err("only binary values follow"),
///         };
///         Ok(Some(Packet {
///             kind: Kind::from_number(object.r#type).ok_or("an unknown type")?,
///             namespace: object.nsp,
///             id: object.id,
///             data: object.data.map(|data| data.get().into()),
///             attachments: binaries.iter().map(bytes).collect::<Result<_, _>>()?,
///         }))
///     }
/// }
///
/// let builder = fanfare::Server::builder().parser(Objects);
/// ```
pub trait Parser: Send + Sync + 'static {
    /// Makes messages of a packet for clients: one or more, which go out in order with nothing in
    /// between. A broadcast is encoded once, for all who get it.
    ///
    /// # Errors
    /// The packet has no such form, or no messages were made of it. Whoever emits is told with
    /// [`EmitError::Parser`](crate::EmitError::Parser). A packet of the server itself, such as the
    /// answer to a CONNECT, is missed by its client: the session is closed.
    fn encode(&self, packet: &Packet<'_>) -> Result<Vec<Message>, Error>;

    /// Makes a packet of the messages that a client has sent since its last one; `None` when more
    /// belong to it. It is called with each message, and given those before it again: at most
    /// [`attachments`](Limits::attachments) and one, of [`message_bytes`](Limits::message_bytes)
    /// together, within [`attachments_timeout`](Limits::attachments_timeout).
    ///
    /// What is made of them is checked as a packet of text would be: the client cannot do harm
    /// with it.
    ///
    /// # Errors
    /// The messages are no packet. The session of the client is closed, as for any packet that
    /// cannot be decoded (`protocol.md` §14.2).
    fn decode<'a>(&self, messages: &'a [Message]) -> Result<Option<Packet<'a>>, Error>;
}

/// Why an application's parser gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It said so.
    Refused,
    /// It panicked.
    Panicked,
}

/// Runs an application's parser. Its panics do not spread, nor do those of the errors it gives.
pub(crate) fn isolated<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(|| work().map_err(drop))) {
        Ok(result) => result.map_err(|()| Fault::Refused),
        Err(panic) => {
            // The payload is user code, too.
            drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
            Err(Fault::Panicked)
        }
    }
}

/// A message of a client, or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// How many bytes it holds.
    pub(crate) fn length(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }
}

/// A packet, as a [`Parser`] writes and reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type (`type`).
    pub kind: Kind,
    /// The namespace that it belongs to (`nsp`), `/` or longer.
    pub namespace: Cow<'a, str>,
    /// The acknowledgement that an event asks for, or that is given (`id`): below 2<sup>53</sup>.
    pub id: Option<u64>,
    /// The payload (`data`) as JSON text: see [`Kind`]. Binary values are placeholders in it,
    /// `{"_placeholder":true,"num":0}`.
    pub data: Option<Cow<'a, str>>,
    /// The binary values, at the numbers that their placeholders have.
    pub attachments: Vec<Bytes>,
}

/// The type of a packet, and what its `data` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0`: from a client: what it authenticates with, an object, or nothing. From the server: an
    /// object with the `sid` of the socket.
    Connect,
    /// `1`: nothing.
    Disconnect,
    /// `2`: an array: the name of the event and its arguments.
    Event,
    /// `3`: an array of arguments.
    Ack,
    /// `4`: only from the server: an object with a `message`, and maybe `data`.
    ConnectError,
}

impl Kind {
    /// The number that the protocol has for it.
    pub fn number(self) -> u8 {
        match self {
            Kind::Connect => 0,
            Kind::Disconnect => 1,
            Kind::Event => 2,
            Kind::Ack => 3,
            Kind::ConnectError => 4,
        }
    }

    /// The type that has this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        let kinds = [Kind::Connect, Kind::Disconnect, Kind::Event, Kind::Ack, Kind::ConnectError];
        kinds.into_iter().find(|kind| kind.number() == number)
    }
}

impl Packet<'_> {
    /// What the packet means to the server.
    ///
    /// # Errors
    /// The parser took something for a packet that is none, or is beyond one of `limits`.
    pub(crate) fn check(&self, limits: &Limits) -> Result<socket::Packet<'_>, DecodeError> {
        let attachments = match self.kind {
            Kind::Event | Kind::Ack => self.attachments.len(),
            _ => 0,
        };
        let kind = match self.kind {
            Kind::Connect => socket::Kind::Connect,
            Kind::Disconnect => socket::Kind::Disconnect,
            Kind::Event if attachments > 0 => socket::Kind::BinaryEvent,
            Kind::Event => socket::Kind::Event,
            Kind::Ack if attachments > 0 => socket::Kind::BinaryAck,
            Kind::Ack => socket::Kind::Ack,
            Kind::ConnectError => socket::Kind::ConnectError,
        };
        let payload = self.data.as_deref().unwrap_or_default().as_bytes();
        socket::check(kind, attachments, &self.namespace, self.id, payload, limits)
    }
}

/// The door for fuzzing: whatever a parser makes of messages, what the server takes for a packet is
/// within the limits, and its arguments are JSON that names attachments which are there.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let Some((&[kind, count, id, name_bytes], rest)) = bytes.split_first_chunk() else { return };
    let (name, data) = rest.split_at(rest.len().min(name_bytes.into()));
    let packet = Packet {
        kind: Kind::from_number(kind % 5).unwrap_or(Kind::Event),
        namespace: String::from_utf8_lossy(name),
        id: (id > 0).then(|| u64::MAX >> (id % 64)),
        data: (!data.is_empty()).then(|| String::from_utf8_lossy(data)),
        attachments: vec![Bytes::new(); count.into()],
    };
    let limits = Limits::default();
    let Ok(checked) = packet.check(&limits) else { return };
    assert!(checked.namespace.len() <= limits.namespace_bytes);
    assert!(checked.attachments <= limits.attachments);
    assert!(checked.id.is_none_or(|id| id <= socket::ID_MAX));
    let (Body::Event { args, .. } | Body::Ack { args }) = checked.body else { return };
    let list = [b"[", args, b"]"].concat();
    let count = (checked.attachments > 0).then_some(checked.attachments);
    assert_eq!(json::scan_array(&list, limits.json_depth, count), Ok(args));
}
