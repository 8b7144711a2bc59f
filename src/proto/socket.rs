//! Socket.IO v5: the packets that travel as Engine.IO messages (`protocol.md` §14).
//!
//! ```text
//! <type>[<attachments>-][<namespace>,][<id>][<JSON>]
//! ```
//!
//! A packet is checked as a whole and cut into slices; nothing of its arguments is parsed. What is
//! written here does not contain the `4` of the Engine.IO message around it.

mod reason;

use std::borrow::Cow;
use std::fmt;

use super::json::{self, JsonError, Kind as Json, NameKind};
use crate::base::id::{PrivateId, SocketId};
use crate::base::limits::Limits;

pub use reason::DisconnectReason;

/// The largest acknowledgement id: the largest integer that a JavaScript number holds exactly.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// Event names that stand for something else on a client or a server of the reference.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether an event must not have this name.
pub const fn is_reserved(name: &str) -> bool {
    let mut index = 0;
    while index < RESERVED_EVENTS.len() {
        if equal(RESERVED_EVENTS[index].as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

/// Comparing slices is not yet something that a `const fn` can do.
const fn equal(left: &[u8], right: &[u8]) -> bool {
    let mut index = 0;
    while left.len() == right.len() && index < left.len() && left[index] == right[index] {
        index += 1;
    }
    left.len() == right.len() && index == left.len()
}

/// The type of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0`: joins a namespace, or tells that it was joined.
    Connect,
    /// `1`: leaves a namespace.
    Disconnect,
    /// `2`: an event.
    Event,
    /// `3`: the acknowledgement of an event.
    Ack,
    /// `4`: refuses a namespace; not for a client to send.
    ConnectError,
    /// `5`: an event with attachments.
    BinaryEvent,
    /// `6`: an acknowledgement with attachments.
    BinaryAck,
}

impl Kind {
    fn of(digit: u8) -> Option<Kind> {
        Some(match digit {
            b'0' => Kind::Connect,
            b'1' => Kind::Disconnect,
            b'2' => Kind::Event,
            b'3' => Kind::Ack,
            b'4' => Kind::ConnectError,
            b'5' => Kind::BinaryEvent,
            b'6' => Kind::BinaryAck,
            _ => return None,
        })
    }

    fn is_binary(self) -> bool {
        matches!(self, Kind::BinaryEvent | Kind::BinaryAck)
    }
}

/// A packet that a client sent. The attachments that it announces follow in binary messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The type.
    pub kind: Kind,
    /// Binary messages that belong to the packet: at least 1 for the binary types, 0 for others.
    pub attachments: usize,
    /// The namespace as it was sent, `/` if none was.
    pub namespace: &'a str,
    /// The acknowledgement that is asked for or given; always `None` for types that have no id.
    pub id: Option<u64>,
    /// The payload.
    pub body: Body<'a>,
}

/// The payload of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// There is none: the packet asks to disconnect, or is an event or acknowledgement that stands
    /// for nothing and is to be ignored.
    None,
    /// What the client authenticates with, a JSON object; `{}` if nothing was sent.
    Connect(&'a [u8]),
    /// An event.
    Event {
        /// Its name, unescaped; a name that is a number is the text of the number.
        name: Cow<'a, str>,
        /// The text of its arguments: see [`json`].
        args: &'a [u8],
    },
    /// An acknowledgement.
    Ack {
        /// The text of its arguments: see [`json`].
        args: &'a [u8],
    },
    /// The reason of a refusal, which a server has no use for.
    Error,
}

/// What is wrong with a packet. It is always the peer's fault, and the session is closed for it
/// with [`DisconnectReason::ForcedClose`] (§14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The packet is empty.
    Empty,
    /// The first character is no type.
    UnknownKind,
    /// The count of attachments is no positive number, or does not end with `-`.
    IllegalAttachments,
    /// There are more attachments than the limit.
    TooManyAttachments,
    /// The namespace is longer than the limit.
    NamespaceTooLong,
    /// The namespace or the event name is not UTF-8.
    NotUtf8,
    /// The id is larger than [`ID_MAX`].
    IdTooLarge,
    /// The payload is missing, or is of a kind that the packet's type does not have.
    IllegalPayload,
    /// The event has one of the [`RESERVED_EVENTS`] as its name.
    ReservedEvent,
    /// The payload is no JSON, is nested too deeply, or has a wrong placeholder.
    Json(JsonError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DecodeError::Empty => "the peer sent an empty packet",
            DecodeError::UnknownKind => "the peer sent a packet of an unknown type",
            DecodeError::IllegalAttachments => "the peer sent an illegal count of attachments",
            DecodeError::TooManyAttachments => "the peer announced too many attachments",
            DecodeError::NamespaceTooLong => "the peer sent too long a namespace",
            DecodeError::NotUtf8 => "the peer sent a name that is not UTF-8",
            DecodeError::IdTooLarge => "the peer sent an id that is no exact integer",
            DecodeError::IllegalPayload => "the peer sent a payload that does not fit its type",
            DecodeError::ReservedEvent => "the peer sent an event with a reserved name",
            DecodeError::Json(error) => return error.fmt(formatter),
        })
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DecodeError::Json(error) => Some(error),
            _ => None,
        }
    }
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> DecodeError {
        match error {
            JsonError::Kind => DecodeError::IllegalPayload,
            other => DecodeError::Json(other),
        }
    }
}

