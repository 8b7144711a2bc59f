//! Tests of the codec.

use super::*;
use proptest::prelude::*;

/// What is read of a payload: the packets before its end or first fault, and whether it has one.
/// Empty packets are `None`.
fn read_all(form: Form, payload: &[u8]) -> (Vec<Option<Packet<'_>>>, Result<(), ParseError>) {
    let (mut packets, mut offset) = (Vec::new(), 0);
    loop {
        let (piece, next) = match split(form, payload, offset) {
            Ok(Some(step)) => step,
            Ok(None) => return (packets, Ok(())),
            Err(error) => return (packets, Err(error)),
        };
        offset = next;
        match piece {
            Piece::Empty => packets.push(None),
            Piece::Binary(bytes) => packets.push(Some(decode_binary(bytes))),
            Piece::Text(text) => match decode_text(text) {
                Ok(packet) => packets.push(Some(packet)),
                Err(error) => return (packets, Err(error)),
            },
        }
    }
}

fn text(payload: &str) -> (Vec<Option<Packet<'_>>>, Result<(), ParseError>) {
    read_all(Form::Text, payload.as_bytes())
}

fn message(data: &str) -> Option<Packet<'_>> {
    Some(Packet::Message(data.as_bytes()))
}

fn attachment(data: &[u8]) -> Option<Packet<'_>> {
    Some(Packet::Binary(data.into()))
}

/// The WebSocket frames of v4 for messages of text and of bytes.
fn frames_of(packets: &[Result<&str, &[u8]>]) -> Vec<u8> {
    let mut frames = Vec::new();
    for packet in packets {
        match packet {
            Ok(text) => websocket::write_text(&mut frames, text.as_bytes()),
            Err(bytes) => websocket::write_binary(&mut frames, bytes),
        }
    }
    frames
}

fn payload(form: Form, packets: &[Result<&str, &[u8]>]) -> Vec<u8> {
    let mut out = Vec::new();
    write_payload(&mut out, form, &frames_of(packets));
    out
}

/// A packet in binary form, its digits written as characters.
fn marked(mark: u8, digits: &str, packet: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().map(|digit| digit.wrapping_sub(b'0')).collect();
    [&[mark], &digits[..], &[0xff], packet].concat()
}

// protocol.md §13.2
#[test]
fn a_length_in_text_form_counts_utf16_code_units() {
    for (packet, written) in [
        ("40", "2:40"),
        ("4", "1:4"),
        ("4\u{e9}", "2:4\u{e9}"),
        ("4\u{20ac}", "2:4\u{20ac}"),
        ("4\u{20ac}\u{20ac}\u{20ac}\u{20ac}", "5:4\u{20ac}\u{20ac}\u{20ac}\u{20ac}"),
        ("4\u{ffff}", "2:4\u{ffff}"),
        ("4\u{10000}", "3:4\u{10000}"),
        ("4\u{1f600}", "3:4\u{1f600}"),
        ("4a\u{1f600}b\u{10ffff}", "7:4a\u{1f600}b\u{10ffff}"),
        ("42[\"\u{1f600}\",\"\u{20ac}\"]", "12:42[\"\u{1f600}\",\"\u{20ac}\"]"),
    ] {
        assert_eq!(payload(Form::Text, &[Ok(packet)]), written.as_bytes());
        assert_eq!(text(written), (vec![message(&packet[1..])], Ok(())), "{written}");
    }
}

#[test]
fn a_payload_in_text_form_is_one_packet_behind_another() {
    let written = "3:4\u{1f600}2:4\u{20ac}6:b4BwcH2:401:60:2:2x1:1";
    let packets = vec![
        message("\u{1f600}"),
        message("\u{20ac}"),
        attachment(&[7, 7, 7]),
        message("0"),
        Some(Packet::Noop),
        None,
        Some(Packet::Ping(b"x")),
        Some(Packet::Close),
    ];
    assert_eq!(text(written), (packets, Ok(())));
    assert_eq!(text("0:"), (vec![None], Ok(())));
    assert_eq!(text("002:40"), (vec![message("0")], Ok(())), "zeros lead nowhere");
}

