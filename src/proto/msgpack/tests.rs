//! Tests of packets, in the bytes that the reference's encoder (notepack.io 2.2) writes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::base::id::{PrivateId, SocketId};
use crate::proto::json::Arguments;
use crate::proto::socket::{ID_MAX, Kind, Packet, RESERVED_EVENTS};

const CONNECT: &[u8] = b"\xa4type\x00";
const DISCONNECT: &[u8] = b"\xa4type\x01";
const EVENT: &[u8] = b"\xa4type\x02";
const ACK: &[u8] = b"\xa4type\x03";
const CONNECT_ERROR: &[u8] = b"\xa4type\x04";
const ROOT: &[u8] = b"\xa3nsp\xa1/";
const UNDEFINED: &[u8] = b"\xd4\x00\x00";
const PLACE: &str = "{\"_placeholder\":true,\"num\":0}";

/// A map of fields, each of which is a key and a value.
fn message(fields: &[&[u8]]) -> Vec<u8> {
    [&[0x80 | fields.len() as u8], &fields.concat()[..]].concat()
}

fn data(value: &[u8]) -> Vec<u8> {
    [b"\xa4data", value].concat()
}

fn id(value: &[u8]) -> Vec<u8> {
    [b"\xa2id", value].concat()
}

fn event(list: &[u8]) -> Vec<u8> {
    message(&[EVENT, ROOT, &data(list)])
}

fn packet<'a>(kind: Kind, namespace: &'a str, id: Option<u64>, body: Body<'a>) -> Packet<'a> {
    Packet { kind, attachments: 0, namespace, id, body }
}

fn event_body<'a>(name: &'a str, args: &'a str) -> Body<'a> {
    Body::Event { name: name.into(), args: args.as_bytes() }
}

#[track_caller]
fn reads(message: &[u8], meant: Packet<'_>) {
    reads_with(message, meant, &[]);
}

#[track_caller]
fn reads_with(message: &[u8], mut meant: Packet<'_>, attachments: &[&'static str]) {
    let attachments: Vec<Bytes> = attachments.iter().map(|text| Bytes::from(*text)).collect();
    meant.attachments = attachments.len();
    let mut text = b"of the packet before".to_vec();
    let found = decode(message, &mut text, &Limits::default());
    assert_eq!(found, Ok((meant, attachments)), "{message:x?}");
    exercise(message);
}

