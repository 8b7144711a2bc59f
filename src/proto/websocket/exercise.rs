//! The fuzz door: the same bytes must mean the same, however they arrive.

use super::{CloseCode, Context, Decoder, Inflater, Message, Opcode, frames, write_header};
use crate::base::limits::Limits;

/// What a stream of bytes meant: the messages up to the close frame or the fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) messages: Vec<Message<'static>>,
    pub(super) fault: Option<CloseCode>,
}

/// Decodes bytes that arrive in these pieces, and checks on the way what holds for any input.
pub(super) fn meaning<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Meaning {
    meaning_to(None, pieces, limits)
}

/// The same of bytes from a client that may compress its messages.
pub(super) fn inflated_meaning<'a>(
    client: Context,
    pieces: impl Iterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Meaning {
    meaning_to(Some(Inflater::new(client)), pieces, limits)
}

fn meaning_to<'a>(
    mut inflater: Option<Inflater>,
    pieces: impl Iterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Meaning {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    let mut arrived = 0;
    for piece in pieces {
        arrived += piece.len();
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let outcome = match &mut inflater {
                Some(inflater) => decoder.decode_compressed(rest, limits, inflater),
                None => decoder.decode(rest, limits),
            };
            let decoded = match outcome {
                Ok(decoded) => decoded,
                Err(fault) => {
                    assert_eq!(decoder.held_bytes(), 0, "a fault gives the memory back");
                    return Meaning { messages, fault: Some(fault.code) };
                }
            };
            let consumed = decoded.consumed;
            let Some(message) = decoded.message.map(Message::into_owned) else {
                assert_eq!(consumed, rest.len(), "without a message everything is consumed");
                break;
            };
            check(&message, limits);
            let last = matches!(message, Message::Close(_));
            messages.push(message);
            if last {
                return Meaning { messages, fault: None };
            }
            rest = &mut rest[consumed..];
        }
        assert!(decoder.held_bytes() <= 2 * arrived + 4096, "memory follows what arrived");
    }
    Meaning { messages, fault: None }
}

fn check(message: &Message<'_>, limits: &Limits) {
    let (opcode, payload) = match message {
        Message::Text(text) => {
            assert!(std::str::from_utf8(text).is_ok(), "a text is UTF-8");
            (Opcode::Text, text)
        }
        Message::Binary(bytes) => (Opcode::Binary, bytes),
        Message::Ping(payload) => (Opcode::Ping, payload),
        Message::Pong(payload) => (Opcode::Pong, payload),
        Message::Close(_) => return,
    };
    assert!(opcode.is_control() || payload.len() <= limits.message_bytes);
    let mut out = Vec::new();
    write_header(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    assert!(frames(&out).eq([(opcode, &payload[..])]), "what was read can be written and read");
}

/// Decodes arbitrary bytes whole, cut where their first bytes say, and one by one.
///
/// # Panics
/// When the outcomes differ, or when a promise of the decoder is broken.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    // Limits that a short input can reach.
    let limits = Limits { message_bytes: 1024, empty_fragments: 4, ..Limits::default() };
    let whole = meaning([bytes].into_iter(), &limits);
    let seed = bytes.iter().take(8).fold(0, |seed, byte| seed * 31 + usize::from(*byte));
    let (head, tail) = bytes.split_at(seed % (bytes.len() + 1));
    assert_eq!(meaning([head, tail].into_iter(), &limits), whole, "cut at {}", head.len());
    assert_eq!(meaning(bytes.chunks(1), &limits), whole, "one by one");
    assert_eq!(meaning(bytes.chunks(1 + seed % 7), &limits), whole, "in small pieces");
    let client = if seed % 2 == 0 { Context::Kept } else { Context::Dropped };
    let whole = inflated_meaning(client, [bytes].into_iter(), &limits);
    for step in [1, 2 + seed % 11] {
        let pieces = inflated_meaning(client, bytes.chunks(step), &limits);
        assert_eq!(pieces, whole, "compressed, {step} bytes at a time");
    }
    frames(bytes).for_each(drop);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::websocket::encode::COMPRESSED;
    use crate::proto::websocket::{DeflateOptions, Deflater, WindowBits, write_masked};

    proptest! {
        #[test]
        fn no_bytes_panic_or_depend_on_how_they_arrive(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            exercise(&bytes);
        }

        #[test]
        fn no_frames_panic_or_depend_on_how_they_arrive(
            parts in prop::collection::vec(
                (any::<bool>(), 0_u8..16, prop::collection::vec(0x70_u8.., 0..200)), 0..8,
            ),
            broken in any::<prop::sample::Index>(),
            value in prop::option::of(any::<u8>()),
        ) {
            let mut wire = Vec::new();
            for (fin, first, payload) in parts {
                let opcode = Opcode::from_first_byte(first).unwrap_or(Opcode::Continuation);
                write_masked(&mut wire, fin, opcode, [first; 4], &payload);
            }
            if let (Some(value), true) = (value, !wire.is_empty()) {
                let at = broken.index(wire.len());
                wire[at] = value;
            }
            exercise(&wire);
        }

        #[test]
        fn no_compressed_frames_panic_or_depend_on_how_they_arrive(
            parts in prop::collection::vec((any::<bool>(), 0_u8..4, "[a-d]{0,200}"), 1..6),
            broken in any::<prop::sample::Index>(),
            value in prop::option::of(any::<u8>()),
        ) {
            let mut deflater =
                Deflater::new(&DeflateOptions::default(), WindowBits::MAX, Context::Kept);
            let mut wire = Vec::new();
            for (fin, first, text) in parts {
                let opcode = Opcode::from_first_byte(first).unwrap_or(Opcode::Binary);
                let mut payload = Vec::new();
                deflater.deflate(text.as_bytes(), &mut payload);
                let start = wire.len();
                write_masked(&mut wire, fin, opcode, [first; 4], &payload);
                wire[start] |= u8::from(opcode != Opcode::Continuation) * COMPRESSED;
            }
            if let Some(value) = value {
                let at = broken.index(wire.len());
                wire[at] = value;
            }
            exercise(&wire);
        }
    }
}