#[test]
fn attachments_are_base64_in_text_form() {
    let packets = [Ok("451-[]"), Err(&[7, 7, 7][..]), Err(&[][..]), Err(&[0xff][..])];
    assert_eq!(payload(Form::Text, &packets), b"6:451-[]6:b4BwcH2:b46:b4/w==");
}

// protocol.md §13.2
#[test]
fn a_length_in_binary_form_counts_bytes_and_its_digits_are_their_values() {
    let event = "42[\"\u{20ac}\",\"abcdefghijklmn\"]";
    assert_eq!(event.len(), 26);
    let written = payload(Form::Binary, &[Ok(event), Err(&[7, 7, 7])]);
    let meant = [b"\x00\x02\x06\xff", event.as_bytes(), b"\x01\x04\xff\x04\x07\x07\x07"].concat();
    assert_eq!(written, meant);
    let packets = vec![message(&event[1..]), attachment(&[7, 7, 7])];
    assert_eq!(read_all(Form::Binary, &meant), (packets, Ok(())));
}

#[test]
fn b16_1_a_payload_of_text_and_bytes_is_written_in_binary_form() {
    let packets = [Ok("4\u{20ac}\u{20ac}\u{20ac}\u{20ac}"), Err(&[1, 2, 3][..])];
    let written = payload(Form::Binary, &packets);
    let euros = b"\x34\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac";
    let bytes = b"\x01\x04\xff\x04\x01\x02\x03";
    assert_eq!(written, [b"\x00\x01\x03\xff", &euros[..], bytes].concat());
    let meant = vec![message("\u{20ac}\u{20ac}\u{20ac}\u{20ac}"), attachment(&[1, 2, 3])];
    assert_eq!(read_all(Form::Binary, &written), (meant, Ok(())));
}

#[test]
fn a_length_has_as_many_digits_as_it_needs() {
    for length in [9, 10, 99, 100, 1_000, 65_535, 100_000] {
        let packet = format!("4{}", "x".repeat(length - 1));
        let written = payload(Form::Text, &[Ok(&*packet)]);
        assert_eq!(written, format!("{length}:{packet}").as_bytes());
        let written = payload(Form::Binary, &[Ok(&*packet), Err(packet.as_bytes())]);
        let typed = [b"\x04", packet.as_bytes()].concat();
        let first = marked(0, &length.to_string(), packet.as_bytes());
        let second = marked(1, &(length + 1).to_string(), &typed);
        assert_eq!(written, [first, second].concat());
    }
}

#[test]
fn the_form_is_binary_only_for_attachments_that_may_be_raw() {
    let (plain, binary) = (frames_of(&[Ok("4a")]), frames_of(&[Ok("451-[]"), Err(b"x")]));
    let form = |wires: &[&Vec<u8>], attachments| {
        Form::of_frames(wires.iter().map(|wire| &wire[..]), attachments)
    };
    assert_eq!(form(&[], Attachments::Raw), Form::Text);
    assert_eq!(form(&[&plain, &plain], Attachments::Raw), Form::Text);
    assert_eq!(form(&[&plain, &binary], Attachments::Raw), Form::Binary);
    assert_eq!(form(&[&plain, &binary], Attachments::Base64), Form::Text);
}

#[test]
fn only_the_exact_content_type_is_binary_form() {
    assert_eq!(Form::of_content_type(Some(b"application/octet-stream")), Form::Binary);
    for other in [
        &b"application/octet-stream; x=y"[..],
        b"Application/Octet-Stream",
        b" application/octet-stream",
        b"text/plain;charset=UTF-8",
        b"",
    ] {
        assert_eq!(Form::of_content_type(Some(other)), Form::Text);
    }
    assert_eq!(Form::of_content_type(None), Form::Text);
}

#[test]
fn control_packets_alone_are_in_text_form() {
    for (packets, written) in [
        (&[Ok("6")][..], NOOP_PAYLOAD),
        (&[Ok("1")], CLOSE_PAYLOAD),
        (&[Ok("6"), Ok("1")], NOOP_CLOSE_PAYLOAD),
    ] {
        let frames = frames_of(packets);
        assert_eq!(Form::of_frames([&frames[..]], Attachments::Raw), Form::Text);
        assert_eq!(payload(Form::Text, packets), written);
    }
    assert_eq!(decode_text(PONG), Ok(Packet::Pong(b"")));
}

