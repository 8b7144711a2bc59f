//! Tests of the codec.

use super::*;
use crate::base::limits::JSON_DEPTH_MAX;
use crate::proto::json::Arguments;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

fn read(text: &str) -> Result<Packet<'_>, DecodeError> {
    decode(text.as_bytes(), &Limits::default())
}

fn packet<'a>(kind: Kind, namespace: &'a str, id: Option<u64>, body: Body<'a>) -> Packet<'a> {
    Packet { kind, attachments: 0, namespace, id, body }
}

fn event<'a>(name: &'a str, args: &'a str) -> Body<'a> {
    Body::Event { name: name.into(), args: args.as_bytes() }
}

fn refused(texts: &[&str], error: DecodeError) {
    for text in texts {
        assert_eq!(read(text), Err(error), "{text}");
    }
}

fn not_json(texts: &[&str]) {
    for text in texts {
        let error = read(text);
        assert!(matches!(error, Err(DecodeError::Json(JsonError::Syntax { .. }))), "{error:?}");
    }
}

// security.md §7, rows that the reference takes; behaviours.md 36.2 to 36.9
#[test]
fn b36_2_b36_3_b36_4_b36_5_b36_6_b36_7_b36_8_b36_9_what_the_reference_takes_is_taken() {
    let connect = |namespace, auth: &'static str| {
        packet(Kind::Connect, namespace, None, Body::Connect(auth.as_bytes()))
    };
    for (text, meant) in [
        ("0", connect("/", "{}")),
        ("01", connect("/", "{}")),
        ("0{\"token\":\"123\"}", connect("/", "{\"token\":\"123\"}")),
        ("0/woot,{\"token\":\"123\"}", connect("/woot", "{\"token\":\"123\"}")),
        ("0/custom", connect("/custom", "{}")),
        ("0/custom,", connect("/custom", "{}")),
        ("0/,", connect("/", "{}")),
        ("0/", connect("/", "{}")),
        ("0/unknown,", connect("/unknown", "{}")),
        ("0/admin?x=1,", connect("/admin?x=1", "{}")),
        ("0/__proto__,", connect("/__proto__", "{}")),
        ("0/a\0b,", connect("/a\0b", "{}")),
        ("0/a\r\nX: y,", connect("/a\r\nX: y", "{}")),
        ("0/\u{202e}é\u{1f600}#,", connect("/\u{202e}é\u{1f600}#", "{}")),
        ("1", packet(Kind::Disconnect, "/", None, Body::None)),
        ("15", packet(Kind::Disconnect, "/", None, Body::None)),
        ("1/woot,", packet(Kind::Disconnect, "/woot", None, Body::None)),
        ("1/ns,5", packet(Kind::Disconnect, "/ns", None, Body::None)),
        ("2", packet(Kind::Event, "/", None, Body::None)),
        ("27", packet(Kind::Event, "/", Some(7), Body::None)),
        ("2[\"a\",1,{}]", packet(Kind::Event, "/", None, event("a", "1,{}"))),
        ("2[1,\"a\",{}]", packet(Kind::Event, "/", None, event("1", "\"a\",{}"))),
        ("2[1,2]", packet(Kind::Event, "/", None, event("1", "2"))),
        ("2/test,1[\"a\",1,{}]", packet(Kind::Event, "/test", Some(1), event("a", "1,{}"))),
        ("2/admin,[\"a\"]", packet(Kind::Event, "/admin", None, event("a", ""))),
        ("2[\"__proto__\",1]", packet(Kind::Event, "/", None, event("__proto__", "1"))),
        ("2[\"\",1]", packet(Kind::Event, "/", None, event("", "1"))),
        ("20[\"a\"]", packet(Kind::Event, "/", Some(0), event("a", ""))),
        ("2007[\"a\"]", packet(Kind::Event, "/", Some(7), event("a", ""))),
        ("2[\"a\",\"\\ud800\"]", packet(Kind::Event, "/", None, event("a", "\"\\ud800\""))),
        ("2[\"a\",1e400]", packet(Kind::Event, "/", None, event("a", "1e400"))),
        ("3123[]", packet(Kind::Ack, "/", Some(123), Body::Ack { args: b"" })),
        ("3/back,123[1]", packet(Kind::Ack, "/back", Some(123), Body::Ack { args: b"1" })),
        ("3[1]", packet(Kind::Ack, "/", None, Body::Ack { args: b"1" })),
        ("3", packet(Kind::Ack, "/", None, Body::None)),
        ("4\"Unauthorized\"", packet(Kind::ConnectError, "/", None, Body::Error)),
        ("4{\"message\":\"x\"}", packet(Kind::ConnectError, "/", None, Body::Error)),
        ("4/ns,", packet(Kind::ConnectError, "/ns", None, Body::Error)),
    ] {
        assert_eq!(read(text), Ok(meant), "{text}");
    }
}