/// Reads the text of an Engine.IO message as a packet.
///
/// The leniencies of the reference are kept: `2` and `3` without payload mean nothing, and digits
/// behind `0`, `1` and `4` are ignored. A space is not taken for the digit 0, and a binary packet
/// must have a payload. Text that is not UTF-8 is refused only where it is a name: whether a whole
/// message is UTF-8 is for the transport to check.
///
/// # Errors
/// The peer sent something that is no packet, or is beyond one of `limits`: the count of
/// attachments, the length of the namespace, the depth of JSON.
pub fn decode<'a>(text: &'a [u8], limits: &Limits) -> Result<Packet<'a>, DecodeError> {
    decode_named(text, limits, limits.namespace_bytes)
}

/// As [`decode`], with a limit of its own for what stands in the place of the namespace.
pub(super) fn decode_named<'a>(
    text: &'a [u8],
    limits: &Limits,
    namespace_bytes_max: usize,
) -> Result<Packet<'a>, DecodeError> {
    let (&digit, rest) = text.split_first().ok_or(DecodeError::Empty)?;
    let kind = Kind::of(digit).ok_or(DecodeError::UnknownKind)?;
    let (attachments, rest) =
        if kind.is_binary() { take_attachments(rest, limits.attachments)? } else { (0, rest) };
    let (namespace, rest) = take_namespace(rest, namespace_bytes_max)?;
    let (id, payload) = take_id(rest)?;
    assemble(kind, attachments, namespace, id, payload, limits)
}

/// Checks a packet that something else than [`decode`] has taken apart: a parser of the
/// application's own.
///
/// # Errors
/// As [`decode`].
pub fn check<'a>(
    kind: Kind,
    attachments: usize,
    namespace: &'a str,
    id: Option<u64>,
    payload: &'a [u8],
    limits: &Limits,
) -> Result<Packet<'a>, DecodeError> {
    if attachments > limits.attachments {
        return Err(DecodeError::TooManyAttachments);
    }
    if namespace.len() > limits.namespace_bytes {
        return Err(DecodeError::NamespaceTooLong);
    }
    if id.is_some_and(|id| id > ID_MAX) {
        return Err(DecodeError::IdTooLarge);
    }
    assemble(kind, attachments, namespace, id, payload, limits)
}

fn assemble<'a>(
    kind: Kind,
    attachments: usize,
    namespace: &'a str,
    id: Option<u64>,
    payload: &'a [u8],
    limits: &Limits,
) -> Result<Packet<'a>, DecodeError> {
    let body = read_body(kind, attachments, payload, limits.json_depth)?;
    let id = match kind {
        Kind::Event | Kind::Ack | Kind::BinaryEvent | Kind::BinaryAck => id,
        Kind::Connect | Kind::Disconnect | Kind::ConnectError => None,
    };
    Ok(Packet { kind, attachments, namespace, id, body })
}

