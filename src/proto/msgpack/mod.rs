//! Socket.IO packets as MessagePack, the form of `socket.io-msgpack-parser` (`protocol.md` §17.1).
//!
//! A packet is one map of `type`, `nsp`, `data` and `id` in one binary Engine.IO message. Binary
//! values stand in it where they belong. Everything behind the codecs speaks JSON text and lists of
//! attachments (see [`json`]), so this one transcodes:
//!
//! ```text
//! message ─▶ decode ─▶ packet with JSON text, and the attachments that its placeholders name
//! JSON text and attachments ─▶ write_event ─▶ message
//! ```
//!
//! What JSON cannot express becomes what `JSON.stringify` makes of it: dates are ISO 8601, numbers
//! that are not finite are null, and so is `undefined`, which as a member leaves nothing at all.
//!
//! [`json`]: super::json

mod date;
mod decode;
mod encode;
mod from_json;
mod read;
mod to_json;

use std::fmt;

use bytes::Bytes;

use super::json::{self, Kind as Json};
use super::socket::Body;
use crate::base::limits::Limits;

pub use decode::decode;
pub use encode::{write_ack, write_connect, write_connect_error, write_disconnect, write_event};

/// What is wrong with a packet. It is always the peer's fault, and the session is closed for it as
/// for any other packet that cannot be decoded (§14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ends within a value, or a value declares more than the message holds.
    Truncated,
    /// A value begins with the one byte that MessagePack does not use.
    UnusedByte,
    /// There are bytes behind the packet.
    TrailingBytes,
    /// The message is a value of another kind than a map.
    NotMap,
    /// `type` is missing, or is no integer from 0 to 4.
    UnknownKind,
    /// `nsp` is missing, or is no string.
    IllegalNamespace,
    /// The namespace is longer than the limit.
    NamespaceTooLong,
    /// `id` is no integer from 0 to the largest that a JavaScript number holds exactly.
    IllegalId,
    /// `data` is missing, or is of a kind that the packet's type does not have.
    IllegalPayload,
    /// The event has one of the [`RESERVED_EVENTS`](super::socket::RESERVED_EVENTS) as its name.
    ReservedEvent,
    /// A string is not UTF-8.
    NotUtf8,
    /// The key of a map is bytes, an extension or made of other values.
    IllegalKey,
    /// Values are nested more deeply than the limit.
    Depth,
    /// There are so many small binary values that they would take many times the message's size.
    TooManyAttachments,
    /// A map looks like the placeholder of a binary value, and there are binary values.
    Placeholder,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DecodeError::Truncated => "the peer's packet ends within a value",
            DecodeError::UnusedByte => "the peer sent a value that begins with an unused byte",
            DecodeError::TrailingBytes => "the peer sent bytes behind a packet",
            DecodeError::NotMap => "the peer sent a packet that is no map",
            DecodeError::UnknownKind => "the peer sent a packet of an unknown type",
            DecodeError::IllegalNamespace => "the peer sent a packet without a namespace",
            DecodeError::NamespaceTooLong => "the peer sent too long a namespace",
            DecodeError::IllegalId => "the peer sent an id that is no exact integer",
            DecodeError::IllegalPayload => "the peer sent a payload that does not fit its type",
            DecodeError::ReservedEvent => "the peer sent an event with a reserved name",
            DecodeError::NotUtf8 => "the peer sent a string that is not UTF-8",
            DecodeError::IllegalKey => "the peer sent a map with a key that has no text",
            DecodeError::Depth => "the peer sent values that are nested too deeply",
            DecodeError::TooManyAttachments => "the peer sent too many small binary values",
            DecodeError::Placeholder => "the peer sent a map that stands for a binary value",
        })
    }
}

impl std::error::Error for DecodeError {}

/// Why a packet could not be written. It is always the application's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The arguments are no JSON, or lack the comma in front of each.
    Malformed,
    /// Values are nested more deeply than 128 levels, which is as deep as a packet may be that is
    /// received.
    Depth,
    /// A string, an array or a map is larger than MessagePack can express, or placeholders repeat
    /// more than 1 MiB of attachments.
    TooLarge,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            EncodeError::Malformed => "the application's arguments are no JSON",
            EncodeError::Depth => "the application's arguments are nested too deeply",
            EncodeError::TooLarge => "the application's arguments are too large for MessagePack",
        })
    }
}

impl std::error::Error for EncodeError {}

/// The door for fuzzing: what is read is JSON within the limits, takes memory in proportion to the
/// message, and reads as the same when it is written again.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    exercise_writer(bytes);
    let limits = Limits::default();
    let (mut text, mut out, mut text_again) = (Vec::new(), Vec::new(), Vec::new());
    let Ok((packet, attachments)) = decode(bytes, &mut text, &limits) else { return };
    let (args, written) = match (&packet.body, packet.id) {
        (Body::Connect(auth), _) => {
            assert_eq!(json::scan(auth, limits.json_depth), Ok(Json::Object));
            return;
        }
        (Body::Event { name, args }, id) => {
            let args_json = with_comma(args);
            let namespace = packet.namespace;
            (*args, write_event(&mut out, namespace, id, name, &args_json, &attachments))
        }
        (Body::Ack { args }, Some(id)) => {
            let args_json = with_comma(args);
            (*args, write_ack(&mut out, packet.namespace, id, &args_json, &attachments))
        }
        _ => return,
    };
    let count = (!attachments.is_empty()).then_some(attachments.len());
    let list = [b"[", args, b"]"].concat();
    assert_eq!(json::scan_array(&list, limits.json_depth, count), Ok(args));
    let held = args.len() + attachments.iter().map(held_bytes).sum::<usize>();
    assert!(held <= 9 * bytes.len() + to_json::EXPANSION_FREE_BYTES, "{held} bytes are held");
    assert_eq!(written, Ok(()));
    let again = decode(&out, &mut text_again, &limits);
    // The shortest form of a packet may be too short for as many attachments as it has.
    let is_shorter = out.len() < bytes.len();
    if !is_shorter || again != Err(DecodeError::TooManyAttachments) {
        assert_eq!(again, Ok((packet, attachments)));
    }
}

/// Takes the bytes for arguments of an application: what is written of them can be read.
fn exercise_writer(bytes: &[u8]) {
    let (mut text, mut out) = (Vec::new(), Vec::new());
    match write_ack(&mut out, "/", 0, bytes, &[]) {
        Ok(()) => assert!(decode(&out, &mut text, &Limits::default()).is_ok()),
        Err(_) => assert!(out.is_empty(), "nothing is left behind"),
    }
}

/// What an attachment takes: its bytes, and the handle on them.
fn held_bytes(attachment: &Bytes) -> usize {
    attachment.len() + size_of::<Bytes>()
}

/// Arguments as they are written: each with a comma before it.
fn with_comma(args: &[u8]) -> Vec<u8> {
    if args.is_empty() { Vec::new() } else { [b",", args].concat() }
}

#[cfg(test)]
mod tests;
