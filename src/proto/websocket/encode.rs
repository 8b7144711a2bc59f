//! Frames as the server writes them, unmasked and never fragmented, and as a client would.

use super::{CONTROL_BYTES_MAX, CloseCode, Opcode, mask};

const FIN: u8 = 0x80;
/// RSV1, on the first frame of a compressed message (RFC 7692 §6).
pub(super) const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// The values of the short length that announce a longer one behind it.
const LENGTH_IN_TWO_BYTES: u8 = 126;
const LENGTH_IN_EIGHT_BYTES: u8 = 127;

/// Bytes of the header of an unmasked frame with a payload of that length: 2, 4 or 10.
pub fn header_bytes(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of an unmasked frame that is a whole message. The payload follows it.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(FIN | opcode as u8);
    write_length(out, 0, length);
}

/// The shortest form is the only legal one (RFC 6455 §5.2).
fn write_length(out: &mut Vec<u8>, masked: u8, length: usize) {
    match length {
        0..=125 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | LENGTH_IN_TWO_BYTES);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | LENGTH_IN_EIGHT_BYTES);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a text message. `text` must be UTF-8, or the client ends the connection.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_frame(out, Opcode::Text, text);
}

/// Appends a binary message.
pub fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    write_frame(out, Opcode::Binary, bytes);
}

/// Appends the answer to a ping with that payload.
///
/// # Panics
/// When the payload is longer than [`CONTROL_BYTES_MAX`]; that of a decoded ping never is.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "the payload of a pong is that of a ping");
    write_frame(out, Opcode::Pong, payload);
}

/// Appends a close frame; without a code it is empty, which is how the reference server closes
/// (protocol.md §6). A reason that does not fit is cut behind a whole character.
pub fn write_close(out: &mut Vec<u8>, body: Option<(CloseCode, &str)>) {
    let Some((code, reason)) = body else {
        return write_header(out, Opcode::Close, 0);
    };
    let code = code.value().to_be_bytes();
    let room = reason.len().min(CONTROL_BYTES_MAX - code.len());
    let end = (0..=room).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let reason = &reason[..end];
    write_header(out, Opcode::Close, code.len() + reason.len());
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a message whose payload was compressed.
pub(super) fn write_compressed(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let start = out.len();
    write_frame(out, opcode, payload);
    out[start] |= COMPRESSED;
}

pub(super) fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(header_bytes(payload.len()) + payload.len());
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Walks bytes that the functions above have written, frame by frame. It ends at the first byte
/// that is not the start of a whole unmasked frame. A compressed payload stays compressed.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = (Opcode, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (opcode, payload, behind) = split_frame(rest)?;
        rest = behind;
        Some((opcode, payload))
    })
}

fn split_frame(bytes: &[u8]) -> Option<(Opcode, &[u8], &[u8])> {
    let (&[first, short], rest) = bytes.split_first_chunk()?;
    let opcode = Opcode::from_first_byte(first)?;
    let (length, rest) = match short {
        0..LENGTH_IN_TWO_BYTES => (usize::from(short), rest),
        LENGTH_IN_TWO_BYTES => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        LENGTH_IN_EIGHT_BYTES => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        MASKED.. => return None,
    };
    let (payload, behind) = rest.split_at_checked(length)?;
    Some((opcode, payload, behind))
}

/// Appends a frame as a client sends it, for tests and load generators: masked, and with `fin`
/// false a fragment. Nothing is checked, so that wrong frames can be made as well.
pub fn write_masked(out: &mut Vec<u8>, fin: bool, opcode: Opcode, key: [u8; 4], payload: &[u8]) {
    out.push(if fin { FIN } else { 0 } | opcode as u8);
    write_length(out, MASKED, payload.len());
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        // The buffer has been used before, so that stale bytes would show.
        let mut out = vec![0xee; 1024];
        out.clear();
        write(&mut out);
        out
    }

    #[test]
    fn the_examples_of_the_rfc_are_written() {
        assert_eq!(written(|out| write_text(out, b"Hello")), b"\x81\x05Hello");
        assert_eq!(written(|out| write_pong(out, b"Hello")), b"\x8a\x05Hello");
        assert_eq!(written(|out| write_header(out, Opcode::Binary, 256)), b"\x82\x7e\x01\x00");
        assert_eq!(
            written(|out| write_header(out, Opcode::Binary, 65_536)),
            b"\x82\x7f\0\0\0\0\0\x01\0\0"
        );
        let key = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(
            written(|out| write_masked(out, true, Opcode::Text, key, b"Hello")),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
    }

    #[test]
    fn the_shortest_header_is_written_at_every_edge() {
        for (length, bytes) in
            [(0, 2), (125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10), (usize::MAX, 10)]
        {
            assert_eq!(header_bytes(length), bytes);
            assert_eq!(written(|out| write_header(out, Opcode::Text, length)).len(), bytes);
        }
    }

    #[test]
    fn cve_2026_45736_cve_2016_10518_a_control_frame_is_what_was_given_and_no_byte_more() {
        let normal = CloseCode::NORMAL;
        assert_eq!(written(|out| write_close(out, None)), b"\x88\x00");
        assert_eq!(written(|out| write_close(out, Some((normal, "")))), b"\x88\x02\x03\xe8");
        assert_eq!(written(|out| write_close(out, Some((normal, "bye")))), b"\x88\x05\x03\xe8bye");
        assert_eq!(written(|out| write_pong(out, b"")), b"\x8a\x00");
        assert_eq!(written(|out| write_pong(out, &[b'p'; 125])).len(), 127);
    }

    #[test]
    fn a_reason_that_does_not_fit_is_cut_behind_a_whole_character() {
        let reason = "é".repeat(100);
        let out = written(|out| write_close(out, Some((CloseCode::GOING_AWAY, &reason))));
        assert_eq!(out[1], 124);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("é".repeat(61).as_str()));
        let fits = "r".repeat(123);
        let out = written(|out| write_close(out, Some((CloseCode::GOING_AWAY, &fits))));
        assert_eq!(&out[4..], fits.as_bytes());
    }

    #[test]
    fn frames_are_walked_as_they_were_written() {
        let long = vec![7; 70_000];
        let out = written(|out| {
            write_text(out, b"451-[]");
            write_binary(out, &[1; 300]);
            write_binary(out, &long);
            write_close(out, None);
        });
        let walked: Vec<(Opcode, &[u8])> = frames(&out).collect();
        let expected: [(Opcode, &[u8]); 4] = [
            (Opcode::Text, b"451-[]"),
            (Opcode::Binary, &[1; 300]),
            (Opcode::Binary, &long),
            (Opcode::Close, b""),
        ];
        assert_eq!(walked, expected);
    }

    #[test]
    fn the_walk_ends_where_no_whole_unmasked_frame_begins() {
        for bytes in [&b"\x81"[..], b"\x81\x02a", b"\x81\x7e\x01", b"\x81\x80\0\0\0\0", b"\x83\0"] {
            assert_eq!(frames(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(frames(b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff").count(), 0);
        assert_eq!(frames(b"\x81\x01a\x81").count(), 1);
    }
}
