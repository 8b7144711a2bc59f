//! Engine.IO v4: packets, and the payloads that carry several of them over long-polling.
//!
//! A packet is one digit and its data (`protocol.md` §4). Binary data has no digit: it is a binary
//! WebSocket message or, where only text may pass, `b` and base64. Incoming packets are read in
//! place; only base64 is copied, into at most three quarters of its length.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::engine_v3::Attachments;
use super::json;
use crate::base::id::{PrivateId, SessionId, SocketId};
use crate::base::offset::Offset;

/// The revision of Engine.IO that a session speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Revision 4, of this file.
    #[default]
    V4,
    /// Revision 3, of [`engine_v3`](super::engine_v3), and how its transport takes attachments.
    V3(Attachments),
}

impl Protocol {
    /// Whether both are of one revision.
    pub fn is_revision_of(self, other: Protocol) -> bool {
        (self == Protocol::V4) == (other == Protocol::V4)
    }
}

/// Stands between two packets of a polling payload, never before the first or after the last one.
pub const RECORD_SEPARATOR: u8 = 0x1e;
/// First byte of a message packet; the text of a Socket.IO packet follows it.
pub const MESSAGE: u8 = b'4';
/// Ends the session. It answers a poll that waits while the session is closed.
pub const CLOSE: &[u8] = b"1";
/// The server's heartbeat; the client answers with a pong.
pub const PING: &[u8] = b"2";
/// Answers the ping `2probe` on a WebSocket that is to take over from long-polling.
pub const PONG_PROBE: &[u8] = b"3probe";
/// Ends a poll that waits, and means nothing.
pub const NOOP: &[u8] = b"6";

/// One packet, as a client may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: only a server opens a session.
    Open,
    /// `1`: the client ends the session.
    Close,
    /// `2`: right only as `2probe` on a WebSocket that is to take over (§8), but for clients of v3,
    /// whose heartbeat it is (§13.3).
    Ping(&'a [u8]),
    /// `3`: the answer to a ping of the server.
    Pong(&'a [u8]),
    /// `4`: the text of a Socket.IO packet, maybe empty.
    Message(&'a [u8]),
    /// `5`: the client goes on with the WebSocket that was probed.
    Upgrade,
    /// `6`: nothing.
    Noop,
    /// `b`: an attachment, maybe empty.
    Binary(Vec<u8>),
}

/// The peer sent something that is no Engine.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError;

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the peer sent something that is no Engine.IO packet")
    }
}

impl std::error::Error for ParseError {}

/// Reads one packet of text: a WebSocket text message, or a piece of a polling payload.
///
/// Data behind types that have none is ignored, as the reference does. Base64 is read as Node.js
/// reads it: padding may lack, the URL-safe alphabet is as good as the standard one, and what is
/// in neither alphabet is skipped.
///
/// # Errors
/// The peer sent an empty packet, or one of no known type.
pub fn decode(text: &[u8]) -> Result<Packet<'_>, ParseError> {
    let (&kind, data) = text.split_first().ok_or(ParseError)?;
    Ok(match kind {
        b'0' => Packet::Open,
        b'1' => Packet::Close,
        b'2' => Packet::Ping(data),
        b'3' => Packet::Pong(data),
        MESSAGE => Packet::Message(data),
        b'5' => Packet::Upgrade,
        b'6' => Packet::Noop,
        b'b' => Packet::Binary(read_base64(data)),
        _ => return Err(ParseError),
    })
}

/// The packets of a polling payload, in order. A payload of no bytes is one empty packet, which
/// [`decode`] refuses, and so is the nothing before, behind or between separators.
pub fn packets(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(payload);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = memchr::memchr(RECORD_SEPARATOR, bytes);
        rest = end.map(|end| &bytes[end + 1..]);
        Some(&bytes[..end.unwrap_or(bytes.len())])
    })
}

/// What the open packet tells a client about its new session (§3).
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// The session.
    pub sid: &'a str,
    /// Transports that the client may change to.
    pub upgrades: &'a [&'a str],
    /// Time between two pings in milliseconds.
    pub ping_interval_ms: u64,
    /// Time that the client has to answer a ping in milliseconds.
    pub ping_timeout_ms: u64,
    /// Largest message, or polling body, that the server takes in bytes.
    pub max_payload_bytes: u64,
}

