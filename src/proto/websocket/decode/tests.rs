//! Tests of the decoder.

use proptest::prelude::*;

use super::super::exercise::{Meaning, inflated_meaning, meaning};
use super::super::{Context, DeflateOptions, Deflater, WindowBits, write_masked};
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn limits() -> Limits {
    Limits::default()
}

fn wire(frames: &[(bool, Opcode, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (fin, opcode, payload) in frames {
        write_masked(&mut wire, *fin, *opcode, KEY, payload);
    }
    wire
}

/// What bytes mean that arrive at once; that other cuts change nothing is checked, too.
fn at_once(wire: &[u8], limits: &Limits) -> Meaning {
    let whole = meaning([wire].into_iter(), limits);
    for at in 0..wire.len().min(300) {
        let (head, tail) = wire.split_at(at);
        assert_eq!(meaning([head, tail].into_iter(), limits), whole, "cut at {at}");
    }
    assert_eq!(meaning(wire.chunks(1), limits), whole, "one by one");
    whole
}

fn messages(wire: &[u8]) -> Vec<Message<'static>> {
    let meaning = at_once(wire, &limits());
    assert_eq!(meaning.fault, None);
    meaning.messages
}

fn fault(wire: &[u8]) -> Option<u16> {
    let meaning = at_once(wire, &limits());
    assert_eq!(meaning.messages, [], "the fault comes first");
    meaning.fault.map(CloseCode::value)
}

fn text(text: &str) -> Message<'static> {
    Message::Text(Cow::Owned(text.as_bytes().to_vec()))
}

fn binary(bytes: &[u8]) -> Message<'static> {
    Message::Binary(Cow::Owned(bytes.to_vec()))
}

/// How many bytes of `wire`, one by one, are taken before the fault, and its code.
fn first_wrong_byte(wire: &[u8]) -> Option<(usize, u16)> {
    let mut decoder = Decoder::default();
    for (position, byte) in wire.iter().enumerate() {
        if let Err(fault) = decoder.decode(&mut [*byte], &limits()) {
            return Some((position, fault.code.value()));
        }
    }
    None
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(messages(hello), [text("Hello")]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(messages(pong), [Message::Pong(b"Hello".into())]);
    let fragmented = wire(&[(false, Opcode::Text, b"Hel"), (true, Opcode::Continuation, b"lo")]);
    assert_eq!(messages(&fragmented), [text("Hello")]);
}

#[test]
fn a_whole_message_is_borrowed_and_allocates_nothing() {
    let mut input = wire(&[(true, Opcode::Text, b"2"), (true, Opcode::Ping, b"")]);
    let place = input.as_ptr_range();
    let mut decoder = Decoder::default();
    let decoded = decoder.decode(&mut input, &limits()).unwrap();
    assert_eq!(decoded.consumed, 7);
    let Some(Message::Text(Cow::Borrowed(text))) = decoded.message else {
        panic!("a text in one piece is borrowed")
    };
    assert!(place.contains(&text.as_ptr()));
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn a_payload_that_comes_whole_behind_its_header_is_borrowed_too() {
    let mut input = wire(&[(true, Opcode::Binary, b"abc")]);
    let (header, payload) = input.split_at_mut(6);
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(header, &limits()).unwrap().message, None);
    let decoded = decoder.decode(payload, &limits()).unwrap();
    assert!(matches!(decoded.message, Some(Message::Binary(Cow::Borrowed(b"abc")))));
}

#[test]
fn an_idle_client_holds_nothing_after_any_message() {
    let wire = wire(&[
        (false, Opcode::Text, b"a"),
        (true, Opcode::Ping, b"p"),
        (true, Opcode::Continuation, b"b"),
        (true, Opcode::Pong, b""),
    ]);
    let mut decoder = Decoder::default();
    let mut held = Vec::new();
    for byte in wire {
        decoder.decode(&mut [byte], &limits()).unwrap();
        held.push(decoder.held_bytes());
    }
    assert_eq!(held.iter().filter(|bytes| **bytes == 0).count(), 2, "after b and the pong");
    assert_eq!(held.last(), Some(&0));
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let wire = wire(&[
        (false, Opcode::Binary, b"one "),
        (true, Opcode::Ping, b"ping"),
        (false, Opcode::Continuation, b""),
        (true, Opcode::Pong, b"pong"),
        (true, Opcode::Continuation, b"two"),
        (true, Opcode::Text, b""),
        (true, Opcode::Close, b""),
    ]);
    let expected = [
        Message::Ping(b"ping".into()),
        Message::Pong(b"pong".into()),
        binary(b"one two"),
        text(""),
        Message::Close(None),
    ];
    assert_eq!(messages(&wire), expected);
}

#[test]
fn the_framing_faults_end_with_1002() {
    let masked = |first: u8| [first, 0x80, 0, 0, 0, 0];
    for first in [0xc1, 0xa1, 0x91, 0xf1, 0x83, 0x87, 0x8b, 0x8f] {
        assert_eq!(fault(&masked(first)), Some(1002), "{first:x}");
    }
    for first in [0x08, 0x09, 0x0a] {
        assert_eq!(fault(&masked(first)), Some(1002), "a fragmented control frame");
    }
    assert_eq!(fault(b"\x81\x01a"), Some(1002), "unmasked");
    assert_eq!(fault(&wire(&[(true, Opcode::Ping, &[0; 126])])), Some(1002));
    assert_eq!(messages(&wire(&[(true, Opcode::Ping, &[0; 125])])).len(), 1);
    assert_eq!(fault(&wire(&[(true, Opcode::Continuation, b"a")])), Some(1002));
    for opcode in [Opcode::Text, Opcode::Binary] {
        let interleaved = wire(&[(false, Opcode::Text, b"a"), (true, opcode, b"b")]);
        assert_eq!(fault(&interleaved), Some(1002));
    }
}

#[test]
fn a_length_that_is_not_the_shortest_form_ends_with_1002() {
    for length in 0..=u16::MAX {
        let mut header = vec![0x82, 0xfe];
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&KEY);
        let outcome = Header::parse(&header, RESERVED);
        assert_eq!(outcome.is_err(), length < 126, "{length}");
    }
    for (length, refused) in [(0_u64, true), (125, true), (0xffff, true), (0x1_0000, false)] {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&length.to_be_bytes());
        assert_eq!(fault(&header), refused.then_some(1002), "{length}");
    }
}