// security.md §7, rows that end the session; behaviours.md 36.11, 36.15
#[test]
fn b36_11_b36_15_every_packet_that_the_reference_refuses_is_refused() {
    refused(&[""], DecodeError::Empty);
    refused(&["7", "9", "a", "x", "-1", " ", "/", "[\"a\"]", "é"], DecodeError::UnknownKind);
    refused(&["0[]", "0\"x\"", "0null", "01[]", "0/admin,[]"], DecodeError::IllegalPayload);
    refused(&["1{}", "1[]", "1/ns,[1]", "1x"], DecodeError::IllegalPayload);
    refused(
        &["2{}", "2[]", "2[null]", "2[true]", "2[{}]", "2[[]]", "2\"a\"", "2null", "21{}"],
        DecodeError::IllegalPayload,
    );
    refused(&["31{}", "3\"a\"", "3null", "61-{}", "51-{}"], DecodeError::IllegalPayload);
    refused(&["4[]", "4null", "4/ns,1[]"], DecodeError::IllegalPayload);
    refused(
        &[
            "5",
            "6",
            "5-",
            "50-[\"a\"]",
            "5[\"a\"]",
            "51[\"a\"]",
            "5-1-[\"a\"]",
            "5 1-[\"a\"]",
            "51.5-[\"a\"]",
            "5x-",
            "51e0-[\"a\"]",
            "500-[\"a\"]",
        ],
        DecodeError::IllegalAttachments,
    );
    not_json(&["0{", "0{a}", "0{}x", "0 1{"]);
    not_json(&["2[\"a\"", "2[\"a\"]x", "2[\"a\",]", "2x", "2[\"a", "2[\"a\nb\"]", "21x", "2 "]);
    not_json(&["31[", "31[1", "31x", "4x", "51-[\"a\"", "51-x"]);
}

#[test]
fn a_space_is_no_digit() {
    assert_eq!(read("2 [\"a\"]"), Ok(packet(Kind::Event, "/", None, event("a", ""))));
    refused(&["2 1[\"a\"]", "21 2[\"a\"]"], DecodeError::IllegalPayload);
}

#[test]
fn a_binary_packet_without_payload_is_refused() {
    refused(&["51-", "61-", "51-/a,", "61-/a,5"], DecodeError::IllegalPayload);
}

#[test]
fn cve_2023_32695_an_event_name_that_is_no_name_is_refused() {
    refused(
        &["2[{\"toString\":\"foo\"}]", "2[null]", "2[true]", "2[]", "2[[]]", "2{}"],
        DecodeError::IllegalPayload,
    );
    refused(&["51-[{\"_placeholder\":true,\"num\":0}]"], DecodeError::IllegalPayload);
}

#[test]
fn cve_2022_2421_a_placeholder_that_names_no_attachment_is_refused() {
    let wrong = DecodeError::Json(JsonError::Placeholder);
    for number in ["\"splice\"", "\"0\"", "-1", "1", "0.5", "1e99", "null"] {
        let placeholder = format!("{{\"_placeholder\":true,\"num\":{number}}}");
        for head in ["51-[\"hello\",", "61-5["] {
            refused(&[&format!("{head}{placeholder}]")], wrong);
            refused(&[&format!("{head}[{{\"a\":{placeholder}}}]]")], wrong);
        }
    }
    refused(&["51-[\"hello\",{\"_placeholder\":true}]"], wrong);
    assert!(read("2[\"hello\",{\"_placeholder\":true,\"num\":\"splice\"}]").is_ok());
    assert!(read("51-[\"a\"]").is_ok(), "attachments may go unused");
}

#[test]
fn cve_2024_38355_an_event_named_error_is_an_ordinary_event() {
    let meant = packet(Kind::Event, "/", None, event("error", ""));
    assert_eq!(read("2[\"error\"]"), Ok(meant));
}