#[track_caller]
fn refused(message: &[u8], error: DecodeError) {
    let mut text = Vec::new();
    let found = decode(message, &mut text, &Limits::default());
    assert_eq!(found, Err(error), "{message:x?}");
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

#[test]
fn b38_1_a_client_connects_with_or_without_auth() {
    let connect =
        |auth: &'static str| packet(Kind::Connect, "/", None, Body::Connect(auth.as_bytes()));
    reads(&message(&[CONNECT, ROOT]), connect("{}"));
    // What the client sends that has nothing to authenticate with.
    reads(&message(&[CONNECT, &data(UNDEFINED), ROOT]), connect("{}"));
    reads(&message(&[CONNECT, &data(b"\x80"), ROOT]), connect("{}"));
    let auth = data(b"\x81\xa5token\xa3123");
    reads(&message(&[CONNECT, &auth, ROOT]), connect("{\"token\":\"123\"}"));
    let auth = [&b"{\"key\":"[..], PLACE.as_bytes(), b"}"].concat();
    let meant = packet(Kind::Connect, "/", None, Body::Connect(&auth));
    reads_with(&message(&[CONNECT, &data(b"\x81\xa3key\xc4\x01k"), ROOT]), meant, &["k"]);

    let sid = SocketId::new(1, 2, 3);
    let head = b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data";
    let joined = written(|out| write_connect(out, "/", sid, None));
    assert_eq!(joined, [head, &b"\x81\xa3sid\xb4"[..], &sid.text()].concat());
    let pid = PrivateId::new(1, 2, [7; 9]);
    let joined = written(|out| write_connect(out, "/", sid, Some(pid)));
    let ids = [&b"\x82\xa3sid\xb4"[..], &sid.text(), b"\xa3pid\xb4", &pid.text()].concat();
    assert_eq!(joined, [&head[..], &ids].concat());
}

#[test]
fn b38_2_an_event_carries_binary_values_where_they_belong() {
    // emit("binary", [], {a: "b"}, Buffer.from("asdfasdf")), and then its like as the server's.
    let list = b"\x94\xa6binary\x90\x81\xa1a\xa1b\xc4\x08asdfasdf";
    let options = b"\xa7options\x81\xa8compress\xc3";
    let args = format!("[],{{\"a\":\"b\"}},{PLACE}");
    let meant = packet(Kind::BinaryEvent, "/", None, event_body("binary", &args));
    reads_with(&message(&[EVENT, &data(list), options, ROOT]), meant, &["asdfasdf"]);

    let args_json = format!(",{args}");
    let blob = [Bytes::from("asdfasdf")];
    let out = written(|out| write_event(out, "/", None, "binary", args_json.as_bytes(), &blob));
    assert_eq!(out, event(list));
}

#[test]
fn b38_3_acknowledgements_are_asked_for_and_given() {
    let asks = message(&[EVENT, &data(b"\x92\xa3ack\xa8question"), &id(b"\x00"), ROOT]);
    reads(&asks, packet(Kind::Event, "/", Some(0), event_body("ack", "\"question\"")));
    let answers = message(&[ACK, &id(b"\xcd\x01\x00"), &data(b"\x91\x2a"), ROOT]);
    reads(&answers, packet(Kind::Ack, "/", Some(256), Body::Ack { args: b"42" }));
    let empty = message(&[ACK, &id(b"\x05"), &data(b"\x90"), ROOT]);
    reads(&empty, packet(Kind::Ack, "/", Some(5), Body::Ack { args: b"" }));
    let unasked = message(&[ACK, &data(b"\x90"), ROOT]);
    reads(&unasked, packet(Kind::Ack, "/", None, Body::Ack { args: b"" }));
    let binary = message(&[ACK, &id(b"\x05"), &data(b"\x91\xc4\x01x"), ROOT]);
    let meant = packet(Kind::BinaryAck, "/", Some(5), Body::Ack { args: PLACE.as_bytes() });
    reads_with(&binary, meant, &["x"]);

    let ack = written(|out| write_ack(out, "/", 256, b",42", &[]));
    assert_eq!(ack, message(&[ACK, ROOT, &id(b"\xcd\x01\x00"), &data(b"\x91\x2a")]));
    let ack = written(|out| write_ack(out, "/", 0, b"", &[]));
    assert_eq!(ack, message(&[ACK, ROOT, &id(b"\x00"), &data(b"\x90")]));
    let asks = written(|out| write_event(out, "/", Some(7), "a", b",1", &[]));
    assert_eq!(asks, message(&[EVENT, ROOT, &id(b"\x07"), &data(b"\x92\xa1a\x01")]));
}

#[test]
fn b38_4_every_packet_names_its_namespace() {
    let chat = b"\xa3nsp\xa5/chat";
    let meant = packet(Kind::Event, "/chat", None, event_body("hi", ""));
    reads(&message(&[EVENT, &data(b"\x91\xa2hi"), chat]), meant);
    for name in ["/", "/chat", "/a?b=c", "/__proto__", "", "no slash", "/,", "/\0é\u{1f600}"] {
        let namespace = [&b"\xa3nsp"[..], &[0xa0 | name.len() as u8], name.as_bytes()].concat();
        let leaves = message(&[DISCONNECT, &namespace]);
        reads(&leaves, packet(Kind::Disconnect, name, None, Body::None));
        assert_eq!(written(|out| write_disconnect(out, name)), leaves);
    }
}

#[test]
fn b38_5_a_namespace_is_refused_with_a_message_and_data() {
    let head = message(&[CONNECT_ERROR, b"\xa3nsp\xa2/x", b"\xa4data"]);
    let refusal = written(|out| write_connect_error(out, "/x", "Invalid namespace", None));
    let reason = b"\x81\xa7message\xb1Invalid namespace";
    assert_eq!(refusal, [&head[..], reason].concat());
    let refusal = written(|out| write_connect_error(out, "/x", "a", Some(b"{\"c\": [1]}")));
    let reason = b"\x82\xa7message\xa1a\xa4data\x81\xa1c\x91\x01";
    assert_eq!(refusal, [&head[..], reason].concat());
    // From a client it means nothing, but there is a form that it must have.
    for reason in [&b"\x81\xa7message\xa1a"[..], b"\xa1a"] {
        let message = message(&[CONNECT_ERROR, ROOT, &data(reason)]);
        reads(&message, packet(Kind::ConnectError, "/", None, Body::Error));
    }
}

#[test]
fn b38_6_an_event_is_one_map() {
    let hey = written(|out| write_event(out, "/", None, "hey", b",\"you\"", &[]));
    assert_eq!(hey, b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa3hey\xa3you");
    let bare = written(|out| write_event(out, "/", None, "hey", b"", &[]));
    assert_eq!(bare, event(b"\x91\xa3hey"));
    let many = written(|out| write_event(out, "/", None, "", ",1".repeat(20).as_bytes(), &[]));
    assert_eq!(many, event(&[&b"\xdc\x00\x15\xa0"[..], &[1; 20]].concat()));
}

#[test]
fn b38_7_what_is_no_packet_is_an_error() {
    refused(b"", DecodeError::Truncated);
    refused(&message(&[]), DecodeError::UnknownKind);
    refused(&message(&[b"\xa4type\xa1a"]), DecodeError::UnknownKind);
    refused(&message(&[b"\xa4type\x07"]), DecodeError::UnknownKind);
    refused(b"\xc4\x01\x01", DecodeError::NotMap);
    refused(&message(&[EVENT]), DecodeError::IllegalNamespace);
    refused(&message(&[EVENT, b"\xa3nsp\x02"]), DecodeError::IllegalNamespace);
    refused(&message(&[EVENT, ROOT]), DecodeError::IllegalPayload);
    refused(&event(b"\x04"), DecodeError::IllegalPayload);
    refused(&message(&[CONNECT_ERROR, ROOT, &data(b"\x90")]), DecodeError::IllegalPayload);
    let with_id = message(&[EVENT, ROOT, &data(b"\x91\xa1a"), &id(b"\xa1a")]);
    refused(&with_id, DecodeError::IllegalId);
}

#[test]
fn a_message_is_one_map_and_nothing_else() {
    for bytes in [&b"\xc0"[..], b"\x90", b"\xa0", b"\x02", b"\xd4\x00\x00"] {
        refused(bytes, DecodeError::NotMap);
    }
    refused(&[event(b"\x91\xa1a"), vec![0xc0]].concat(), DecodeError::TrailingBytes);
    refused(b"\xc1", DecodeError::UnusedByte);
    refused(&event(b"\x92\xa1a\xc1"), DecodeError::UnusedByte);
    refused(b"2[\"a\"]", DecodeError::NotMap);
}

#[test]
fn a_type_is_an_integer_from_0_to_4() {
    for number in
        [&b"\xcc\x02"[..], b"\xd3\x00\x00\x00\x00\x00\x00\x00\x02", b"\xca\x40\x00\x00\x00"]
    {
        let kind = [b"\xa4type", number].concat();
        let meant = packet(Kind::Event, "/", None, event_body("a", ""));
        reads(&message(&[&kind, ROOT, &data(b"\x91\xa1a")]), meant);
    }
    for number in
        [&b"\x05"[..], b"\x06", b"\xff", b"\xca\x40\x20\x00\x00", b"\xa12", b"\xc0", UNDEFINED]
    {
        let kind = [b"\xa4type", number].concat();
        refused(&message(&[&kind, ROOT, &data(b"\x91\xa1a")]), DecodeError::UnknownKind);
    }
}

#[test]
fn a_payload_must_fit_its_type() {
    for (kind, wrong) in [
        (CONNECT, &[&b"\xc0"[..], b"\x90", b"\xa1a", b"\x00", b"\xc4\x01a"][..]),
        (DISCONNECT, &[b"\xc0", b"\x80", b"\x90", b"\xa0"]),
        (EVENT, &[b"\xc0", b"\x80", b"\xa1a", UNDEFINED, b"\xd4\x05a"]),
        (ACK, &[b"\xc0", b"\x80", b"\xa1a", UNDEFINED, b"\xd4\x05a"]),
        (CONNECT_ERROR, &[b"\xc0", b"\x90", b"\x04", UNDEFINED]),
    ] {
        for value in wrong {
            refused(&message(&[kind, ROOT, &data(value)]), DecodeError::IllegalPayload);
        }
    }
    let leaves = message(&[DISCONNECT, ROOT, &data(UNDEFINED)]);
    reads(&leaves, packet(Kind::Disconnect, "/", None, Body::None));
}

#[test]
fn an_event_without_even_a_name_means_nothing() {
    reads(&event(b"\x90"), packet(Kind::Event, "/", None, Body::None));
    let asks = message(&[EVENT, ROOT, &data(b"\x90"), &id(b"\x01")]);
    reads(&asks, packet(Kind::Event, "/", Some(1), Body::None));
}

// security.md §1.1, §4 row 38
#[test]
fn an_id_is_an_exact_javascript_integer() {
    let with_id = |value: &[u8]| message(&[ACK, ROOT, &data(b"\x90"), &id(value)]);
    for (value, meant) in [
        (&b"\x00"[..], Some(0)),
        (b"\xd1\x00\x05", Some(5)),
        (b"\xcb\x40\x14\x00\x00\x00\x00\x00\x00", Some(5)),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", Some(ID_MAX)),
        (UNDEFINED, None),
    ] {
        reads(&with_id(value), packet(Kind::Ack, "/", meant, Body::Ack { args: b"" }));
    }
    for value in [
        &b"\xc0"[..],
        b"\xa11",
        b"\xff",
        b"\x80",
        b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00",
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        refused(&with_id(value), DecodeError::IllegalId);
        refused(&message(&[DISCONNECT, ROOT, &id(value)]), DecodeError::IllegalId);
    }
    let leaves = message(&[DISCONNECT, ROOT, &id(b"\x05")]);
    reads(&leaves, packet(Kind::Disconnect, "/", None, Body::None));
}

#[test]
fn fields_come_in_any_order_and_the_last_of_them_counts() {
    let meant = || packet(Kind::Event, "/", Some(3), event_body("a", "1"));
    let (list, three) = (data(b"\x92\xa1a\x01"), id(b"\x03"));
    for fields in
        [[EVENT, ROOT, &list, &three], [&three, &list, ROOT, EVENT], [&list, EVENT, &three, ROOT]]
    {
        reads(&message(&fields), meant());
    }
    let (other, none) = (data(b"\x04"), data(UNDEFINED));
    reads(&message(&[&other, CONNECT, EVENT, ROOT, &list, &three]), meant());
    refused(&message(&[EVENT, ROOT, &list, &three, &other]), DecodeError::IllegalPayload);
    refused(&message(&[EVENT, ROOT, &list, &three, &none]), DecodeError::IllegalPayload);
}

#[test]
fn unknown_fields_are_skipped_whatever_they_are() {
    let deep = [b"\x91".repeat(200_000), vec![0xc0]].concat();
    for field in [
        &b"\xa7options\x81\xa8compress\xc3"[..],
        b"\x05\xc4\x01a",
        b"\xc0\xc0",
        b"\x91\xa4type\x00",
        b"\xc4\x04type\x00",
        b"\xa4Type\x00",
        b"\xa1\xff\xa1\xff",
        &[b"\xa9__proto__", &deep[..]].concat(),
        &[&deep[..], b"\xd9\x01a"].concat(),
    ] {
        let meant = packet(Kind::Event, "/", None, event_body("a", ""));
        reads(&message(&[field, EVENT, ROOT, field, &data(b"\x91\xa1a")]), meant);
    }
}

#[test]
fn the_name_of_an_event_is_a_string_or_a_number() {
    for (list, name) in [
        (&b"\x91\xa0"[..], ""),
        (b"\x91\xa9__proto__", "__proto__"),
        (b"\x91\xa5error", "error"),
        (b"\x91\xa3a\"\n", "a\"\n"),
        (b"\x91\x05", "5"),
        (b"\x91\xff", "-1"),
        (b"\x91\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
        (b"\x91\xcb\x40\x00\x00\x00\x00\x00\x00\x00", "2"),
        (b"\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "NaN"),
    ] {
        reads(&event(list), packet(Kind::Event, "/", None, event_body(name, "")));
    }
    refused(&event(b"\x91\xa1\xff"), DecodeError::NotUtf8);
}

#[test]
fn m34_cve_2023_32695_an_event_name_that_is_no_name_is_refused() {
    for list in [
        &b"\x91\x81\xa8toString\xa3foo"[..],
        b"\x91\xc0",
        b"\x91\xc3",
        b"\x91\x90",
        b"\x91\x80",
        b"\x91\xc4\x01a",
        b"\x91\xd4\x00\x00",
        b"\x91\xd7\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x91\xd4\x05a",
    ] {
        refused(&event(list), DecodeError::IllegalPayload);
    }
}

#[test]
fn m34_cve_2022_2421_only_bytes_become_attachments() {
    let marker = b"\x82\xac_placeholder\xc3\xa3num\xa6splice";
    refused(&event(&[&b"\x93\xa1a\xc4\x01x"[..], marker].concat()), DecodeError::Placeholder);
    refused(&event(&[&b"\x93\xa1a"[..], marker, b"\xc4\x01x"].concat()), DecodeError::Placeholder);
    // Where nothing is binary, it is data, and is sent as data again: `exercise` sees to that.
    let args = "{\"_placeholder\":true,\"num\":\"splice\"}";
    let meant = packet(Kind::Event, "/", None, event_body("a", args));
    reads(&event(&[&b"\x92\xa1a"[..], marker].concat()), meant);
}

#[test]
fn m34_reserved_names_are_refused() {
    for name in RESERVED_EVENTS {
        let list = [&b"\x91"[..], &[0xa0 | name.len() as u8], name.as_bytes()].concat();
        refused(&event(&list), DecodeError::ReservedEvent);
    }
}

// security.md §4 row 39
#[test]
fn m39_a_namespace_has_a_longest_name_and_is_utf8() {
    let leaves = |name: &[u8]| {
        let length = (name.len() as u16).to_be_bytes();
        message(&[DISCONNECT, &[&b"\xa3nsp\xda"[..], &length, name].concat()])
    };
    let longest = format!("/{}", "a".repeat(1023));
    let meant = packet(Kind::Disconnect, &longest, None, Body::None);
    reads(&leaves(longest.as_bytes()), meant);
    refused(&leaves(format!("{longest}a").as_bytes()), DecodeError::NamespaceTooLong);
    refused(&leaves(b"/\xff"), DecodeError::NotUtf8);
}

#[test]
fn m36_what_json_has_trouble_with_is_taken_or_refused_for_good() {
    let text = |value: &[u8]| {
        let mut text = Vec::new();
        let list = [b"\x92\xa1a", value].concat();
        let found = decode(&event(&list), &mut text, &Limits::default()).map(|_| ());
        found.map(|()| String::from_utf8(text).unwrap())
    };
    let deep = |depth: usize| [vec![0x91; depth - 1], vec![0xc0]].concat();
    assert!(text(&deep(128)).is_ok());
    assert_eq!(text(&deep(129)), Err(DecodeError::Depth));
    // UTF-8 has no lone surrogates.
    assert_eq!(text(b"\xa3\xed\xa0\x80"), Err(DecodeError::NotUtf8));
    assert_eq!(text(b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"), Ok("null".into()));
    assert_eq!(text(b"\x82\xa1k\x01\xa1k\x02"), Ok("{\"k\":1,\"k\":2}".into()));
    assert_eq!(text(b"\x81\xa9__proto__\x01"), Ok("{\"__proto__\":1}".into()));
    assert_eq!(text(b"\xa1\x00"), Ok("\"\\u0000\"".into()));
}

#[test]
fn m69_poison_bytes_are_refused() {
    let whole = event(b"\x93\xa1a\xc4\x03abc\x81\xa1k\xd7\x00\x00\x00\x00\x00\x00\x00\x00\x00");
    for end in 0..whole.len() {
        refused(&whole[..end], DecodeError::Truncated);
    }
    let deep = [b"\x92\xa1a".to_vec(), vec![0x91; 10_000], vec![0xc0]].concat();
    refused(&event(&deep), DecodeError::Depth);
    for head in [b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9"] {
        let huge = [&b"\x92\xa1a"[..], head, b"\x20\x00\x00\x00\x05a"].concat();
        refused(&event(&huge), DecodeError::Truncated);
    }
}

#[test]
fn limits_of_the_server_are_kept() {
    let limits = Limits { json_depth: 2, namespace_bytes: 1, ..Limits::default() };
    let read = |message: &[u8]| decode(message, &mut Vec::new(), &limits).map(|_| ());
    assert_eq!(read(&event(b"\x92\xa1a\x90")), Ok(()));
    assert_eq!(read(&event(b"\x92\xa1a\x91\x90")), Err(DecodeError::Depth));
    let chat = message(&[CONNECT, b"\xa3nsp\xa2/a"]);
    assert_eq!(read(&chat), Err(DecodeError::NamespaceTooLong));
}

#[test]
fn attachments_share_memory_that_holds_nothing_else() {
    let message = event(b"\x95\xa1a\xc4\x02ab\xa3xyz\xc4\x00\xc4\x01c");
    let (_, attachments) = decode(&message, &mut Vec::new(), &Limits::default()).unwrap();
    assert_eq!(attachments, ["ab", "", "c"]);
    assert_eq!(attachments[2].as_ptr(), attachments[0].as_ptr().wrapping_add(2));
}

#[test]
fn a_packet_that_cannot_be_written_leaves_nothing_behind() {
    let mut out = b"kept".to_vec();
    let deep = format!(",{}{}", "[".repeat(128), "]".repeat(128));
    for (args, error) in [
        (",1,", EncodeError::Malformed),
        ("1", EncodeError::Malformed),
        (",[1", EncodeError::Malformed),
        (",1]", EncodeError::Malformed),
        (&deep, EncodeError::Depth),
    ] {
        assert_eq!(write_event(&mut out, "/", None, "a", args.as_bytes(), &[]), Err(error));
        assert_eq!(write_ack(&mut out, "/", 1, args.as_bytes(), &[]), Err(error));
    }
    let refused = write_connect_error(&mut out, "/", "a", Some(b"{"));
    assert_eq!(refused, Err(EncodeError::Malformed));
    let data = &deep.as_bytes()[1..];
    assert_eq!(write_connect_error(&mut out, "/", "a", Some(data)), Err(EncodeError::Depth));
    assert_eq!(out, b"kept");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..64_u32, any::<u64>()).prop_map(|(shift, bits)| Value::from(bits >> shift)),
        (0..64_u32, any::<i64>()).prop_map(|(shift, bits)| Value::from(bits >> shift)),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 80, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_string()), "/.{0,40}"]
}

fn blobs() -> impl Strategy<Value = Vec<Bytes>> {
    let blob = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    prop::collection::vec(blob, 0..20)
}

proptest! {
    #[test]
    fn m35_reading_a_written_event_gives_the_event(
        namespace in namespace(), id in prop::option::of(0..=ID_MAX), name: String,
        value in value(), blobs in blobs(),
    ) {
        prop_assume!(!RESERVED_EVENTS.contains(&&*name));
        let (mut args, mut attachments, mut text) = (Vec::new(), Vec::new(), Vec::new());
        (&value, &blobs).write(&mut args, &mut attachments).unwrap();
        let out =
            written(|out| write_event(out, &namespace, id, &name, &args, &attachments));
        exercise(&out);
        let (packet, found) = decode(&out, &mut text, &Limits::default()).unwrap();
        prop_assert_eq!(packet.kind == Kind::BinaryEvent, !blobs.is_empty());
        prop_assert_eq!((packet.namespace, packet.id), (&*namespace, id));
        prop_assert_eq!((&packet.attachments, &found), (&blobs.len(), &blobs));
        let meant = Body::Event { name: name.into(), args: &args[1..] };
        prop_assert_eq!(packet.body, meant);
    }

    #[test]
    fn m35_reading_a_written_acknowledgement_gives_the_acknowledgement(
        namespace in namespace(), id in 0..=ID_MAX, value in value(), blobs in blobs(),
    ) {
        let (mut args, mut attachments, mut text) = (Vec::new(), Vec::new(), Vec::new());
        (&blobs, &value).write(&mut args, &mut attachments).unwrap();
        let out = written(|out| write_ack(out, &namespace, id, &args, &attachments));
        exercise(&out);
        let (packet, found) = decode(&out, &mut text, &Limits::default()).unwrap();
        prop_assert_eq!((packet.namespace, packet.id), (&*namespace, Some(id)));
        prop_assert_eq!(found, blobs);
        prop_assert_eq!(packet.body, Body::Ack { args: &args[1..] });
    }

    #[test]
    fn m35_numbers_keep_their_value_however_they_are_written(
        digits in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let mut text = Vec::new();
        let args = format!(",{digits}");
        let out = written(|out| write_ack(out, "/", 1, args.as_bytes(), &[]));
        decode(&out, &mut text, &Limits::default()).unwrap();
        let found = std::str::from_utf8(&text).unwrap();
        match digits.parse::<f64>().unwrap() {
            value if value.is_finite() => prop_assert_eq!(found.parse::<f64>().unwrap(), value),
            _ => prop_assert_eq!(found, "null"),
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes: Vec<u8>) {
        exercise(&bytes);
    }

    #[test]
    fn no_arguments_break_the_reader(count in 0..6_u8, bytes: Vec<u8>) {
        exercise(&event(&[&[0x90 | count][..], b"\xa1a", &bytes].concat()));
    }

    #[test]
    fn no_change_of_one_byte_breaks_the_reader(place: prop::sample::Index, byte: u8) {
        let list = b"\x96\xa1a\xc4\x02ab\x82\xa1k\xc3\x05\xd4\x00\x00\
                     \xd7\x00\x00\x00\x00\xdf\xb7\x62\x9c\x00\xc7\x02\x05xy\xcd\x01\x00";
        let mut bytes = event(list);
        exercise(&bytes);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        exercise(&bytes);
        bytes.truncate(place);
        exercise(&bytes);
    }

    #[test]
    fn no_text_breaks_the_writer(
        text in "(,|[\\[\\]{}:, ]|\"[a\\\\u0-9\"\n]{0,6}\"|-?[0-9.eE+-]{1,5}|true|null){0,12}",
    ) {
        exercise(text.as_bytes());
    }
}