/// Appends an open packet. The order of its keys is that of the reference.
pub fn write_open(out: &mut Vec<u8>, open: &Open<'_>) {
    out.extend_from_slice(b"0{\"sid\":");
    json::write_string(out, open.sid);
    out.extend_from_slice(b",\"upgrades\":[");
    for (position, upgrade) in open.upgrades.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        json::write_string(out, upgrade);
    }
    out.extend_from_slice(b"],\"pingInterval\":");
    json::write_integer(out, open.ping_interval_ms);
    out.extend_from_slice(b",\"pingTimeout\":");
    json::write_integer(out, open.ping_timeout_ms);
    out.extend_from_slice(b",\"maxPayload\":");
    json::write_integer(out, open.max_payload_bytes);
    out.push(b'}');
}

/// Appends an attachment for a text-only transport: `b` and padded standard base64.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'b');
    append_base64(out, bytes);
}

/// Characters that [`append_base64`] makes of so many bytes.
pub(super) fn base64_characters(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends padded standard base64.
pub(super) fn append_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let length = base64_characters(bytes.len());
    out.resize(start + length, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(length), "the slice is as long as the encoding");
}

/// What almost every client sends: the standard alphabet, padded or not.
const WELL_FORMED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads base64 as [`decode`] says.
pub(super) fn read_base64(text: &[u8]) -> Vec<u8> {
    WELL_FORMED.decode(text).unwrap_or_else(|_| read_stray_base64(text))
}

/// Reads base64 that has stray characters or URL-safe ones, up to the padding.
fn read_stray_base64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut word: u32 = 0;
    let mut bits = 0;
    for &character in text.iter().take_while(|&&character| character != b'=') {
        let Some(value) = sextet(character) else { continue };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
        }
    }
    bytes
}

fn sextet(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The door for fuzzing: reads `bytes` as a payload, and what it decodes to once more.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let mut length = 0;
    for (position, text) in packets(bytes).enumerate() {
        length += text.len() + usize::from(position > 0);
        if let Ok(Packet::Binary(attachment)) = decode(text) {
            let mut out = Vec::new();
            write_base64(&mut out, &attachment);
            assert_eq!(decode(&out), Ok(Packet::Binary(attachment)));
        }
    }
    assert_eq!(length, bytes.len(), "the packets and separators are the whole payload");
}