// behaviours.md 36.12
#[test]
fn b36_12_cve_2026_33151_an_eleventh_attachment_is_refused() {
    let text = "510-[\"hello\",{\"_placeholder\":true,\"num\":9}]";
    assert_eq!(read(text).unwrap().attachments, 10);
    assert_eq!(read("501-[\"a\"]").unwrap().attachments, 1);
    refused(
        &["511-[\"hello\",{\"_placeholder\":true,\"num\":0}]", "611-1[]"],
        DecodeError::TooManyAttachments,
    );
    refused(
        &[
            "51000000000000-[\"hello\",{\"_placeholder\":true,\"num\":0}]",
            "52147483647-[\"a\"]",
            "599999999999999999999999999999-[\"a\"]",
        ],
        DecodeError::TooManyAttachments,
    );
    let limits = Limits { attachments: 11, ..Limits::default() };
    assert!(decode(b"511-[\"a\"]", &limits).is_ok());
}

// behaviours.md 37.16
#[test]
fn cve_2026_69185_a_binary_packet_of_no_attachments_is_refused() {
    refused(&["50-[\"hello\"]", "60-1[]", "5-[\"hello\"]"], DecodeError::IllegalAttachments);
}

#[test]
fn cve_2020_36049_a_very_long_id_is_refused_and_never_gathered() {
    let long = |digit: &str| ["2", &digit.repeat(1_000_000), "[\"a\"]"].concat();
    let (twos, zeros) = (long("2"), long("0"));
    assert_eq!(read(&twos), Err(DecodeError::IdTooLarge));
    assert_eq!(read(&zeros).unwrap().id, Some(0));
}

// security.md §1.1, §4 row 38
#[test]
fn an_id_is_an_exact_javascript_integer() {
    assert_eq!(read("29007199254740991[\"a\"]").unwrap().id, Some(ID_MAX));
    refused(
        &[
            "29007199254740992[\"a\"]",
            "39007199254740992[]",
            "299999999999999999999[\"a\"]",
            "09007199254740992",
        ],
        DecodeError::IdTooLarge,
    );
}

#[test]
fn m34_reserved_names_are_refused_however_they_are_written() {
    for name in RESERVED_EVENTS {
        refused(&[&format!("2[\"{name}\",1]")], DecodeError::ReservedEvent);
        refused(&[&format!("51-[\"{name}\"]")], DecodeError::ReservedEvent);
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        refused(&[&format!("2[\"{escaped}\"]")], DecodeError::ReservedEvent);
    }
    for name in ["Connect", "connection", "message", "connect ", "error", "constructor"] {
        assert!(read(&format!("2[\"{name}\"]")).is_ok());
    }
}

#[test]
fn names_that_javascript_knows_are_names_like_others() {
    for name in ["__proto__", "constructor", "hasOwnProperty", "toString", "xyzzy"] {
        let text = format!("2/{name},[\"{name}\",1]");
        let meant = format!("/{name}");
        assert_eq!(read(&text), Ok(packet(Kind::Event, &meant, None, event(name, "1"))));
    }
}

#[test]
fn an_event_name_is_copied_only_if_it_has_escapes() {
    let name = |text| match decode(text, &Limits::default()).unwrap().body {
        Body::Event { name, .. } => name,
        other => panic!("{other:?}"),
    };
    assert!(matches!(name("2[\"é\"]".as_bytes()), Cow::Borrowed("é")));
    assert!(matches!(name(b"2[-1.50e3]"), Cow::Borrowed("-1.50e3")));
    assert_eq!(name(b"2[\"\\u00e9\\n\"]"), "é\n");
    assert_eq!(name(b"2[\"\\ud800\"]"), "\u{fffd}");
}

// security.md §4 row 39
#[test]
fn m39_a_namespace_has_a_longest_name_and_is_utf8() {
    let longest = format!("/{}", "a".repeat(1023));
    assert_eq!(read(&format!("0{longest},")).unwrap().namespace, longest);
    refused(&[&format!("0{longest}a,"), &format!("2{longest}a")], DecodeError::NamespaceTooLong);
    let limits = Limits::default();
    assert_eq!(decode(b"0/\xff,", &limits), Err(DecodeError::NotUtf8));
    assert_eq!(decode(b"2[\"\xff\"]", &limits), Err(DecodeError::NotUtf8));
}