// protocol.md §13.4
#[test]
fn the_open_packet_is_the_one_of_v4_behind_its_length() {
    let open = "0{\"sid\":\"lv_VI97HAXpY6yYWAAAB\",\"upgrades\":[\"websocket\"],\
                \"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
    assert_eq!(payload(Form::Text, &[Ok(open)]), format!("118:{open}").as_bytes());
}

#[test]
fn a_malformed_payload_in_text_form_gives_the_error_at_its_place() {
    for faulty in [
        "",
        ":",
        ":4",
        "a",
        "2",
        "240",
        "-1:4",
        "+1:4",
        " 1:4",
        "1 :4",
        "1.0:4",
        "1e0:4",
        "0x1:4",
        "2:4",
        "1:",
        "3:4\u{20ac}",
        "10000000:4",
        "99999999999999999999999:4",
        // The end of a length in the middle of a character.
        "1:\u{1f600}",
        "2:4\u{1f600}",
        "3:4a\u{1f600}",
        // No packets: of no type, v4, empty base64 of a text that is none.
        "1:7",
        "1:a",
        "1:\u{e9}",
        "2:x4",
        "4hello\u{1e}2",
    ] {
        assert_eq!(text(faulty), (vec![], Err(ParseError)), "{faulty:?}");
        let behind = format!("2:4a{faulty}");
        let fault = if faulty.is_empty() { Ok(()) } else { Err(ParseError) };
        assert_eq!(text(&behind), (vec![message("a")], fault), "{behind:?}");
    }
    for (faulty, data) in [("1:40", ""), ("1:4\u{20ac}", ""), ("2:4\u{20ac}1", "\u{20ac}")] {
        assert_eq!(text(faulty), (vec![message(data)], Err(ParseError)), "{faulty:?}");
    }
    for faulty in [&b"2:4\xff"[..], b"1:\x80", b"2:4\xe2\x82", b"2:4\xed\xa0\x80", b"\xff:4"] {
        assert_eq!(read_all(Form::Text, faulty), (vec![], Err(ParseError)), "{faulty:?}");
    }
}

#[test]
fn a_malformed_payload_in_binary_form_gives_the_error_at_its_place() {
    let good = marked(0, "2", b"4a");
    for faulty in [
        &b"\x00"[..],
        b"\x00\xff",
        b"\x00\xff4",
        b"\x00\x01",
        b"\x00\x02\xff4",
        b"\x01\x02\xff\x04",
        b"\x02\x01\xff4",
        b"4\x01\xff4",
        b"\x00\x0a\xff4444444444",
        b"\x001\xff4",
        b"\x00\x02\xff4\xff",
        b"\x00\x01\xff7",
        b"\x00\x00\xff",
        b"2:4a",
    ] {
        assert_eq!(read_all(Form::Binary, faulty), (vec![], Err(ParseError)), "{faulty:?}");
        let behind = [&good[..], faulty].concat();
        let meant = (vec![message("a")], Err(ParseError));
        assert_eq!(read_all(Form::Binary, &behind), meant, "{faulty:?}");
    }
    for digits in ["18446744073709551616", "99999999999999999999999"] {
        let faulty = marked(0, digits, b"4");
        assert_eq!(read_all(Form::Binary, &faulty), (vec![], Err(ParseError)), "{digits}");
    }
    assert_eq!(read_all(Form::Binary, b""), (vec![], Ok(())), "no packets are no fault here");
}

// security.md §1.1, "socketioxide #741": the digit of the length is a byte, and any byte may come.
#[test]
fn socketioxide_741_a_byte_that_is_no_digit_is_an_error_whatever_it_is() {
    for byte in 0..=u8::MAX {
        let payload = [0, byte, 0xff, b'4', b'4', b'4', b'4', b'4', b'4', b'4', b'4', b'4'];
        let length = usize::from(byte);
        let step = split(Form::Binary, &payload, 0);
        match byte {
            0..=9 => {
                let piece = Piece::Text(&payload[3..3 + length]);
                assert_eq!(step, Ok(Some((piece, 3 + length))));
            }
            _ => assert_eq!(step, Err(ParseError), "{byte}"),
        }
    }
}

