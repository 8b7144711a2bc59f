//! Engine.IO v3, which clients of Socket.IO before version 3 speak: packets, and the payloads of
//! long-polling (`protocol.md` §13).
//!
//! Packets are those of v4, but binary data has a type, too: a first byte of that value on a
//! WebSocket, `b4` and base64 where only text may pass. A payload counts where v4 separates:
//!
//! ```text
//! text form      <length>:<packet>…                     UTF-16 code units, in decimal
//! binary form    <0 or 1><digit>…<255><packet>…         bytes; a digit is a byte from 0 to 9
//! ```
//!
//! What comes in is cut in place, packet by packet; a [`Piece`] is then read as the WebSocket
//! message of its kind. What goes out is made from the frames of a v4 WebSocket, in which every
//! packet is encoded once.

use super::engine::{self, Packet, ParseError};
use super::json;
use super::websocket::{self, Opcode};

/// Answers a ping, without the data that it had: here the client asks, and the server answers.
pub const PONG: &[u8] = b"3";
/// The payload that ends a poll and means nothing. Control packets alone are in text form for every
/// client.
pub const NOOP_PAYLOAD: &[u8] = b"1:6";
/// The payload that says that the session is closed.
pub const CLOSE_PAYLOAD: &[u8] = b"1:1";
/// The payload of a noop and a close packet: the last one of a session that had nothing to say.
pub const NOOP_CLOSE_PAYLOAD: &[u8] = b"1:61:1";
/// The content type of a payload in binary form, exactly so. Everything else is text form.
pub const BINARY_CONTENT_TYPE: &str = "application/octet-stream";

/// Most digits of a length. The reference stops there, behind the largest of its numbers.
const LENGTH_DIGITS_MAX: usize = 310;

/// First bytes of a packet in binary form.
const TEXT_MARK: u8 = 0;
const BINARY_MARK: u8 = 1;
/// Ends a length in text form.
const TEXT_LENGTH_END: u8 = b':';
/// Ends a length in binary form.
const BINARY_LENGTH_END: u8 = 0xff;
/// The type of a message before binary data: the number, not the digit.
const BINARY_MESSAGE: u8 = 4;
/// The type of a message before base64.
const BASE64_MESSAGE: &[u8] = b"b4";

/// How a client that takes attachments is sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachments {
    /// As they are: in binary frames, in payloads of binary form.
    Raw,
    /// As base64: the request that opened the transport had a `b64`, or asked for JSONP.
    Base64,
}

/// The two forms of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<length>:<packet>`, UTF-8.
    Text,
    /// Marked packets, [`BINARY_CONTENT_TYPE`].
    Binary,
}

impl Form {
    /// The form of a body that came with this `Content-Type`.
    pub fn of_content_type(value: Option<&[u8]>) -> Form {
        match value == Some(BINARY_CONTENT_TYPE.as_bytes()) {
            true => Form::Binary,
            false => Form::Text,
        }
    }

    /// The form of a payload of all these WebSocket frames: binary when one of them is binary and
    /// may be sent so.
    pub fn of_frames<'a>(
        wires: impl IntoIterator<Item = &'a [u8]>,
        attachments: Attachments,
    ) -> Form {
        let has_binary = || wires.into_iter().any(has_attachments);
        match attachments == Attachments::Raw && has_binary() {
            true => Form::Binary,
            false => Form::Text,
        }
    }
}

/// One packet of a payload, cut and not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A length of 0 in text form. It stands for nothing, but has to be counted.
    Empty,
    /// UTF-8 for [`decode_text`].
    Text(&'a [u8]),
    /// Bytes for [`decode_binary`].
    Binary(&'a [u8]),
}

/// Cuts the packet that begins at `offset` from a payload, and tells where the next one begins;
/// `None` behind the last one.
///
/// It takes time in proportion to the packet, not to the payload, so that a long payload can be
/// worked off in turns. Nothing about the payload needs to be checked before.
///
/// # Errors
/// The peer sent a packet whose length is missing, no decimal number, or not where the packet ends,
/// a text that is not UTF-8, a mark that is none, or no byte at all in text form.
pub fn split(
    form: Form,
    payload: &[u8],
    offset: usize,
) -> Result<Option<(Piece<'_>, usize)>, ParseError> {
    let rest = payload.get(offset..).unwrap_or_default();
    let (piece, behind) = match form {
        Form::Text if payload.is_empty() => return Err(ParseError),
        _ if rest.is_empty() => return Ok(None),
        Form::Text => split_text(rest)?,
        Form::Binary => split_binary(rest)?,
    };
    Ok(Some((piece, payload.len() - behind.len())))
}

fn split_text(bytes: &[u8]) -> Result<(Piece<'_>, &[u8]), ParseError> {
    let (units, rest) = take_length(bytes, b'0', TEXT_LENGTH_END)?;
    let end = units_end(rest, units).ok_or(ParseError)?;
    match rest.split_at(end) {
        ([], rest) => Ok((Piece::Empty, rest)),
        (text, rest) => Ok((checked(text)?, rest)),
    }
}

fn split_binary(bytes: &[u8]) -> Result<(Piece<'_>, &[u8]), ParseError> {
    let (&mark, rest) = bytes.split_first().ok_or(ParseError)?;
    let (length, rest) = take_length(rest, 0, BINARY_LENGTH_END)?;
    let (packet, rest) = rest.split_at_checked(length).ok_or(ParseError)?;
    let piece = match mark {
        TEXT_MARK => checked(packet)?,
        BINARY_MARK => Piece::Binary(packet),
        _ => return Err(ParseError),
    };
    Ok((piece, rest))
}

fn checked(text: &[u8]) -> Result<Piece<'_>, ParseError> {
    simdutf8::basic::from_utf8(text).map(|_| Piece::Text(text)).map_err(|_| ParseError)
}

