//! What of HTTP and WebSocket a server of the plain application needs: the request that opens a
//! connection, the frames of clients, the frames for them. Bytes in, values out.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use sha1::{Digest, Sha1};

/// Bytes of a request head.
const HEAD_MAX: usize = 16 * 1024;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Bytes of the payload of a frame.
const PAYLOAD_MAX: u64 = 1 << 20;

/// RFC 6455 §1.3: what proves that a server has understood the key.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client that sent something else than a handshake is answered.
pub const REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The peer does not speak the protocol; its connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation;

/// The bytes of a request at the beginning of `bytes`, and the response that opens the connection.
/// `None`: the request is not complete.
pub fn handshake(bytes: &[u8]) -> Result<Option<(usize, Vec<u8>)>, Violation> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) => Ok(Some((length, accept(&request).ok_or(Violation)?))),
        Ok(Status::Partial) if bytes.len() < HEAD_MAX => Ok(None),
        _ => Err(Violation),
    }
}

/// The response to a request that asks for a WebSocket at `/`.
fn accept(request: &Request<'_, '_>) -> Option<Vec<u8>> {
    let is_asked_for = request.method == Some("GET")
        && request.path?.split('?').next() == Some("/")
        && value(request.headers, "upgrade")?.eq_ignore_ascii_case(b"websocket")
        && value(request.headers, "sec-websocket-version")? == b"13";
    let key = value(request.headers, "sec-websocket-key").filter(|_| is_asked_for)?;
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize();
    let accept = BASE64_STANDARD.encode(digest);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some(response.into_bytes())
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|found| found.value)
}

/// The kinds of frames that are understood: messages of text in one piece, and control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A message.
    Text = 1,
    /// The peer leaves, or agrees that we do.
    Close = 8,
    /// The peer wants a pong.
    Ping = 9,
    /// The answer to a ping; also sent unasked.
    Pong = 10,
}

impl Opcode {
    /// Reads the first byte of a frame: the last and only one of its message, without extensions.
    fn decode(byte: u8) -> Result<Opcode, Violation> {
        match byte {
            0x81 => Ok(Opcode::Text),
            0x88 => Ok(Opcode::Close),
            0x89 => Ok(Opcode::Ping),
            0x8a => Ok(Opcode::Pong),
            _ => Err(Violation),
        }
    }
}

/// A frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub opcode: Opcode,
    /// Its bytes, unmasked.
    pub payload: &'a [u8],
    /// How many bytes it took.
    pub length: usize,
}

/// The frame at the beginning of `bytes`, whose payload is unmasked where it lies. `None`: it is
/// not complete, and nothing was changed.
pub fn frame(bytes: &mut [u8]) -> Result<Option<Frame<'_>>, Violation> {
    let &mut [first, second, ref mut rest @ ..] = bytes else { return Ok(None) };
    let opcode = Opcode::decode(first)?;
    if second < 0x80 {
        return Err(Violation);
    }
    let (length, extended) = match (second & 0x7f, &*rest) {
        (126, &[high, low, ..]) => (u64::from(u16::from_be_bytes([high, low])), 2),
        (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 0),
    };
    if length > PAYLOAD_MAX {
        return Err(Violation);
    }
    let length = length as usize;
    let Some(&mut [a, b, c, d, ref mut rest @ ..]) = rest.get_mut(extended..) else {
        return Ok(None);
    };
    let Some(payload) = rest.get_mut(..length) else { return Ok(None) };
    unmask([a, b, c, d], payload);
    Ok(Some(Frame { opcode, payload, length: 2 + extended + 4 + length }))
}

fn unmask(mask: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a frame for clients: its payload is `prefix` and `payload`.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, prefix: &[u8], payload: &[u8]) {
    let length = prefix.len() + payload.len();
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(prefix);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §1.3.
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: server.example.com\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Opcode::Text, &[], payload);
        bytes[0] = opcode;
        bytes[1] |= 0x80;
        let start = bytes.len() - payload.len();
        unmask([1, 2, 3, 4], &mut bytes[start..]);
        bytes.splice(start..start, [1, 2, 3, 4]);
        bytes
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted_once_it_is_complete() {
        let mut bytes = REQUEST.to_vec();
        bytes.extend_from_slice(b"more");
        let (length, response) = handshake(&bytes).unwrap().unwrap();
        assert_eq!(length, REQUEST.len());
        let response = String::from_utf8(response).unwrap();
        assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        for end in 0..REQUEST.len() {
            assert_eq!(handshake(&REQUEST[..end]), Ok(None));
        }
    }

    #[test]
    fn requests_that_ask_for_something_else_are_refused() {
        let request = String::from_utf8(REQUEST.to_vec()).unwrap();
        for (from, to) in [
            ("GET", "POST"),
            ("GET / ", "GET /socket.io/ "),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Version: 13", "Version: 8"),
            ("Sec-WebSocket-Key", "Key"),
            ("HTTP/1.1", "SMTP"),
        ] {
            let request = request.replacen(from, to, 1);
            assert_eq!(handshake(request.as_bytes()), Err(Violation), "{request}");
        }
        let endless = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_MAX));
        assert_eq!(handshake(endless.as_bytes()), Err(Violation));
    }

    #[test]
    fn a_masked_frame_of_any_length_is_read_back_once_it_is_complete() {
        for length in [0, 1, 7, 125, 126, 1000, 0xffff, 0x10000] {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut bytes = masked(0x81, &payload);
            for end in (0..bytes.len()).rev().step_by(1 + length / 100) {
                assert_eq!(frame(&mut bytes[..end]), Ok(None));
            }
            let total = bytes.len();
            let expected = Frame { opcode: Opcode::Text, payload: &payload, length: total };
            assert_eq!(frame(&mut bytes), Ok(Some(expected)));
        }
    }

    #[test]
    fn frames_that_are_not_understood_are_violations() {
        // Unmasked, fragmented, with an extension, binary, of no kind, too long.
        for bytes in [
            [0x81, 0x01].as_slice(),
            &[0x01, 0x80],
            &[0xc1, 0x80],
            &[0x82, 0x80],
            &[0x8f, 0x80],
            &[0x81, 0xff, 1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(frame(&mut bytes.to_vec()), Err(Violation), "{bytes:?}");
        }
    }
}