/// Splits the run of digits that the text begins with from what follows.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn take_attachments(text: &[u8], maximum: usize) -> Result<(usize, &[u8]), DecodeError> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix(b"-").ok_or(DecodeError::IllegalAttachments)?;
    let maximum = u64::try_from(maximum).unwrap_or(u64::MAX);
    match json::integer(digits, maximum).map(usize::try_from) {
        // No digits are 0, too.
        Some(Ok(0)) => Err(DecodeError::IllegalAttachments),
        Some(Ok(count)) => Ok((count, rest)),
        Some(Err(_)) | None => Err(DecodeError::TooManyAttachments),
    }
}

fn take_namespace(text: &[u8], length_max: usize) -> Result<(&str, &[u8]), DecodeError> {
    if text.first() != Some(&b'/') {
        return Ok(("/", text));
    }
    let (name, rest) = match memchr::memchr(b',', text) {
        Some(comma) => (&text[..comma], &text[comma + 1..]),
        None => (text, &b""[..]),
    };
    if name.len() > length_max {
        return Err(DecodeError::NamespaceTooLong);
    }
    let name = std::str::from_utf8(name).map_err(|_| DecodeError::NotUtf8)?;
    Ok((name, rest))
}

fn take_id(text: &[u8]) -> Result<(Option<u64>, &[u8]), DecodeError> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let id = json::integer(digits, ID_MAX).ok_or(DecodeError::IdTooLarge)?;
    Ok((Some(id), rest))
}

fn read_body(
    kind: Kind,
    attachments: usize,
    payload: &[u8],
    depth_max: usize,
) -> Result<Body<'_>, DecodeError> {
    let count = kind.is_binary().then_some(attachments);
    let fits = |allowed: &[Json]| match json::scan(payload, depth_max) {
        Ok(found) if allowed.contains(&found) => Ok(()),
        Ok(_) => Err(DecodeError::IllegalPayload),
        Err(error) => Err(DecodeError::Json(error)),
    };
    match kind {
        Kind::Connect if payload.is_empty() => Ok(Body::Connect(b"{}")),
        Kind::Connect => fits(&[Json::Object]).map(|()| Body::Connect(payload)),
        Kind::ConnectError if payload.is_empty() => Ok(Body::Error),
        Kind::ConnectError => fits(&[Json::Object, Json::String]).map(|()| Body::Error),
        Kind::Disconnect if payload.is_empty() => Ok(Body::None),
        Kind::Disconnect => Err(DecodeError::IllegalPayload),
        Kind::Event | Kind::Ack if payload.is_empty() => Ok(Body::None),
        Kind::BinaryEvent | Kind::BinaryAck if payload.is_empty() => {
            Err(DecodeError::IllegalPayload)
        }
        Kind::Event | Kind::BinaryEvent => read_event(payload, depth_max, count),
        Kind::Ack | Kind::BinaryAck => {
            Ok(Body::Ack { args: json::scan_array(payload, depth_max, count)? })
        }
    }
}

fn read_event(
    payload: &[u8],
    depth_max: usize,
    attachments: Option<usize>,
) -> Result<Body<'_>, DecodeError> {
    let event = json::scan_event(payload, depth_max, attachments)?;
    let name = std::str::from_utf8(event.name).map_err(|_| DecodeError::NotUtf8)?;
    let name = match event.name_kind {
        NameKind::String => json::unescape(name),
        NameKind::Number => Cow::Borrowed(name),
    };
    if is_reserved(&name) {
        return Err(DecodeError::ReservedEvent);
    }
    Ok(Body::Event { name, args: event.args })
}

/// Appends the answer to a client that has joined `namespace`.
pub fn write_connect(out: &mut Vec<u8>, namespace: &str, sid: SocketId, pid: Option<PrivateId>) {
    out.push(b'0');
    write_namespace(out, namespace);
    write_connect_payload(out, sid, pid);
}

/// Appends the payload of [`write_connect`].
pub fn write_connect_payload(out: &mut Vec<u8>, sid: SocketId, pid: Option<PrivateId>) {
    out.extend_from_slice(b"{\"sid\":\"");
    out.extend_from_slice(&sid.text());
    if let Some(pid) = pid {
        out.extend_from_slice(b"\",\"pid\":\"");
        out.extend_from_slice(&pid.text());
    }
    out.extend_from_slice(b"\"}");
}