#[test]
fn the_end_of_a_length_is_not_looked_for_for_ever() {
    for (form, digit, end, mark) in
        [(Form::Text, b'0', b':', &b""[..]), (Form::Binary, 0, 0xff, &b"\x00"[..])]
    {
        let led_by = |zeros: usize| [mark, &vec![digit; zeros], &[digit + 1, end], b"4"].concat();
        let longest = led_by(LENGTH_DIGITS_MAX - 1);
        assert_eq!(read_all(form, &longest), (vec![message("")], Ok(())));
        for digits in [LENGTH_DIGITS_MAX, 1_000_000] {
            assert_eq!(read_all(form, &led_by(digits)), (vec![], Err(ParseError)));
        }
        let endless = [mark, &vec![digit + 1; 1_000_000]].concat();
        assert_eq!(read_all(form, &endless), (vec![], Err(ParseError)));
    }
}

// protocol.md §13.1
#[test]
fn binary_data_has_a_type() {
    for (bytes, packet) in [
        (&b"\x04\x07\x07"[..], Packet::Binary(vec![7, 7])),
        (b"\x04", Packet::Binary(vec![])),
        (b"\x00{}", Packet::Open),
        (b"\x01", Packet::Close),
        (b"\x02", Packet::Ping(b"")),
        (b"\x02probe", Packet::Ping(b"")),
        (b"\x03", Packet::Pong(b"")),
        (b"\x05", Packet::Upgrade),
        (b"\x06", Packet::Noop),
        (b"\x07", Packet::Noop),
        (b"4a", Packet::Noop),
        (b"\xff", Packet::Noop),
        (b"", Packet::Noop),
    ] {
        assert_eq!(decode_binary(bytes), packet, "{bytes:?}");
    }
    for (text, packet) in [
        ("b4BwcH", Packet::Binary(vec![7, 7, 7])),
        ("b4BwcHBw", Packet::Binary(vec![7, 7, 7, 7])),
        ("b4_-8", Packet::Binary(vec![0xff, 0xef])),
        ("b4", Packet::Binary(vec![])),
        ("b2cHJvYmU=", Packet::Ping(b"")),
        ("b1", Packet::Close),
        ("b", Packet::Noop),
        ("b7BwcH", Packet::Noop),
        ("b/BwcH", Packet::Noop),
        ("bBwcH", Packet::Noop),
    ] {
        assert_eq!(decode_text(text.as_bytes()), Ok(packet), "{text}");
    }
}

// security.md §4 row 33
#[test]
fn m33_text_that_is_not_base64_is_read_as_in_v4() {
    for text in [
        "",
        "0",
        "1",
        "2",
        "2probe",
        "3",
        "5",
        "6",
        "7",
        "9",
        "4",
        "40",
        "41",
        "42[\"a\"]",
        "451-",
        "a",
        "-1",
        "4\u{20ac}",
    ] {
        assert_eq!(decode_text(text.as_bytes()), engine::decode(text.as_bytes()), "{text}");
    }
}

// protocol.md §13.1
#[test]
fn a_binary_frame_has_its_type_before_the_data() {
    let frames = frames_of(&[Ok("451-[]"), Err(&[7, 7, 7]), Ok("3")]);
    let raw = websocket_variant(&frames, Attachments::Raw);
    assert_eq!(raw, b"\x81\x06451-[]\x82\x04\x04\x07\x07\x07\x81\x013");
    let base64 = websocket_variant(&frames, Attachments::Base64);
    assert_eq!(base64, b"\x81\x06451-[]\x81\x06b4BwcH\x81\x013");
}

#[test]
fn frames_without_attachments_are_the_same_on_a_websocket() {
    let mut frames = frames_of(&[Ok("40"), Ok(&*"4".repeat(70_000))]);
    websocket::write_pong(&mut frames, b"p");
    websocket::write_close(&mut frames, None);
    assert!(!has_attachments(&frames));
    assert_eq!(websocket_variant(&frames, Attachments::Raw), frames);
}

#[test]
fn a_type_may_make_the_header_of_a_frame_longer() {
    for (length, header) in [(124, &b"\x82\x7d"[..]), (125, b"\x82\x7e\x00\x7e")] {
        let data = vec![7; length];
        let written = websocket_variant(&frames_of(&[Err(&data[..])]), Attachments::Raw);
        assert_eq!(written, [header, b"\x04", &data].concat());
    }
}