#[test]
fn m36_json_that_is_too_deep_is_refused_in_every_type() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    let texts = |depth: usize| {
        let inner = nested(depth - 1);
        [
            format!("0{{\"a\":{inner}}}"),
            format!("2[\"a\",{inner}]"),
            format!("31[{inner}]"),
            format!("51-[\"a\",{inner}]"),
            format!("61-1[{inner}]"),
            format!("4{{\"a\":{inner}}}"),
        ]
    };
    for text in texts(JSON_DEPTH_MAX) {
        assert!(read(&text).is_ok(), "{text}");
    }
    for text in texts(JSON_DEPTH_MAX + 1).iter().chain(&texts(20_000)) {
        refused(&[text], DecodeError::Json(JsonError::Depth));
    }
    let limits = Limits { json_depth: 2, ..Limits::default() };
    let deep = decode(b"2[\"a\",[[]]]", &limits);
    assert_eq!(deep, Err(DecodeError::Json(JsonError::Depth)));
}

// protocol.md §14.1 and §14.4; behaviours.md 36.2 to 36.9 and 37.1 to 37.12
#[test]
fn packets_are_written_as_the_reference_writes_them() {
    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"4".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }
    let sid = SocketId::new(1, 2, 3);
    let joined = format!("{{\"sid\":\"{sid}\"}}");
    for (found, meant) in [
        (written(|out| write_connect(out, "/", sid, None)), format!("40{joined}")),
        (written(|out| write_connect(out, "/admin", sid, None)), format!("40/admin,{joined}")),
        (
            written(|out| write_connect_error(out, "/x?y=1", "Invalid namespace", None)),
            "44/x?y=1,{\"message\":\"Invalid namespace\"}".into(),
        ),
        (
            written(|out| write_connect_error(out, "/", "a\"b", Some(b"{\"c\":1}"))),
            "44{\"message\":\"a\\\"b\",\"data\":{\"c\":1}}".into(),
        ),
        (written(|out| write_disconnect(out, "/")), "41".into()),
        (written(|out| write_disconnect(out, "/admin")), "41/admin,".into()),
        (written(|out| write_event(out, "/", None, "a", b"", 0)), "42[\"a\"]".into()),
        (
            written(|out| write_event(out, "/test", Some(1), "a\n", b",1,{}", 0)),
            "42/test,1[\"a\\n\",1,{}]".into(),
        ),
        (
            written(|out| write_event(out, "/cool", Some(23), "a", b",1", 2)),
            "452-/cool,23[\"a\",1]".into(),
        ),
        (written(|out| write_ack(out, "/", 123, b"", 0)), "43123[]".into()),
        (written(|out| write_ack(out, "/back", 0, b",1,2", 1)), "461-/back,0[1,2]".into()),
    ] {
        assert_eq!(found, meant);
    }
}

// protocol.md §17.2
#[test]
fn disconnect_reasons_have_the_texts_of_the_reference() {
    let texts = [
        (DisconnectReason::TransportClose, "transport close"),
        (DisconnectReason::TransportError, "transport error"),
        (DisconnectReason::PingTimeout, "ping timeout"),
        (DisconnectReason::ParseError, "parse error"),
        (DisconnectReason::ForcedClose, "forced close"),
        (DisconnectReason::ForcedServerClose, "forced server close"),
        (DisconnectReason::ClientNamespaceDisconnect, "client namespace disconnect"),
        (DisconnectReason::ServerNamespaceDisconnect, "server namespace disconnect"),
        (DisconnectReason::ServerShuttingDown, "server shutting down"),
    ];
    for (reason, text) in texts {
        assert_eq!(reason.to_string(), text);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (any::<i32>(), 1..9)
            .prop_map(|(high, low)| { Value::from(f64::from(high) + f64::from(low) / 16.0) }),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_string()), "/[^,]{0,12}"]
}

fn blobs() -> impl Strategy<Value = Vec<Bytes>> {
    let blob = prop::collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from);
    prop::collection::vec(blob, 0..5)
}