/// Appends the answer to a client that may not join `namespace`. `data_json`, if the refusal
/// carries something, is JSON text.
pub fn write_connect_error(
    out: &mut Vec<u8>,
    namespace: &str,
    message: &str,
    data_json: Option<&[u8]>,
) {
    out.push(b'4');
    write_namespace(out, namespace);
    write_error_payload(out, message, data_json);
}

/// Appends the payload of [`write_connect_error`].
pub fn write_error_payload(out: &mut Vec<u8>, message: &str, data_json: Option<&[u8]>) {
    out.extend_from_slice(b"{\"message\":");
    json::write_string(out, message);
    if let Some(data) = data_json {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.push(b'}');
}

/// Appends what tells a client that the server has removed it from `namespace`.
pub fn write_disconnect(out: &mut Vec<u8>, namespace: &str) {
    out.push(b'1');
    write_namespace(out, namespace);
}

/// Appends an event. `args_json` is what [`Arguments::write`] gives: each argument with a comma
/// before it. With an `id` the client is asked for an acknowledgement.
///
/// [`Arguments::write`]: json::Arguments::write
pub fn write_event(
    out: &mut Vec<u8>,
    namespace: &str,
    id: Option<u64>,
    event: &str,
    args_json: &[u8],
    attachments: usize,
) {
    write_kind(out, [b'2', b'5'], attachments);
    write_namespace(out, namespace);
    if let Some(id) = id {
        json::write_integer(out, id);
    }
    write_event_payload(out, event, args_json);
}

/// Appends the payload of [`write_event`].
pub fn write_event_payload(out: &mut Vec<u8>, event: &str, args_json: &[u8]) {
    out.push(b'[');
    json::write_string(out, event);
    out.extend_from_slice(args_json);
    out.push(b']');
}

/// Appends an acknowledgement. `args_json` is what [`Arguments::write`] gives: each argument with
/// a comma before it.
///
/// [`Arguments::write`]: json::Arguments::write
pub fn write_ack(
    out: &mut Vec<u8>,
    namespace: &str,
    id: u64,
    args_json: &[u8],
    attachments: usize,
) {
    write_kind(out, [b'3', b'6'], attachments);
    write_namespace(out, namespace);
    json::write_integer(out, id);
    write_ack_payload(out, args_json);
}

/// Appends the payload of [`write_ack`].
pub fn write_ack_payload(out: &mut Vec<u8>, args_json: &[u8]) {
    out.push(b'[');
    out.extend_from_slice(args_json.strip_prefix(b",").unwrap_or(args_json));
    out.push(b']');
}

fn write_kind(out: &mut Vec<u8>, [plain, binary]: [u8; 2], attachments: usize) {
    if attachments == 0 {
        return out.push(plain);
    }
    out.push(binary);
    json::write_integer(out, attachments as u64);
    out.push(b'-');
}

pub(super) fn write_namespace(out: &mut Vec<u8>, namespace: &str) {
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

/// The door for fuzzing: what is read from `bytes`, written again, reads as the same.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(packet) = decode(bytes, &limits) else { return };
    assert!(packet.attachments <= limits.attachments);
    assert_eq!(packet.kind.is_binary(), packet.attachments > 0);
    let (mut args_json, mut out) = (Vec::new(), Vec::new());
    let mut comma = |args: &[u8]| {
        args_json.extend_from_slice(if args.is_empty() { b"" } else { b"," });
        args_json.extend_from_slice(args);
    };
    match (&packet.body, packet.id) {
        (Body::Event { name, args }, id) => {
            comma(args);
            write_event(&mut out, packet.namespace, id, name, &args_json, packet.attachments);
        }
        (Body::Ack { args }, Some(id)) => {
            comma(args);
            write_ack(&mut out, packet.namespace, id, &args_json, packet.attachments);
        }
        _ => return,
    }
    assert_eq!(decode(&out, &limits), Ok(packet));
}

#[cfg(test)]
mod tests;