#[test]
fn cve_2026_27889_a_length_with_the_top_bit_set_ends_with_1002() {
    for length in [1_u64 << 63, (1 << 63) + 5, u64::MAX] {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&KEY);
        assert_eq!(fault(&header), Some(1002));
    }
}

#[test]
fn cve_2016_10542_a_declared_length_beyond_the_limit_ends_with_1009_from_the_header() {
    let limit = limits().message_bytes as u64;
    for length in [limit + 1, 256 << 20, 1 << 53, (1 << 63) - 1] {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&KEY);
        assert_eq!(first_wrong_byte(&header), Some((13, 1009)), "{length}");
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_accepted() {
    let limit = limits().message_bytes;
    let payload = vec![b'a'; limit];
    let one = wire(&[(true, Opcode::Text, &payload)]);
    for piece in [one.len(), 8192, 1000] {
        let meaning = meaning(one.chunks(piece), &limits());
        assert_eq!(meaning.fault, None);
        assert_eq!(meaning.messages, [Message::Text(payload.as_slice().into())]);
    }
    let (head, tail) = payload.split_at(limit / 2);
    let two = wire(&[(false, Opcode::Text, head), (true, Opcode::Continuation, tail)]);
    assert_eq!(meaning(two.chunks(8192), &limits()).messages.len(), 1);
}

#[test]
fn cve_2020_27813_cve_2026_1528_the_sum_of_fragments_can_not_overflow() {
    for length in [u64::MAX >> 1, limits().message_bytes as u64] {
        let mut bytes = wire(&[(false, Opcode::Binary, b"abc")]);
        bytes.extend_from_slice(b"\x80\xff");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&KEY);
        assert_eq!(fault(&bytes), Some(1009));
    }
    let unlimited = Limits { message_bytes: usize::MAX, ..limits() };
    let mut bytes = wire(&[(false, Opcode::Binary, b"abc")]);
    bytes.extend_from_slice(b"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0payload");
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&mut bytes, &unlimited).unwrap().message, None);
    assert!(decoder.held_bytes() < 4096, "the declared length is not allocated");
}