proptest! {
    // security.md §4 row 35
    #[test]
    fn m35_reading_a_written_event_gives_the_event(
        namespace in namespace(), id in prop::option::of(0..=ID_MAX), name: String,
        value in value(), blobs in blobs(),
    ) {
        prop_assume!(!RESERVED_EVENTS.contains(&&*name));
        let (mut args, mut attachments, mut out) = (Vec::new(), Vec::new(), Vec::new());
        (&value, &blobs).write(&mut args, &mut attachments).unwrap();
        prop_assert_eq!(&attachments, &blobs);
        write_event(&mut out, &namespace, id, &name, &args, attachments.len());
        exercise(&out);
        let packet = decode(&out, &Limits::default()).unwrap();
        prop_assert_eq!(packet.kind.is_binary(), !blobs.is_empty());
        prop_assert_eq!((packet.namespace, packet.id), (&*namespace, id));
        prop_assert_eq!(packet.attachments, blobs.len());
        let Body::Event { name: found, args } = packet.body else { panic!("no event") };
        prop_assert_eq!(found, name);
        let found: (Value, Vec<Bytes>) = json::from_args(args, &attachments).unwrap();
        prop_assert_eq!(found, (value, blobs));
    }

    #[test]
    fn m35_reading_a_written_acknowledgement_gives_the_acknowledgement(
        namespace in namespace(), id in 0..=ID_MAX, value in value(), blobs in blobs(),
    ) {
        let (mut args, mut attachments, mut out) = (Vec::new(), Vec::new(), Vec::new());
        (&blobs, &value).write(&mut args, &mut attachments).unwrap();
        write_ack(&mut out, &namespace, id, &args, attachments.len());
        exercise(&out);
        let packet = decode(&out, &Limits::default()).unwrap();
        prop_assert_eq!(packet.kind.is_binary(), !blobs.is_empty());
        prop_assert_eq!((packet.namespace, packet.id), (&*namespace, Some(id)));
        let Body::Ack { args } = packet.body else { panic!("no acknowledgement") };
        let found: (Vec<Bytes>, Value) = json::from_args(args, &attachments).unwrap();
        prop_assert_eq!(found, (blobs, value));
    }

    #[test]
    fn m35_reading_the_other_packets_gives_what_was_written(
        namespace in namespace(), message: String, value in value(), nonce: u64,
    ) {
        let read = |text: &[u8]| {
            let packet = decode(text, &Limits::default()).unwrap();
            assert_eq!((packet.namespace, packet.id), (&*namespace, None));
            (packet.kind, match packet.body {
                Body::Connect(auth) => Some(serde_json::from_slice::<Value>(auth).unwrap()),
                _ => None,
            })
        };
        let sid = SocketId::new(0, 1, nonce);
        let mut out = Vec::new();
        write_connect(&mut out, &namespace, sid, None);
        let auth = serde_json::json!({ "sid": sid.to_string() });
        prop_assert_eq!(read(&out), (Kind::Connect, Some(auth)));
        out.clear();
        write_disconnect(&mut out, &namespace);
        prop_assert_eq!(read(&out), (Kind::Disconnect, None));
        out.clear();
        let data = serde_json::to_vec(&value).unwrap();
        write_connect_error(&mut out, &namespace, &message, Some(&data));
        prop_assert_eq!(read(&out), (Kind::ConnectError, None));
        let start = out.iter().position(|&byte| byte == b'{');
        let start = start.filter(|_| !namespace.contains('{'));
        if let Some(start) = start {
            let error: Value = serde_json::from_slice(&out[start..]).unwrap();
            prop_assert_eq!(&error["message"], &message);
            prop_assert_eq!(&error["data"], &value);
        }
    }

    #[test]
    fn relayed_arguments_are_the_same_bytes(value in value(), blobs in blobs()) {
        let (mut args, mut attachments, mut out) = (Vec::new(), Vec::new(), Vec::new());
        (&blobs, &value).write(&mut args, &mut attachments).unwrap();
        write_event(&mut out, "/", None, "a", &args, attachments.len());
        let Body::Event { args: cut, .. } = decode(&out, &Limits::default()).unwrap().body
            else { panic!("no event") };
        let raw = json::Raw::new(cut.to_vec(), attachments).unwrap();
        let (mut relayed, mut passed_on) = (Vec::new(), Vec::new());
        raw.write(&mut relayed, &mut passed_on).unwrap();
        prop_assert_eq!((relayed, passed_on), (args, blobs));
    }

    #[test]
    fn no_text_breaks_the_reader(text: Vec<u8>) {
        exercise(&text);
    }

    #[test]
    fn nothing_that_looks_like_a_packet_breaks_the_reader(
        head in "[0-7]([0-9]{0,2}-)?(/[a-z,]{0,3})?[0-9]{0,3}",
        payload in "(\\[\"[a-z\\\\u0-9]{0,6}\"(,[0-9{}\\[\\]\"_:]{0,8})?\\])?",
    ) {
        exercise([head, payload].concat().as_bytes());
    }
}