/// The door for what clients name themselves and their events with: what is read, written again,
/// reads as the same.
#[doc(hidden)]
pub fn exercise_ids(bytes: &[u8]) {
    if let Some(id) = SessionId::parse(bytes) {
        assert_eq!(SessionId::parse(&id.text()), Some(id));
    }
    if let Some(id) = SocketId::parse(bytes) {
        assert_eq!(SocketId::parse(&id.text()), Some(id));
    }
    if let Some(id) = PrivateId::parse(bytes) {
        assert_eq!(PrivateId::parse(&id.text()), Some(id));
    }
    if let Some(offset) = Offset::parse(bytes) {
        assert_eq!(Offset::parse(&offset.text()), Some(offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary(text: &str) -> Vec<u8> {
        match decode(text.as_bytes()) {
            Ok(Packet::Binary(bytes)) => bytes,
            other => panic!("{text}: {other:?}"),
        }
    }

    // security.md §7 for what a session does with each.
    #[test]
    fn b18_1_every_packet_type_has_its_digit() {
        let vectors: [(&[u8], Packet); 14] = [
            (b"0", Packet::Open),
            (b"0{}", Packet::Open),
            (b"1", Packet::Close),
            (b"2", Packet::Ping(b"")),
            (b"2probe", Packet::Ping(b"probe")),
            (b"3", Packet::Pong(b"")),
            (b"3probe", Packet::Pong(b"probe")),
            (b"4", Packet::Message(b"")),
            (b"4test", Packet::Message(b"test")),
            ("4€".as_bytes(), Packet::Message("€".as_bytes())),
            (b"5", Packet::Upgrade),
            (b"6", Packet::Noop),
            (b"b", Packet::Binary(vec![])),
            (b"bAQIDBA==", Packet::Binary(vec![1, 2, 3, 4])),
        ];
        for (text, packet) in vectors {
            assert_eq!(decode(text), Ok(packet));
        }
        let sent: Vec<_> = [CLOSE, PING, PONG_PROBE, NOOP].map(decode).into();
        let meant = [Packet::Close, Packet::Ping(b""), Packet::Pong(b"probe"), Packet::Noop];
        assert_eq!(sent, meant.map(Ok));
    }

    #[test]
    fn b18_2_an_empty_packet_or_an_unknown_type_is_an_error() {
        for text in ["", "7", "9", "a", "abc", " 4", "-1", "B", "\0", "\u{1e}", "é4"] {
            assert_eq!(decode(text.as_bytes()), Err(ParseError), "{text:?}");
        }
        assert_eq!(decode(&[0xff, b'4']), Err(ParseError));
    }

    #[test]
    fn b18_3_b19_8_a_payload_is_its_packets_with_separators_between() {
        let payload = b"0\x1e1\x1e2probe\x1e3\x1e4a\x1e5\x1e6\x1ebAQ==";
        let decoded: Vec<_> = packets(payload).map(decode).collect();
        let meant = [
            Packet::Open,
            Packet::Close,
            Packet::Ping(b"probe"),
            Packet::Pong(b""),
            Packet::Message(b"a"),
            Packet::Upgrade,
            Packet::Noop,
            Packet::Binary(vec![1]),
        ];
        assert_eq!(decoded, meant.map(Ok));
    }

    #[test]
    fn b18_4_a_malformed_payload_gives_the_error_at_its_place() {
        let decode_all = |payload| packets(payload).map(decode).collect::<Vec<_>>();
        assert_eq!(decode_all(b""), [Err(ParseError)]);
        assert_eq!(decode_all(b"{"), [Err(ParseError)]);
        assert_eq!(decode_all(b"{}"), [Err(ParseError)]);
        assert_eq!(decode_all(b"\x1e"), [Err(ParseError), Err(ParseError)]);
        assert_eq!(decode_all(b"6\x1e"), [Ok(Packet::Noop), Err(ParseError)]);
        assert_eq!(decode_all(b"6\x1ex"), [Ok(Packet::Noop), Err(ParseError)]);
    }

    #[test]
    fn base64_is_read_as_node_reads_it() {
        let vectors: [(&str, &[u8]); 13] = [
            ("bYQ==", b"a"),
            ("bYQ=", b"a"),
            ("bYQ", b"a"),
            ("bYR==", b"a"),
            ("bY", b""),
            ("bY*Q", b"a"),
            ("bY Q\n=", b"a"),
            ("bYéQ", b"a"),
            ("bYQ==YQ==", b"a"),
            ("bYWJj=ZGVm", b"abc"),
            ("b=YQ==", b""),
            ("b__-_", &[0xff, 0xff, 0xbf]),
            ("b//+/", &[0xff, 0xff, 0xbf]),
        ];
        for (text, bytes) in vectors {
            assert_eq!(binary(text), bytes, "{text}");
        }
    }

    // protocol.md §3
    #[test]
    fn the_open_packet_has_the_keys_of_the_reference_in_its_order() {
        let sid = "AAEAAAACAAADAwMDAwMDAwMDAwMDAwMD";
        let upgrades = ["websocket", "webtransport"];
        let mut open = Open {
            sid,
            upgrades: &upgrades[..1],
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            max_payload_bytes: 1_000_000,
        };
        let meant = |upgrades: &str| {
            format!(
                "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":25000,\
                 \"pingTimeout\":20000,\"maxPayload\":1000000}}"
            )
        };
        for (count, list) in [(0, ""), (1, "\"websocket\""), (2, "\"websocket\",\"webtransport\"")]
        {
            open.upgrades = &upgrades[..count];
            let mut out = Vec::new();
            write_open(&mut out, &open);
            assert_eq!(String::from_utf8(out).unwrap(), meant(list));
        }
    }

    #[test]
    fn b19_2_an_attachment_is_written_with_padding_in_the_standard_alphabet() {
        let mut out = b"6\x1e".to_vec();
        write_base64(&mut out, &[1, 2, 3, 4]);
        write_base64(&mut out, &[0xff, 0xff, 0xbf]);
        write_base64(&mut out, b"");
        assert_eq!(out, b"6\x1ebAQIDBA==b//+/b");
    }

    proptest! {
        #[test]
        fn reading_a_written_attachment_gives_the_attachment(bytes: Vec<u8>) {
            let mut out = Vec::new();
            write_base64(&mut out, &bytes);
            prop_assert_eq!(decode(&out), Ok(Packet::Binary(bytes)));
        }

        #[test]
        fn stray_characters_and_the_url_safe_alphabet_change_nothing(
            bytes: Vec<u8>, stray in "[ \r\n*!é]{1,3}",
        ) {
            let text = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&bytes);
            let spread: String = text.chars().map(|character| format!("{character}{stray}"))
                .collect();
            prop_assert_eq!(binary(&format!("b{text}")), &bytes[..]);
            prop_assert_eq!(binary(&format!("b{spread}")), &bytes[..]);
        }

        #[test]
        fn no_payload_breaks_the_reader(bytes: Vec<u8>) {
            exercise(&bytes);
        }

        #[test]
        fn no_base64_breaks_the_reader(text in "b[A-Za-z0-9+/=_\\- ]{0,40}") {
            exercise(text.as_bytes());
        }
    }
}