#[test]
fn rustsec_2022_0035_a_stalled_payload_holds_what_arrived() {
    let mut bytes = wire(&[(true, Opcode::Binary, &[7; 900_000])]);
    let mut decoder = Decoder::default();
    let mut arrived = 0;
    for piece in bytes.chunks_mut(100).take(2_000) {
        arrived += piece.len();
        decoder.decode(piece, &limits()).unwrap();
        assert!(decoder.held_bytes() <= 2 * arrived + 4096);
    }
}

#[test]
fn a_message_of_known_length_is_given_away_without_spare_room() {
    let bytes = wire(&[(true, Opcode::Binary, &[7; 100_000])]);
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(8192) {
        let mut piece = piece.to_vec();
        if let Some(message) = decoder.decode(&mut piece, &limits()).unwrap().message {
            let Message::Binary(Cow::Owned(bytes)) = message else { panic!("it is put together") };
            assert_eq!((bytes.len(), bytes.capacity()), (100_000, 100_000));
            return;
        }
    }
    panic!("the message is complete");
}

#[test]
fn cve_2026_48779_one_byte_fragments_hold_no_more_than_twice_their_payload() {
    let mut decoder = Decoder::default();
    for count in 0..65_536 {
        let opcode = if count == 0 { Opcode::Text } else { Opcode::Continuation };
        let mut frame = wire(&[(count == 65_535, opcode, b"a")]);
        let decoded = decoder.decode(&mut frame, &limits()).unwrap();
        if count == 65_535 {
            let Some(Message::Text(text)) = decoded.message else { panic!("no cap on fragments") };
            assert_eq!(text.len(), 65_536);
        }
        assert!(decoder.held_bytes() <= 2 * (count + 1) + 4096, "{count}");
    }
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn ws_2331_empty_continuations_beyond_the_limit_end_with_1008() {
    let limit = limits().empty_fragments;
    let mut bytes = wire(&[(false, Opcode::Text, b"")]);
    for _ in 0..limit {
        write_masked(&mut bytes, false, Opcode::Continuation, KEY, b"");
    }
    let mut accepted = bytes.clone();
    write_masked(&mut accepted, true, Opcode::Continuation, KEY, b"a");
    assert_eq!(messages(&accepted), [text("a")]);
    write_masked(&mut bytes, false, Opcode::Continuation, KEY, b"");
    assert_eq!(fault(&bytes), Some(1008));
}

#[test]
fn ws_pending_pongs_a_flood_of_pings_holds_nothing() {
    let bytes = wire(&[(true, Opcode::Ping, &[0; 125])]);
    let mut decoder = Decoder::default();
    for _ in 0..10_000 {
        let mut bytes = bytes.clone();
        assert!(decoder.decode(&mut bytes, &limits()).unwrap().message.is_some());
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn every_close_code_is_taken_or_refused_as_the_rfc_says() {
    for code in 0..=5001_u16 {
        let meaning = at_once(&wire(&[(true, Opcode::Close, &code.to_be_bytes())]), &limits());
        match CloseCode::new(code) {
            Some(code) => {
                assert_eq!(meaning.messages, [Message::Close(Some((code, "".into())))]);
            }
            None => assert_eq!(meaning.fault, Some(CloseCode::PROTOCOL_ERROR), "{code}"),
        }
    }
}

#[test]
fn nats_2026_the_body_of_a_close_frame_is_nothing_or_a_code_and_a_text() {
    let close = |body: &[u8]| wire(&[(true, Opcode::Close, body)]);
    assert_eq!(messages(&close(b"")), [Message::Close(None)]);
    assert_eq!(fault(&close(b"\x03")), Some(1002));
    let normal = [&b"\x03\xe8"[..], "bis später".as_bytes()].concat();
    let expected = Message::Close(Some((CloseCode::NORMAL, "bis später".into())));
    assert_eq!(messages(&close(&normal)), [expected]);
    assert_eq!(fault(&close(b"\x03\xe8\xc3")), Some(1007), "cut inside a character");
    assert_eq!(fault(&close(b"\x03\xed\xff")), Some(1002), "the code comes first");
    let wrong = close(b"\x03\xe8ab\xed\xa0cdef");
    assert_eq!(first_wrong_byte(&wrong), Some((6 + 2 + 3, 1007)));
}

/// Texts that are not UTF-8: overlong, surrogates, beyond U+10FFFF, bytes that never occur,
/// continuations without a start, starts without a continuation.
const WRONG_TEXTS: [&[u8]; 22] = [
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\x80",
    b"\xbf\xbf",
    b"\xc3a",
    b"\xe2\x82a",
    b"\xf0\x9f\x98a",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64",
];

/// The position of the first byte behind which no text could go on.
fn wrong_at(text: &[u8]) -> usize {
    let wrong = |end: &usize| {
        std::str::from_utf8(&text[..*end]).is_err_and(|error| error.error_len().is_some())
    };
    (1..=text.len()).find(wrong).unwrap() - 1
}

#[test]
fn a_wrong_text_ends_with_1007_at_its_first_wrong_byte_inside_the_frame() {
    for wrong in WRONG_TEXTS {
        let payload = [b"Hello \xc2\xb5 ", wrong, b" and much more"].concat();
        let bytes = wire(&[(true, Opcode::Text, &payload)]);
        assert_eq!(fault(&bytes), Some(1007), "{wrong:x?}");
        let position = 6 + wrong_at(&payload);
        assert_eq!(first_wrong_byte(&bytes), Some((position, 1007)), "{wrong:x?}");
    }
}

#[test]
fn a_wrong_text_in_fragments_cut_anywhere_ends_with_1007_at_its_first_wrong_byte() {
    for wrong in WRONG_TEXTS {
        let payload = [b"\xf0\x9f\x98\x80", wrong, b"."].concat();
        for cut in 0..=payload.len() {
            let (head, tail) = payload.split_at(cut);
            let bytes = wire(&[
                (false, Opcode::Text, head),
                (true, Opcode::Ping, b""),
                (true, Opcode::Continuation, tail),
            ]);
            let position = wrong_at(&payload);
            let headers = if position < cut { 6 } else { 6 + 6 + 6 };
            let expected = Some((headers + position, 1007));
            assert_eq!(first_wrong_byte(&bytes), expected, "{wrong:x?} cut at {cut}");
            assert_eq!(at_once(&bytes, &limits()).fault, Some(CloseCode::INVALID_PAYLOAD));
        }
    }
}

#[test]
fn a_text_that_ends_inside_a_character_ends_with_1007() {
    for cut in [&b"\xc2"[..], b"\xe2\x82", b"a\xf0\x9f\x98"] {
        assert_eq!(fault(&wire(&[(true, Opcode::Text, cut)])), Some(1007));
        let fragments = wire(&[(false, Opcode::Text, cut), (true, Opcode::Continuation, b"")]);
        assert_eq!(fault(&fragments), Some(1007));
    }
}

#[test]
fn a_character_may_be_cut_by_fragments_and_reads() {
    let payload = "κόσμε 😀 \u{10ffff} \u{fffe} \0".as_bytes();
    let fragments: Vec<(bool, Opcode, &[u8])> = payload
        .chunks(1)
        .enumerate()
        .map(|(position, byte)| match position {
            0 => (false, Opcode::Text, byte),
            _ => (position + 1 == payload.len(), Opcode::Continuation, byte),
        })
        .collect();
    assert_eq!(messages(&wire(&fragments)), [Message::Text(payload.into())]);
}

fn client_message() -> impl Strategy<Value = (Message<'static>, Vec<u8>)> {
    let body = prop_oneof![
        "\\PC{0,30}".prop_map(|text| Message::Text(Cow::Owned(text.into_bytes()))),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| Message::Binary(Cow::Owned(bytes))),
        prop::collection::vec(any::<u8>(), 0..126)
            .prop_map(|payload| Message::Ping(Cow::Owned(payload))),
        prop::collection::vec(any::<u8>(), 0..126)
            .prop_map(|payload| Message::Pong(Cow::Owned(payload))),
    ];
    (body, prop::collection::vec(any::<u8>(), 0..4))
}

/// Sends a data message in fragments of about these sizes.
fn send(wire: &mut Vec<u8>, key: [u8; 4], message: &Message<'_>, cuts: &[u8]) {
    let (first, mut rest) = match message {
        Message::Text(text) => (Opcode::Text, &text[..]),
        Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        Message::Ping(payload) => return write_masked(wire, true, Opcode::Ping, key, payload),
        Message::Pong(payload) => return write_masked(wire, true, Opcode::Pong, key, payload),
        Message::Close(_) => unreachable!("not generated"),
    };
    let mut opcode = first;
    for cut in cuts {
        let (fragment, behind) = rest.split_at(usize::from(*cut).min(rest.len()));
        write_masked(wire, false, opcode, key, fragment);
        opcode = Opcode::Continuation;
        rest = behind;
    }
    write_masked(wire, true, opcode, key, rest);
}

proptest! {
    #[test]
    fn what_a_client_encodes_is_decoded_whatever_the_fragments_and_cuts(
        sent in prop::collection::vec(client_message(), 0..6),
        key in any::<[u8; 4]>(),
        pieces in 1_usize..400,
    ) {
        let mut wire = Vec::new();
        for (message, cuts) in &sent {
            send(&mut wire, key, message, cuts);
        }
        let expected: Vec<Message<'_>> = sent.into_iter().map(|(message, _)| message).collect();
        let whole = at_once(&wire, &limits());
        prop_assert_eq!(&whole.messages, &expected);
        prop_assert_eq!(whole.fault, None);
        prop_assert_eq!(meaning(wire.chunks(pieces), &limits()), whole);
    }

    #[test]
    fn a_text_is_accepted_exactly_when_the_standard_library_accepts_it(
        start in "\\PC{0,20}",
        noise in prop::collection::vec(0x7f_u8.., 0..4),
        end in "\\PC{0,20}",
    ) {
        let payload = [start.as_bytes(), &noise, end.as_bytes()].concat();
        let meaning = at_once(&wire(&[(true, Opcode::Text, &payload)]), &limits());
        prop_assert_eq!(meaning.fault.is_none(), std::str::from_utf8(&payload).is_ok());
    }
}

/// A frame with RSV1 set.
fn write_marked(wire: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8]) {
    let start = wire.len();
    write_masked(wire, fin, opcode, KEY, payload);
    wire[start] |= COMPRESSED;
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let options = DeflateOptions::default();
    let mut deflater = Deflater::new(&options, WindowBits::MAX, Context::Dropped);
    let mut payload = Vec::new();
    deflater.deflate(message, &mut payload);
    payload
}

/// What bytes mean to a server that has agreed on permessage-deflate, whatever their cuts.
fn inflated(wire: &[u8], limits: &Limits) -> Meaning {
    let whole = inflated_meaning(Context::Kept, [wire].into_iter(), limits);
    for step in [1, 2, 3, 7, 64, 1000] {
        let pieces = inflated_meaning(Context::Kept, wire.chunks(step), limits);
        assert_eq!(pieces, whole, "{step} bytes at a time");
    }
    whole
}

fn inflated_messages(wire: &[u8]) -> Vec<Message<'static>> {
    let meaning = inflated(wire, &limits());
    assert_eq!(meaning.fault, None);
    meaning.messages
}

