//! What clients send each other: payloads that prove by themselves where they belong, when they
//! were due, and that no byte of them was changed.
//!
//! ```text
//! stream   sequence due, in ns       checksum         filler
//! 00000007 0000002a 00000012a05f2000 9f86d081884c7d65 kjdogh…
//! ```
//! (without the spaces). All of it is printable and needs no escape in JSON.

/// Bytes in front of the filler; no payload is shorter.
pub const LENGTH_MIN: usize = 48;

const DUE: usize = 16;
const CHECKSUM: usize = 32;
const WORD: usize = 8;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a payload belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose messages are numbered together.
    pub stream: u32,
    /// Which of them it is, from 0.
    pub sequence: u32,
    /// When it should have been sent, by CLOCK_MONOTONIC.
    pub due_ns: u64,
}

/// Appends a payload of so many bytes.
pub fn write(header: Header, length: usize, out: &mut Vec<u8>) {
    debug_assert!(length >= LENGTH_MIN);
    let begin = out.len();
    out.extend_from_slice(&hex(header.stream));
    out.extend_from_slice(&hex(header.sequence));
    out.extend_from_slice(&hex_long(header.due_ns));
    out.extend_from_slice(&[0; WORD * 2]);
    let mut filler = Filler::of(header);
    for _ in 0..(length - LENGTH_MIN) / WORD {
        out.extend_from_slice(&filler.word());
    }
    let rest = begin + length - out.len();
    out.extend_from_slice(&filler.word()[..rest]);
    let payload = &mut out[begin..];
    let sum = hex_long(checksum(payload));
    payload[CHECKSUM..LENGTH_MIN].copy_from_slice(&sum);
}

/// Reads a payload of which every byte is as it was made; `None` when one is not.
pub fn verify(payload: &[u8]) -> Option<Header> {
    let header = Header {
        stream: hex_value(payload.get(..WORD)?)?,
        sequence: hex_value(payload.get(WORD..DUE)?)?,
        due_ns: hex_value_long(payload.get(DUE..CHECKSUM)?)?,
    };
    let sum = hex_value_long(payload.get(CHECKSUM..LENGTH_MIN)?)?;
    (sum == checksum(payload) && has_filler(header, &payload[LENGTH_MIN..])).then_some(header)
}

fn has_filler(header: Header, bytes: &[u8]) -> bool {
    let mut filler = Filler::of(header);
    let mut words = bytes.chunks_exact(WORD);
    let whole = words.by_ref().all(|word| word == filler.word());
    let rest = words.remainder();
    whole && rest == &filler.word()[..rest.len()]
}

/// Over everything but itself. Each step maps states one to one, so that a change within one word
/// always shows, and any other with all but one chance in 2^64.
fn checksum(payload: &[u8]) -> u64 {
    let (head, filler) = (&payload[..CHECKSUM], &payload[LENGTH_MIN..]);
    let mut state = payload.len() as u64;
    let mut words = filler.chunks_exact(WORD);
    for word in head.chunks_exact(WORD).chain(words.by_ref()) {
        state = mix(state ^ word_of(word));
    }
    mix(state ^ word_of(words.remainder()))
}

fn mix(state: u64) -> u64 {
    let state = state.wrapping_mul(ODD);
    state ^ (state >> 32)
}

/// Up to eight bytes as a number.
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(word) => u64::from_le_bytes(word),
        Err(_) => bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte)),
    }
}

/// Letters that depend on nothing but the stream and the sequence number.
struct Filler {
    state: u64,
}

impl Filler {
    fn of(header: Header) -> Filler {
        Filler { state: mix((u64::from(header.stream) << 32) | u64::from(header.sequence)) }
    }

    fn word(&mut self) -> [u8; WORD] {
        self.state = self.state.wrapping_add(ODD);
        let mixed = mix(mix(self.state));
        ((mixed & 0x0f0f_0f0f_0f0f_0f0f) | 0x6060_6060_6060_6060).to_le_bytes()
    }
}

// Numbers in hexadecimal digits, eight at once: the nibbles are spread over the bytes of a word.