/// Reads a length, whose digits count from the byte `zero`, and takes it and its `end` away.
fn take_length(bytes: &[u8], zero: u8, end: u8) -> Result<(usize, &[u8]), ParseError> {
    // Behind that many digits the end is not looked for: it may lack in a whole body of digits.
    let head = &bytes[..bytes.len().min(LENGTH_DIGITS_MAX + 1)];
    let digits_end = memchr::memchr(end, head).filter(|end| *end > 0).ok_or(ParseError)?;
    let length = head[..digits_end].iter().try_fold(0, |length: usize, byte| {
        let digit = byte.checked_sub(zero).filter(|digit| *digit < 10)?;
        length.checked_mul(10)?.checked_add(usize::from(digit))
    });
    Ok((length.ok_or(ParseError)?, &bytes[digits_end + 1..]))
}

/// Where the first `units` UTF-16 code units of a text end; `None` when there are fewer, or when
/// that is in the middle of a character.
fn units_end(text: &[u8], units: usize) -> Option<usize> {
    // A unit is never less than a byte.
    if text.get(..units)?.is_ascii() {
        return Some(units);
    }
    let mut left = units;
    for (position, &byte) in text.iter().enumerate() {
        let begun = units_begun(byte);
        if left == 0 && begun > 0 {
            return Some(position);
        }
        left = left.checked_sub(begun)?;
    }
    (left == 0).then_some(text.len())
}

fn units(text: &[u8]) -> usize {
    text.iter().map(|&byte| units_begun(byte)).sum()
}

/// UTF-16 code units of the character that a byte of UTF-8 begins; none for a byte inside of one.
fn units_begun(byte: u8) -> usize {
    match byte {
        0x80..0xc0 => 0,
        0xf0.. => 2,
        _ => 1,
    }
}

/// Reads one packet of text: a WebSocket text message, or a text [`Piece`].
///
/// Base64 of a type that is none stands for nothing, as does binary data of such a type.
///
/// # Errors
/// The peer sent an empty packet, or one of no known type.
pub fn decode_text(text: &[u8]) -> Result<Packet<'_>, ParseError> {
    match text {
        [b'b', kind, base64 @ ..] => {
            Ok(of_type(kind.wrapping_sub(b'0'), || engine::read_base64(base64)))
        }
        [b'b'] => Ok(Packet::Noop),
        _ => engine::decode(text),
    }
}

/// Reads one packet of bytes: a binary WebSocket message, or a binary [`Piece`]. There is none that
/// cannot be read; one of no known type, or of no bytes, stands for nothing.
pub fn decode_binary(bytes: &[u8]) -> Packet<'_> {
    match bytes.split_first() {
        Some((&kind, data)) => of_type(kind, || data.to_vec()),
        None => Packet::Noop,
    }
}

/// A packet whose data is binary. Where it is no message the data is dropped: bytes are no `probe`.
fn of_type(kind: u8, data: impl FnOnce() -> Vec<u8>) -> Packet<'static> {
    match kind {
        0 => Packet::Open,
        1 => Packet::Close,
        2 => Packet::Ping(b""),
        3 => Packet::Pong(b""),
        BINARY_MESSAGE => Packet::Binary(data()),
        5 => Packet::Upgrade,
        _ => Packet::Noop,
    }
}

/// Whether any of these WebSocket frames is binary.
pub fn has_attachments(frames: &[u8]) -> bool {
    websocket::frames(frames).any(|(opcode, _)| opcode == Opcode::Binary)
}