fn inflated_fault(wire: &[u8], limits: &Limits) -> Option<u16> {
    inflated(wire, limits).fault.map(CloseCode::value)
}

#[test]
fn the_examples_of_rfc_7692_are_read_behind_their_headers() {
    let mut wire = Vec::new();
    write_marked(&mut wire, true, Opcode::Text, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    write_marked(&mut wire, true, Opcode::Text, b"\xf2\x00\x11\x00\x00");
    write_marked(&mut wire, false, Opcode::Text, b"\xf2\x48\xcd");
    write_masked(&mut wire, true, Opcode::Continuation, KEY, b"\xc9\xc9\x07\x00");
    write_marked(&mut wire, true, Opcode::Binary, b"\x00\x05\x00\xfa\xffHello\x00");
    write_masked(&mut wire, true, Opcode::Text, KEY, b"Hello");
    let hello = [text("Hello"), text("Hello"), text("Hello"), binary(b"Hello"), text("Hello")];
    assert_eq!(inflated_messages(&wire), hello);
    assert_eq!(inflated_fault(&wire[..wire.len() - 1], &limits()), None);
    assert_eq!(fault(&wire[..1]), Some(1002), "nothing was agreed on");
}

#[test]
fn m23_the_bit_of_compression_stands_on_the_first_frame_of_a_message_only() {
    for opcode in [Opcode::Continuation, Opcode::Ping, Opcode::Pong, Opcode::Close] {
        let mut wire = Vec::new();
        write_marked(&mut wire, false, Opcode::Text, b"\xf2\x48\xcd");
        write_marked(&mut wire, true, opcode, b"");
        assert_eq!(inflated_fault(&wire, &limits()), Some(1002), "{opcode:?}");
    }
    for first in [0xa1, 0x91, 0xf1, 0xc3, 0xcb] {
        let bytes = [first, 0x80, 0, 0, 0, 0];
        assert_eq!(inflated_fault(&bytes, &limits()), Some(1002), "{first:x}");
    }
}

#[test]
fn control_frames_may_stand_between_compressed_fragments() {
    let payload = deflated(b"one two three, one two three");
    let mut wire = Vec::new();
    for (position, byte) in payload.iter().enumerate() {
        match position {
            0 => write_marked(&mut wire, false, Opcode::Text, &[*byte]),
            _ => write_masked(&mut wire, false, Opcode::Continuation, KEY, &[*byte]),
        }
        write_masked(&mut wire, true, Opcode::Ping, KEY, b"ping");
    }
    write_masked(&mut wire, true, Opcode::Continuation, KEY, b"");
    write_masked(&mut wire, true, Opcode::Close, KEY, b"");
    let messages = inflated_messages(&wire);
    let (pings, last) = messages.split_at(messages.len() - 2);
    assert!(pings.iter().all(|ping| *ping == Message::Ping(b"ping".into())));
    assert_eq!(pings.len(), payload.len());
    assert_eq!(last, [text("one two three, one two three"), Message::Close(None)]);
}

#[test]
fn what_is_not_compressed_is_still_borrowed() {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::new(Context::Kept));
    for length in [1, 300] {
        let mut input = wire(&[(true, Opcode::Text, &vec![b'3'; length])]);
        let decoded = decoder.decode_compressed(&mut input, &limits(), &mut inflater).unwrap();
        assert!(matches!(decoded.message, Some(Message::Text(Cow::Borrowed(_)))));
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn m24_a_text_is_judged_when_it_is_inflated() {
    for wrong in WRONG_TEXTS {
        let payload = [b"Hello \xc2\xb5 ", wrong, b" and much more"].concat();
        let mut wire = Vec::new();
        write_marked(&mut wire, true, Opcode::Text, &deflated(&payload));
        assert_eq!(inflated_fault(&wire, &limits()), Some(1007), "{wrong:x?}");
        // It is not inflated to the end.
        let small = Limits { message_bytes: 22, ..limits() };
        assert_eq!(inflated_fault(&wire, &small), Some(1009), "{wrong:x?}");
    }
    let mut wire = Vec::new();
    write_marked(&mut wire, true, Opcode::Text, &deflated("κόσμε 😀".as_bytes()));
    write_marked(&mut wire, true, Opcode::Binary, &deflated(b"\xff"));
    assert_eq!(inflated_messages(&wire), [text("κόσμε 😀"), binary(b"\xff")]);
    let mut cut = Vec::new();
    write_marked(&mut cut, true, Opcode::Text, &deflated(b"\xf0\x9f\x98"));
    assert_eq!(inflated_fault(&cut, &limits()), Some(1007));
}

#[test]
fn nats_2026_a_compressed_message_without_bytes_is_a_message_without_bytes() {
    let mut wire = Vec::new();
    write_marked(&mut wire, true, Opcode::Text, b"");
    write_marked(&mut wire, true, Opcode::Binary, b"\0");
    write_marked(&mut wire, false, Opcode::Binary, b"");
    write_masked(&mut wire, true, Opcode::Continuation, KEY, b"");
    write_marked(&mut wire, true, Opcode::Text, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    let expected = [text(""), binary(b""), binary(b""), text("Hello")];
    assert_eq!(inflated_messages(&wire), expected);
}

#[test]
fn what_is_no_deflate_ends_with_1007() {
    for payload in [&b"\x06"[..], b"\xf2\x00\x11\x00\x00", b"\xff\xff\xff"] {
        let mut wire = Vec::new();
        write_marked(&mut wire, true, Opcode::Binary, payload);
        assert_eq!(inflated_fault(&wire, &limits()), Some(1007), "{payload:x?}");
    }
}

#[test]
fn ghsa_qrvq_68c2_7grw_a_message_is_measured_when_it_is_inflated() {
    let limits = Limits { message_bytes: 10_000, ..limits() };
    for (length, fault) in [(10_000, None), (10_001, Some(1009)), (5_000_000, Some(1009))] {
        let mut wire = Vec::new();
        write_marked(&mut wire, true, Opcode::Text, &deflated(&vec![b'a'; length]));
        assert_eq!(inflated_fault(&wire, &limits), fault, "{length}");
    }
    // What does not get shorter is a little longer on its way.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let message: Vec<u8> = (0..10_000).map(|_| noise()).collect();
    let payload = deflated(&message);
    assert!(payload.len() > message.len());
    let mut wire = Vec::new();
    write_marked(&mut wire, true, Opcode::Binary, &payload);
    assert_eq!(inflated(&wire, &limits).messages, [binary(&message)]);
}

#[test]
fn a_compressed_message_can_not_go_on_for_ever_without_saying_anything() {
    let limits = Limits { message_bytes: 1000, ..limits() };
    let nothing = b"\0\0\0\xff\xff".repeat(100);
    let mut wire = Vec::new();
    write_marked(&mut wire, false, Opcode::Text, &nothing);
    for _ in 0..10 {
        write_masked(&mut wire, false, Opcode::Continuation, KEY, &nothing);
    }
    assert_eq!(inflated_fault(&wire, &limits), Some(1009));
    let mut header = vec![0xc2, 0xff];
    header.extend_from_slice(&2_000_000_u64.to_be_bytes());
    header.extend_from_slice(&KEY);
    assert_eq!(inflated_fault(&header, &limits), Some(1009), "from the header");
}

#[test]
fn a_client_that_compresses_costs_nothing_between_its_messages() {
    let mut wire = Vec::new();
    write_marked(&mut wire, true, Opcode::Text, &deflated(&b"text ".repeat(10_000)));
    let mut shared = Inflater::new(Context::Dropped);
    let mut decoders: [Decoder; 3] = Default::default();
    let (start, end) = wire.split_at(20);
    // One inflater reads what several have begun.
    for decoder in &mut decoders {
        decoder.decode_compressed(&mut start.to_vec(), &limits(), &mut shared).unwrap();
        assert!(decoder.held_bytes() < 512, "{}", decoder.held_bytes());
    }
    for decoder in &mut decoders {
        let mut bytes = end.to_vec();
        let decoded = decoder.decode_compressed(&mut bytes, &limits(), &mut shared).unwrap();
        let Some(Message::Text(Cow::Owned(text))) = decoded.message else { panic!("a text") };
        assert_eq!(text.len(), 50_000);
        assert_eq!(decoder.held_bytes(), 0);
    }
}

proptest! {
    #[test]
    fn what_a_client_compresses_is_decoded_whatever_the_fragments_and_cuts(
        sent in prop::collection::vec((client_message(), any::<bool>()), 0..6),
        client in prop_oneof![Just(Context::Kept), Just(Context::Dropped)],
        pieces in 1_usize..400,
    ) {
        let options = DeflateOptions::default();
        let mut deflater = Deflater::new(&options, WindowBits::MAX, client);
        let mut wire = Vec::new();
        for ((message, cuts), is_compressed) in &sent {
            let start = wire.len();
            let mut payload = Vec::new();
            match message {
                Message::Text(text) if *is_compressed => deflater.deflate(text, &mut payload),
                Message::Binary(bytes) if *is_compressed => deflater.deflate(bytes, &mut payload),
                _ => {
                    send(&mut wire, KEY, message, cuts);
                    continue;
                }
            }
            match message {
                Message::Text(_) => send(&mut wire, KEY, &Message::Text(payload.into()), cuts),
                _ => send(&mut wire, KEY, &Message::Binary(payload.into()), cuts),
            }
            wire[start] |= COMPRESSED;
        }
        let expected: Vec<Message<'_>> =
            sent.into_iter().map(|((message, _), _)| message).collect();
        let whole = inflated_meaning(client, [&wire[..]].into_iter(), &limits());
        prop_assert_eq!(&whole.messages, &expected);
        prop_assert_eq!(whole.fault, None);
        prop_assert_eq!(inflated_meaning(client, wire.chunks(pieces), &limits()), whole);
    }
}