// security.md §4 row 19: what is one step is one packet, an empty one too, so that a turn can end.
#[test]
fn m19_each_packet_of_a_long_payload_is_a_step() {
    for (form, packet) in [
        (Form::Text, &b"3:4\xe2\x82\xacx"[..]),
        (Form::Text, b"0:"),
        (Form::Binary, b"\x01\x02\xff\x04x"),
    ] {
        let payload = packet.repeat(165_000);
        let (mut offset, mut count) = (0, 0);
        while let Some((piece, next)) = split(form, &payload, offset).unwrap() {
            assert_eq!(Ok(Some((piece, packet.len()))), split(form, packet, 0));
            assert_eq!(next, offset + packet.len());
            (offset, count) = (next, count + 1);
        }
        assert_eq!((offset, count), (payload.len(), 165_000));
        assert_eq!(split(form, &payload, offset + 1), Ok(None), "there is nothing behind the end");
    }
}

fn packet() -> impl Strategy<Value = Result<String, Vec<u8>>> {
    prop_oneof![
        "[0-6].{0,12}".prop_map(Ok),
        "4[\u{20ac}\u{1f600}a-c]{0,150}".prop_map(Ok),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Err),
        prop::collection::vec(any::<u8>(), 120..130).prop_map(Err),
    ]
}

proptest! {
    #[test]
    fn reading_a_written_payload_gives_its_packets(
        packets in prop::collection::vec(packet(), 0..8),
    ) {
        let borrowed: Vec<Result<&str, &[u8]>> = packets
            .iter()
            .map(|packet| packet.as_ref().map(|text| &**text).map_err(|bytes| &**bytes))
            .collect();
        let meant: Vec<_> = borrowed
            .iter()
            .map(|packet| match packet {
                Ok(text) => decode_text(text.as_bytes()).ok(),
                Err(bytes) => attachment(bytes),
            })
            .collect();
        for form in [Form::Text, Form::Binary] {
            let written = payload(form, &borrowed);
            if !written.is_empty() {
                prop_assert_eq!(read_all(form, &written), (meant.clone(), Ok(())));
            }
            exercise(&written);
        }
        let frames = frames_of(&borrowed);
        for attachments in [Attachments::Raw, Attachments::Base64] {
            let written = websocket_variant(&frames, attachments);
            let found: Vec<_> = messages(&written).into_iter().map(Some).collect();
            prop_assert_eq!(&found, &meant);
        }
    }

    #[test]
    fn units_are_counted_as_javascript_counts_them(text: String, end in 0..200_usize) {
        prop_assert_eq!(units(text.as_bytes()), text.encode_utf16().count());
        let mut ends = text.char_indices().map(|(position, _)| position).chain([text.len()]);
        let meant = ends.find(|end_bytes| text[..*end_bytes].encode_utf16().count() == end);
        prop_assert_eq!(units_end(text.as_bytes(), end), meant);
    }

    #[test]
    fn no_bytes_break_the_reader(
        bytes: Vec<u8>, text in "([0-3]{0,2}:?[b4\u{20ac}\u{1f600}]?){0,8}",
    ) {
        exercise(&bytes);
        exercise(text.as_bytes());
    }

    #[test]
    fn no_marks_and_digits_break_the_reader(
        bytes in prop::collection::vec(
            prop_oneof![0..5_u8, Just(0xff), Just(b'4'), any::<u8>()],
            0..40,
        ),
    ) {
        exercise(&bytes);
    }

    #[test]
    fn no_change_of_one_byte_breaks_the_reader(place: prop::sample::Index, byte: u8) {
        let text = "3:4\u{1f600}2:4\u{20ac}6:b4BwcH2:401:6".as_bytes();
        let binary = b"\x00\x04\xff4\xe2\x82\xac\x01\x04\xff\x04\x07\x07\x07\x00\x01\xff6";
        for payload in [text, binary] {
            let mut bytes = payload.to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            exercise(&bytes);
            bytes.truncate(place);
            exercise(&bytes);
        }
    }
}
