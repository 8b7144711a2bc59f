//! Tests of compressed messages.

use proptest::prelude::*;

use super::super::{frames, header_bytes, write_binary, write_close, write_text};
use super::*;
use crate::proto::websocket::Opcode;

const LIMIT: usize = 1_000_000;

fn deflater(bits: u8, context: Context) -> Deflater {
    let window_bits = WindowBits::new(bits).unwrap();
    Deflater::new(&DeflateOptions::default(), window_bits, context)
}

fn deflated(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    deflater.deflate(message, &mut payload);
    payload
}

/// What a payload is inflated to by a client's inflater, whole and in pieces of any size.
fn read(payload: &[u8]) -> Result<Vec<u8>, InflateFault> {
    let whole = inflated(&[payload], usize::MAX, Context::Kept, LIMIT);
    for step in [1, 2, 3, 5, 64, 1000] {
        assert_eq!(inflated(&[payload], step, Context::Kept, LIMIT), whole, "{step} at a time");
    }
    match whole {
        (_, Some(fault)) => Err(fault),
        (mut messages, None) => Ok(messages.pop().unwrap()),
    }
}

/// What another implementation makes of a payload.
fn read_by_another(payload: &[u8]) -> Vec<u8> {
    const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
    let stream = [payload, &TAIL, &LAST_BLOCK].concat();
    miniz_oxide::inflate::decompress_to_vec(&stream).unwrap()
}

/// Bytes that do not get shorter.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_examples_of_rfc_7692_are_read() {
    let payloads: [&[u8]; 4] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ];
    for payload in payloads {
        assert_eq!(read(payload).unwrap(), b"Hello", "{payload:x?}");
    }
    assert_eq!(read(b"\x00").unwrap(), b"");
    // The second message refers to the first one.
    let both: [&[u8]; 2] = [payloads[0], b"\xf2\x00\x11\x00\x00"];
    let hello = b"Hello".to_vec();
    let kept = inflated(&both, 1, Context::Kept, LIMIT);
    assert_eq!(kept, (vec![hello.clone(), hello.clone()], None));
    let (messages, fault) = inflated(&both, 1, Context::Dropped, LIMIT);
    assert_eq!((messages.first(), fault), (Some(&hello), Some(InflateFault::NotDeflate)));
}

#[test]
fn a_client_that_ends_its_stream_with_every_message_begins_another() {
    let ended: &[u8] = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    let without_the_last_byte = &ended[..ended.len() - 1];
    let next: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for first in [ended, without_the_last_byte] {
        let (messages, fault) = inflated(&[first, first, next, next], 3, Context::Kept, LIMIT);
        assert_eq!((messages, fault), (vec![b"Hello".to_vec(); 4], None));
    }
}

#[test]
fn what_is_no_deflate_is_refused() {
    for payload in [&b"\x06"[..], b"\x07", b"\0\x05\0\0\0Hello", b"\xf2\0\x11\0\0"] {
        assert_eq!(read(payload), Err(InflateFault::NotDeflate), "{payload:x?}");
    }
}

#[test]
fn ghsa_qrvq_68c2_7grw_a_bomb_takes_the_limit_of_memory_and_no_more() {
    let mut deflater = deflater(15, Context::Kept);
    let zeros = vec![0; 1 << 20];
    let mut bomb = Vec::new();
    for _ in 0..100 {
        deflater.deflate(&zeros, &mut bomb);
        bomb.extend_from_slice(&TAIL);
    }
    assert!(bomb.len() < 120_000, "{} bytes are 100 MiB", bomb.len());
    for step in [1, 1000, bomb.len()] {
        let mut inflater = Inflater::new(Context::Kept);
        let mut message = Vec::new();
        let mut pieces = bomb.chunks(step);
        let outcome = pieces.try_for_each(|piece| inflater.inflate(piece, &mut message, LIMIT));
        assert_eq!(outcome, Err(InflateFault::TooLong));
        assert_eq!(message.len(), LIMIT + 1);
        assert!(message.capacity() <= LIMIT + STEP_BYTES_MAX);
    }
}

#[test]
fn a_message_may_have_the_limit_and_no_byte_more() {
    let text = vec![b'a'; 10_000];
    let payload = deflated(&mut deflater(15, Context::Kept), &text);
    for step in [1, 1000] {
        let (messages, fault) = inflated(&[&payload], step, Context::Kept, text.len());
        assert_eq!((messages, fault), (vec![text.clone()], None));
        let (_, fault) = inflated(&[&payload], step, Context::Kept, text.len() - 1);
        assert_eq!(fault, Some(InflateFault::TooLong));
    }
    assert_eq!(read(b"\x00").map(|message| message.len()), Ok(0));
}

