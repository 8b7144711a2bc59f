//! WebSocket (RFC 6455) from a client's side: the handshake, masked frames out, plain ones in.

use std::fmt::Write;

/// The key that every handshake offers, and what a server has to answer to it (the example of
/// RFC 6455, 1.3). What a key guards against are caches in between, and there are none.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A head that has not ended by then is not one of a server that is measured here.
const HEAD_LENGTH_MAX: usize = 16 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Why bytes are not a WebSocket server's.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer to the handshake is not a 101: its first line.
    Refused(String),
    /// A 101 that does not prove that it was meant for this request.
    NotAccepted,
    /// A frame in pieces, masked, or with bits that nobody asked for.
    Frame(u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// One frame, and what it holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub payload: &'a [u8],
    /// Its bytes with its head.
    pub length: usize,
}

pub fn request(path: &str, host: &str, out: &mut Vec<u8>) {
    let mut text = String::new();
    let _ = write!(
        text,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    out.extend_from_slice(text.as_bytes());
}

/// The length of the answer to the request, once it is whole and says yes.
pub fn upgraded(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match bytes.len() {
            ..=HEAD_LENGTH_MAX => Ok(None),
            _ => Err(Fault::NotAccepted),
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(Fault::Refused(status.to_owned()));
    }
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let proves = |(name, value): (&str, &str)| {
        name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
    };
    if fields.any(proves) { Ok(Some(end + 4)) } else { Err(Fault::NotAccepted) }
}

/// Appends one frame, masked as a client's has to be.
pub fn write(kind: Kind, payload: &[u8], mask: u32, out: &mut Vec<u8>) {
    let code: u8 = match kind {
        Kind::Text => 1,
        Kind::Binary => 2,
        Kind::Close => 8,
        Kind::Ping => 9,
        Kind::Pong => 10,
    };
    out.push(FINAL | code);
    match payload.len() {
        length @ ..126 => out.push(MASKED | length as u8),
        length @ ..0x1_0000 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = mask.to_le_bytes();
    out.extend_from_slice(&mask);
    masked(payload, mask, out);
}

fn masked(payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(payload);
    let [a, b, c, d] = mask;
    let twice = u64::from_le_bytes([a, b, c, d, a, b, c, d]);
    let mut words = out[begin..].chunks_exact_mut(8);
    for word in words.by_ref() {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_le_bytes(value) ^ twice).to_le_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The frame at the front, once it is whole.
pub fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, Fault> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let kind = match first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        0x8a => Kind::Pong,
        _ => return Err(Fault::Frame(first, second)),
    };
    let (head, length) = match second {
        ..126 => (2, u64::from(second)),
        126 => match bytes.get(2..4).and_then(|digits| digits.try_into().ok()) {
            Some(digits) => (4, u64::from(u16::from_be_bytes(digits))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|digits| digits.try_into().ok()) {
            Some(digits) => (10, u64::from_be_bytes(digits)),
            None => return Ok(None),
        },
        _ => return Err(Fault::Frame(first, second)),
    };
    let Some(end) = usize::try_from(length).ok().and_then(|length| length.checked_add(head)) else {
        return Err(Fault::Frame(first, second));
    };
    let payload = bytes.get(head..end);
    Ok(payload.map(|payload| Frame { kind, payload, length: end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn a_handshake_ends_where_its_head_ends() {
        let answer = format!("{ANSWER}\u{1}rest");
        assert_eq!(upgraded(answer.as_bytes()), Ok(Some(ANSWER.len())));
        for length in 0..ANSWER.len() {
            assert_eq!(upgraded(&ANSWER.as_bytes()[..length]), Ok(None));
        }
    }

    #[test]
    fn a_handshake_has_to_be_accepted() {
        let refusal = b"HTTP/1.1 400 Bad Request\r\n\r\nno";
        assert_eq!(upgraded(refusal), Err(Fault::Refused("HTTP/1.1 400 Bad Request".into())));
        let wrong = ANSWER.replace("s3pP", "s3pQ");
        assert_eq!(upgraded(wrong.as_bytes()), Err(Fault::NotAccepted));
        assert_eq!(upgraded(&[b'a'; HEAD_LENGTH_MAX + 1]), Err(Fault::NotAccepted));
    }

    #[test]
    fn the_request_is_one_of_rfc_6455() {
        let mut out = Vec::new();
        request("/", "127.0.0.1:1", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }

    /// A server's frame of text.
    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match length {
            0..126 => bytes.push(length as u8),
            126..0x1_0000 => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    #[test]
    fn frames_of_every_length_are_read_once_they_are_whole() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let bytes = frame(length);
            let whole = decode(&bytes).unwrap().unwrap();
            assert_eq!((whole.kind, whole.length), (Kind::Text, bytes.len()));
            assert_eq!(whole.payload.len(), length);
            for part in [0, 1, 2, 3, 9, bytes.len() - 1] {
                assert_eq!(decode(&bytes[..part.min(bytes.len() - 1)]), Ok(None));
            }
        }
    }

    #[test]
    fn frames_that_no_server_may_send_are_faults() {
        for head in [[0x01, 1], [0x80, 1], [0xc1, 1], [0x83, 1], [0x81, 0x81]] {
            assert_eq!(decode(&head), Err(Fault::Frame(head[0], head[1])));
        }
        let mut endless = vec![0x81, 127];
        endless.extend_from_slice(&[0xff; 8]);
        assert_eq!(decode(&endless), Err(Fault::Frame(0x81, 127)));
    }

    #[test]
    fn what_a_client_writes_is_masked_with_its_key() {
        // RFC 6455, 5.7: a masked "Hello".
        let mut out = Vec::new();
        let mask = u32::from_le_bytes([0x37, 0xfa, 0x21, 0x3d]);
        write(Kind::Text, b"Hello", mask, &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn masking_twice_gives_the_payload_again() {
        for length in [0, 1, 7, 8, 9, 125, 126, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            masked(&payload, [1, 2, 3, 4], &mut once);
            masked(&once, [1, 2, 3, 4], &mut twice);
            assert_eq!(twice, payload);
            let mut out = Vec::new();
            write(Kind::Close, &payload, 7, &mut out);
            let head = out.len() - payload.len();
            assert_eq!(
                head,
                if length < 126 {
                    6
                } else if length < 65_536 {
                    8
                } else {
                    14
                }
            );
        }
    }
}