/// Appends the packets of WebSocket frames to a payload. A payload in text form has attachments as
/// base64.
pub fn write_payload(out: &mut Vec<u8>, form: Form, frames: &[u8]) {
    for (opcode, payload) in websocket::frames(frames) {
        match (form, opcode) {
            (Form::Text, Opcode::Binary) => {
                write_text_length(out, base64_message_bytes(payload));
                write_base64_message(out, payload);
            }
            (Form::Text, _) => {
                write_text_length(out, units(payload));
                out.extend_from_slice(payload);
            }
            (Form::Binary, Opcode::Binary) => {
                write_binary_length(out, BINARY_MARK, payload.len() + 1);
                out.push(BINARY_MESSAGE);
                out.extend_from_slice(payload);
            }
            (Form::Binary, _) => {
                write_binary_length(out, TEXT_MARK, payload.len());
                out.extend_from_slice(payload);
            }
        }
    }
}

/// What a client is sent on a WebSocket for these frames: the same where none has attachments.
pub fn websocket_variant(frames: &[u8], attachments: Attachments) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.len() + 16);
    for (opcode, payload) in websocket::frames(frames) {
        match (opcode, attachments) {
            (Opcode::Binary, Attachments::Raw) => {
                websocket::write_header(&mut out, Opcode::Binary, payload.len() + 1);
                out.push(BINARY_MESSAGE);
                out.extend_from_slice(payload);
            }
            (Opcode::Binary, Attachments::Base64) => {
                let length = base64_message_bytes(payload);
                websocket::write_header(&mut out, Opcode::Text, length);
                write_base64_message(&mut out, payload);
            }
            (_, _) => {
                websocket::write_header(&mut out, opcode, payload.len());
                out.extend_from_slice(payload);
            }
        }
    }
    out
}

/// Bytes, and UTF-16 code units, of what [`write_base64_message`] writes.
fn base64_message_bytes(data: &[u8]) -> usize {
    BASE64_MESSAGE.len() + engine::base64_characters(data.len())
}

fn write_base64_message(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(BASE64_MESSAGE);
    engine::append_base64(out, data);
}

fn write_text_length(out: &mut Vec<u8>, length: usize) {
    json::write_integer(out, length as u64);
    out.push(TEXT_LENGTH_END);
}

fn write_binary_length(out: &mut Vec<u8>, mark: u8, length: usize) {
    out.push(mark);
    let start = out.len();
    json::write_integer(out, length as u64);
    out[start..].iter_mut().for_each(|digit| *digit -= b'0');
    out.push(BINARY_LENGTH_END);
}

/// The door for fuzzing: reads `bytes` as a payload of either form and as a message of either kind;
/// the packets that are found, written again in either form, are found again.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let _ = (decode_text(bytes), decode_binary(bytes));
    for form in [Form::Text, Form::Binary] {
        let (packets, frames) = read(form, bytes);
        let raw = websocket_variant(&frames, Attachments::Raw);
        assert_eq!(messages(&raw), packets, "on a WebSocket");
        let base64 = websocket_variant(&frames, Attachments::Base64);
        assert_eq!(messages(&base64), packets, "on a WebSocket, as text");
        assert!(!has_attachments(&base64), "base64 is text");
        for form in [Form::Text, Form::Binary] {
            let mut payload = Vec::new();
            write_payload(&mut payload, form, &frames);
            assert_eq!(read(form, &payload).0, packets, "in {form:?} form");
        }
    }
}

/// The packets of a payload up to its end or first fault, without those that stand for nothing,
/// and the WebSocket frames that a v4 client would be sent for them.
fn read(form: Form, payload: &[u8]) -> (Vec<Packet<'_>>, Vec<u8>) {
    let (mut packets, mut frames, mut offset) = (Vec::new(), Vec::new(), 0);
    while let Ok(Some((piece, next))) = split(form, payload, offset) {
        assert!(next > offset && next <= payload.len(), "every step is one ahead");
        offset = next;
        let packet = match piece {
            Piece::Empty => continue,
            Piece::Text(text) => decode_text(text),
            Piece::Binary(bytes) => Ok(decode_binary(bytes)),
        };
        match (packet, piece) {
            (Ok(Packet::Binary(data)), _) => {
                websocket::write_binary(&mut frames, &data);
                packets.push(Packet::Binary(data));
            }
            (Ok(packet), Piece::Text(text)) if !text.starts_with(b"b") => {
                websocket::write_text(&mut frames, text);
                packets.push(packet);
            }
            _ => {}
        }
    }
    (packets, frames)
}

/// The packets of WebSocket frames that the server itself has written.
fn messages(frames: &[u8]) -> Vec<Packet<'_>> {
    let packet = |(opcode, payload)| match opcode {
        Opcode::Binary => Some(decode_binary(payload)),
        _ => decode_text(payload).ok(),
    };
    websocket::frames(frames).filter_map(packet).collect()
}

#[cfg(test)]
mod tests;