#[test]
fn memory_follows_what_was_inflated() {
    let mut inflater = Inflater::new(Context::Dropped);
    let payload = deflated(&mut deflater(15, Context::Kept), &noise(300_000, 1));
    let mut message = Vec::new();
    for piece in payload.chunks(100) {
        inflater.inflate(piece, &mut message, LIMIT).unwrap();
        assert!(message.capacity() <= 2 * (message.len() + STEP_BYTES_MAX));
    }
    inflater.finish(&mut message, LIMIT).unwrap();
    assert_eq!(message, noise(300_000, 1));
}

#[test]
fn nats_2026_05_one_inflater_of_many_shows_none_of_them_what_another_sent() {
    // It asks for five bytes from before its start.
    const BACK: &[u8] = b"\xf2\x00\x11\x00\x00";
    let secret = deflated(&mut deflater(15, Context::Kept), b"a secret, a secret");
    let bomb = deflated(&mut deflater(15, Context::Kept), &[0; 10_000]);
    let mut shared = Inflater::new(Context::Dropped);
    let last: [(&[u8], usize, Result<usize, InflateFault>); 4] = [
        (&secret, LIMIT, Ok(18)),
        (&bomb, 5_000, Err(InflateFault::TooLong)),
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00\x07", LIMIT, Err(InflateFault::NotDeflate)),
        (b"", LIMIT, Ok(0)),
    ];
    for (payload, limit, expected) in last {
        assert_eq!(shared.message(payload, limit).map(|message| message.len()), expected);
        assert_eq!(shared.message(BACK, LIMIT), Err(InflateFault::NotDeflate));
        assert_eq!(shared.message(&secret, LIMIT).unwrap(), b"a secret, a secret");
        assert_eq!(shared.message(BACK, LIMIT), Err(InflateFault::NotDeflate));
    }
}

#[test]
fn a_message_of_no_bytes_is_one_byte_and_changes_nothing() {
    let mut deflater = deflater(15, Context::Kept);
    let messages: [&[u8]; 5] = [b"", b"one two", b"", b"", b"one two three"];
    let payloads = messages.map(|message| deflated(&mut deflater, message));
    assert_eq!(payloads[0], [0]);
    assert_eq!((&payloads[2], &payloads[3]), (&payloads[0], &payloads[0]));
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let (read, fault) = inflated(&payloads, 1, Context::Kept, LIMIT);
    assert_eq!(fault, None);
    assert!(read.iter().eq(&messages));
}

#[test]
fn messages_that_are_alike_are_shorter_with_context_and_the_same_without() {
    let message = br#"42["price",{"symbol":"ABC","bid":101.25,"ask":101.5}]"#;
    let mut kept = deflater(15, Context::Kept);
    let (first, second) = (deflated(&mut kept, message), deflated(&mut kept, message));
    assert!(second.len() * 4 < first.len(), "{} then {}", first.len(), second.len());
    let mut dropped = deflater(15, Context::Dropped);
    assert_eq!(deflated(&mut dropped, message), first);
    assert_eq!(deflated(&mut dropped, message), first);
}

#[test]
fn one_result_without_context_is_read_by_every_client() {
    let shared = deflated(&mut deflater(15, Context::Dropped), b"to all of you, to all of you");
    let mut own = deflater(15, Context::Kept);
    let before = deflated(&mut own, b"to you, before all of you");
    own.forget();
    let behind = deflated(&mut own, b"to you, behind all of you");
    for client in [Context::Kept, Context::Dropped] {
        let (messages, fault) = inflated(&[&shared, &shared], 1, client, LIMIT);
        assert_eq!((messages, fault), (vec![b"to all of you, to all of you".to_vec(); 2], None));
    }
    let (messages, fault) = inflated(&[&before, &shared, &behind], 1, Context::Kept, LIMIT);
    assert_eq!(fault, None);
    assert_eq!(messages.last().unwrap(), b"to you, behind all of you");
}

/// Whether a compressor with that window notices that 100 bytes come again at that distance.
fn looks_back(bits: u8, distance: usize) -> bool {
    let mut fresh = noise(distance + 100, 7);
    fresh.iter_mut().for_each(|byte| *byte %= 64);
    let mut repeated = fresh[..distance].to_vec();
    repeated.extend_from_within(..100);
    let [fresh, repeated] = [fresh, repeated].map(|message| {
        let payload = deflated(&mut deflater(bits, Context::Kept), &message);
        assert_eq!(read_by_another(&payload), message);
        payload.len()
    });
    repeated + 40 < fresh
}