fn hex(value: u32) -> [u8; WORD] {
    let mut word = u64::from(value);
    word = (word | (word << 16)) & 0x0000_ffff_0000_ffff;
    word = (word | (word << 8)) & 0x00ff_00ff_00ff_00ff;
    word = (word | (word << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (word + 0x3030_3030_3030_3030 + is_letter * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn hex_long(value: u64) -> [u8; WORD * 2] {
    let mut digits = [0; WORD * 2];
    digits[..WORD].copy_from_slice(&hex((value >> 32) as u32));
    digits[WORD..].copy_from_slice(&hex(value as u32));
    digits
}

fn hex_value(digits: &[u8]) -> Option<u32> {
    let word = u64::from_be_bytes(digits.try_into().ok()?);
    let is_letter = (word >> 6) & 0x0101_0101_0101_0101;
    let mut value = ((word & 0x0f0f_0f0f_0f0f_0f0f) + is_letter * 9) & 0x0f0f_0f0f_0f0f_0f0f;
    value = (value | (value >> 4)) & 0x00ff_00ff_00ff_00ff;
    value = (value | (value >> 8)) & 0x0000_ffff_0000_ffff;
    let value = (value | (value >> 16)) as u32;
    // Only what would be written so is a number: this is what finds other characters.
    (hex(value) == digits).then_some(value)
}

fn hex_value_long(digits: &[u8]) -> Option<u64> {
    let (high, low) = digits.split_at(WORD);
    Some((u64::from(hex_value(high)?) << 32) | u64::from(hex_value(low)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { stream: 0xfeed_0123, sequence: 42, due_ns: 0x0123_4567_89ab_cdef };

    fn made(length: usize) -> Vec<u8> {
        let mut payload = vec![b'>'];
        write(HEADER, length, &mut payload);
        payload.remove(0);
        payload
    }

    #[test]
    fn a_payload_says_where_it_belongs() {
        for length in [48, 49, 55, 56, 57, 64, 100, 1024] {
            let payload = made(length);
            assert_eq!(payload.len(), length);
            assert_eq!(verify(&payload), Some(HEADER));
        }
    }

    #[test]
    fn its_header_can_be_read_in_a_capture() {
        assert!(made(64).starts_with(b"feed01230000002a0123456789abcdef"));
    }

    #[test]
    fn it_needs_no_escape_in_json() {
        for byte in made(5000) {
            assert!((b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
        }
    }

    #[test]
    fn every_change_of_one_byte_is_found() {
        for length in [48, 51, 64, 77] {
            let payload = made(length);
            for at in 0..length {
                for other in 0..=255 {
                    let mut changed = payload.clone();
                    changed[at] = other;
                    assert_eq!(verify(&changed).is_some(), other == payload[at], "{at}, {other}");
                }
            }
        }
    }

    #[test]
    fn two_bytes_that_changed_places_are_found() {
        let payload = made(64);
        for first in 0..64 {
            for second in first + 1..64 {
                let mut changed = payload.clone();
                changed.swap(first, second);
                assert_eq!(verify(&changed).is_some(), payload[first] == payload[second]);
            }
        }
    }

    #[test]
    fn a_shorter_or_a_longer_one_is_found() {
        let payload = made(100);
        for length in 0..100 {
            assert_eq!(verify(&payload[..length]), None, "{length}");
        }
        let mut longer = payload.clone();
        longer.push(b'a');
        assert_eq!(verify(&longer), None);
    }

    #[test]
    fn the_filler_of_another_message_is_found_even_if_the_sum_is_right() {
        let mut other = Vec::new();
        write(Header { sequence: 43, ..HEADER }, 64, &mut other);
        let mut payload = made(64);
        payload[LENGTH_MIN..].copy_from_slice(&other[LENGTH_MIN..]);
        let sum = hex_long(checksum(&payload));
        payload[CHECKSUM..LENGTH_MIN].copy_from_slice(&sum);
        assert_eq!(verify(&payload), None);
    }

    #[test]
    fn numbers_are_hexadecimal_both_ways() {
        for value in [0, 1, 9, 10, 15, 16, 0x1234_5678, 0x9abc_def0, u32::MAX] {
            assert_eq!(hex(value), *format!("{value:08x}").as_bytes());
            assert_eq!(hex_value(&hex(value)), Some(value));
        }
        assert_eq!(hex_value(b"0000000A"), None, "there is one way to write a number");
        assert_eq!(hex_value(b"0000000g"), None);
        assert_eq!(hex_value(b"000000/0"), None);
    }
}