#[test]
fn a_compressor_never_looks_back_further_than_its_window() {
    assert!(looks_back(8, 240), "as far as 256 bytes");
    assert!((257..=512).step_by(5).all(|distance| !looks_back(8, distance)));
    for bits in 9..=15 {
        let window = 1 << bits;
        assert!(looks_back(bits, window - 270), "{bits}");
        assert!(!looks_back(bits, window + 1), "{bits}");
    }
}

#[test]
fn frames_are_compressed_where_it_is_worth_it() {
    let long = "compressed ".repeat(100);
    let noise = noise(2000, 3);
    let mut plain = Vec::new();
    write_text(&mut plain, b"short");
    write_text(&mut plain, long.as_bytes());
    write_binary(&mut plain, long.as_bytes());
    write_binary(&mut plain, &noise);
    write_text(&mut plain, &[b'a'; 5001]);
    write_close(&mut plain, None);
    let mut out = Vec::new();
    deflater(15, Context::Dropped).write_frames(&mut out, &plain, 1024..=5000);
    let first_bytes = |mut bytes: &[u8]| -> Vec<u8> {
        let mut found = Vec::new();
        for (_, payload) in frames(bytes) {
            found.push(bytes[0]);
            bytes = &bytes[header_bytes(payload.len()) + payload.len()..];
        }
        found
    };
    assert_eq!(first_bytes(&out), [0x81, 0xc1, 0xc2, 0x82, 0x81, 0x88]);
    let payloads: Vec<(Opcode, &[u8])> = frames(&out).collect();
    assert_eq!(payloads[0], (Opcode::Text, &b"short"[..]));
    assert_eq!(read(payloads[1].1).unwrap(), long.as_bytes());
    assert_eq!(payloads[1].1, payloads[2].1);
    assert_eq!(payloads[3], (Opcode::Binary, &noise[..]));
    let mut kept = Vec::new();
    deflater(15, Context::Kept).write_frames(&mut kept, &plain, 0..=5000);
    assert_eq!(first_bytes(&kept), [0xc1, 0xc1, 0xc2, 0xc2, 0x81, 0x88], "the client must follow");
}

#[test]
fn options_beyond_their_range_are_the_nearest() {
    for (level, memory_level) in [(0, 0), (200, 200), (1, 9), (9, 1)] {
        let options = DeflateOptions { level, memory_level, ..DeflateOptions::default() };
        let mut deflater = Deflater::new(&options, WindowBits::MAX, Context::Kept);
        assert_eq!(read(&deflated(&mut deflater, b"Hello, Hello")).unwrap(), b"Hello, Hello");
    }
}

#[test]
fn names_are_printed_and_contents_are_not() {
    let inflater = format!("{:?}", Inflater::new(Context::Kept));
    let deflater = format!("{:?}", deflater(9, Context::Dropped));
    assert_eq!(inflater, "Inflater { context: Kept, .. }");
    assert_eq!(deflater, "Deflater { context: Dropped, .. }");
    assert!(InflateFault::TooLong.to_string().starts_with("the client sent"));
}

proptest! {
    #[test]
    fn what_is_compressed_is_read_by_another_implementation(
        message in prop::collection::vec(any::<u8>(), 0..3000),
        repeated in 1_usize..30,
        bits in 8_u8..=15,
        level in 0_u8..=9,
        memory_level in 1_u8..=9,
    ) {
        let message = message.repeat(repeated);
        let options = DeflateOptions { level, memory_level, ..DeflateOptions::default() };
        let window_bits = WindowBits::new(bits).unwrap();
        let mut deflater = Deflater::new(&options, window_bits, Context::Dropped);
        let payload = deflated(&mut deflater, &message);
        prop_assert_eq!(&read_by_another(&payload), &message);
        prop_assert_eq!(&read(&payload).unwrap(), &message);
        prop_assert!(payload.len() <= payload_bytes_max(message.len()));
        prop_assert_eq!(deflated(&mut deflater, &message), payload);
    }

    #[test]
    fn no_payload_panics_or_depends_on_how_it_arrives(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        exercise_deflate(&bytes);
    }

    #[test]
    fn no_broken_payload_panics_or_depends_on_how_it_arrives(
        text in "[a-f]{0,400}",
        broken in any::<prop::sample::Index>(),
        value in any::<u8>(),
        choice in any::<u8>(),
    ) {
        let mut bytes = vec![choice];
        deflater(15, Context::Kept).deflate(text.as_bytes(), &mut bytes);
        let at = broken.index(bytes.len());
        bytes[at] = value;
        exercise_deflate(&bytes);
    }
}
