//! Socket.IO v4, which clients of version 2 speak over Engine.IO v3 (`protocol.md` §16): what is
//! not as in v5.
//!
//! A client is in `/` from the beginning. Where it asks for another namespace, a query behind the
//! name, `/chat?token=abc`, is what newer clients send as a JSON object. The answer has no payload;
//! a refusal is whatever JSON the application gives, or a string.

use super::http::Query;
use super::json;
use super::socket::{self, Body, DecodeError, Packet};
use crate::base::limits::Limits;

/// Reads the text of an Engine.IO message as a packet, and gives the query behind the name of its
/// namespace apart, empty when there is none. The packet has the name alone, and what a CONNECT
/// carries behind it does not count.
///
/// A query may be as long as that of a request: name and query together hold at most
/// [`Limits::target_bytes`].
///
/// # Errors
/// As [`socket::decode`].
pub fn decode<'a>(text: &'a [u8], limits: &Limits) -> Result<(Packet<'a>, &'a str), DecodeError> {
    let bytes_max = limits.namespace_bytes.max(limits.target_bytes);
    let mut packet = socket::decode_named(text, limits, bytes_max)?;
    let (name, query) = packet.namespace.split_once('?').unwrap_or((packet.namespace, ""));
    if name.len() > limits.namespace_bytes {
        return Err(DecodeError::NamespaceTooLong);
    }
    packet.namespace = name;
    if let Body::Connect(auth) = &mut packet.body {
        *auth = b"{}";
    }
    Ok((packet, query))
}

/// What a client authenticates with, as newer ones would send it: the parameters of the query of
/// its CONNECT as a JSON object of strings, `{}` for an empty query. One that is repeated has an
/// array of its values. Names are in alphabetical order.
pub fn auth_json(query: &str) -> Vec<u8> {
    let mut pairs: Vec<_> = Query::of_parameters(query).pairs().collect();
    // Stable: the values of a name keep their order.
    pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut out = vec![b'{'];
    for group in pairs.chunk_by(|(left, _), (right, _)| left == right) {
        let [(name, first), others @ ..] = group else { continue };
        separate(&mut out, b'{');
        json::write_string(&mut out, name);
        out.push(b':');
        if others.is_empty() {
            json::write_string(&mut out, first);
            continue;
        }
        out.push(b'[');
        for (_, value) in group {
            separate(&mut out, b'[');
            json::write_string(&mut out, value);
        }
        out.push(b']');
    }
    out.push(b'}');
    out
}

/// Appends a comma, unless the bracket that opens the list is the last byte.
fn separate(out: &mut Vec<u8>, open: u8) {
    if out.last() != Some(&open) {
        out.push(b',');
    }
}

/// Appends the answer to a client that has joined `namespace`. For `/` it is the first packet of
/// the session, which nobody has asked for.
pub fn write_connect(out: &mut Vec<u8>, namespace: &str) {
    out.push(b'0');
    socket::write_namespace(out, namespace);
}

/// Appends the answer of a middleware to a client that may not join `namespace`: `data_json`, JSON
/// text, or the message as a string when there is none. As in the reference `null`, `false`, `0`
/// and `""` are none.
///
/// A namespace that does not exist is refused as in v5, with [`socket::write_connect_error`].
pub fn write_error(out: &mut Vec<u8>, namespace: &str, message: &str, data_json: Option<&[u8]>) {
    out.push(b'4');
    socket::write_namespace(out, namespace);
    match data_json {
        None | Some(b"null" | b"false" | b"0" | b"\"\"") => json::write_string(out, message),
        Some(data) => out.extend_from_slice(data),
    }
}

/// The door for fuzzing: a packet is what it is in v5, but for the query; and every query is a JSON
/// object.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let limits = Limits::default();
    match (decode(bytes, &limits), socket::decode(bytes, &limits)) {
        (Ok((mut packet, query)), Ok(whole)) => {
            let named = [packet.namespace, "?", query].concat();
            assert!([packet.namespace, &*named].contains(&whole.namespace));
            packet.namespace = whole.namespace;
            if let Body::Connect(_) = whole.body {
                packet.body = whole.body.clone();
            }
            assert_eq!(packet, whole);
        }
        (Ok(_), refused) => assert_eq!(refused, Err(DecodeError::NamespaceTooLong)),
        (Err(_), whole) => assert!(whole.is_err(), "nothing is refused that v5 takes"),
    }
    let auth = auth_json(&String::from_utf8_lossy(bytes));
    assert_eq!(json::scan(&auth, limits.json_depth), Ok(json::Kind::Object));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::socket::Kind;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(Packet<'_>, &str), DecodeError> {
        decode(text.as_bytes(), &Limits::default())
    }

    fn connect(namespace: &str) -> Packet<'_> {
        let body = Body::Connect(b"{}");
        Packet { kind: Kind::Connect, attachments: 0, namespace, id: None, body }
    }

    fn auth(query: &str) -> String {
        String::from_utf8(auth_json(query)).unwrap()
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"4".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn b35_2_the_query_of_a_connect_is_given_apart() {
        for (text, namespace, query) in [
            ("0", "/", ""),
            ("0/chat", "/chat", ""),
            ("0/chat,", "/chat", ""),
            ("0/chat?token=abc", "/chat", "token=abc"),
            ("0/chat?token=abc,", "/chat", "token=abc"),
            ("0/chat?,", "/chat", ""),
            ("0/chat?a=1?b=2,", "/chat", "a=1?b=2"),
            ("0/?token=abc", "/", "token=abc"),
            ("0/__proto__?__proto__=1", "/__proto__", "__proto__=1"),
        ] {
            assert_eq!(read(text), Ok((connect(namespace), query)), "{text}");
        }
    }

    #[test]
    fn a_payload_of_a_connect_does_not_count() {
        let packet = connect("/chat");
        assert_eq!(read("0/chat?a=1,{\"a\":2}"), Ok((packet, "a=1")));
        assert_eq!(read("0/chat?a=1,[]"), Err(DecodeError::IllegalPayload));
    }

    #[test]
    fn the_query_is_taken_off_every_packet() {
        for (text, same) in [
            ("2/chat?token=abc,7[\"a\",1]", "2/chat,7[\"a\",1]"),
            ("3/chat?token=abc,7[1]", "3/chat,7[1]"),
            ("1/chat?token=abc,", "1/chat,"),
            ("51-/chat?token=abc,[\"a\"]", "51-/chat,[\"a\"]"),
            ("61-/chat?token=abc,7[]", "61-/chat,7[]"),
            ("2/?a,[\"a\"]", "2[\"a\"]"),
        ] {
            let (packet, query) = read(text).unwrap();
            assert!(!query.is_empty());
            assert_eq!(Ok(packet), socket::decode(same.as_bytes(), &Limits::default()), "{text}");
        }
        let (packet, _) = read("2[\"a?b\",\"?\"]").unwrap();
        let Body::Event { name, args } = packet.body else { panic!("an event") };
        assert_eq!((&*name, args), ("a?b", &b"\"?\""[..]));
    }

    #[test]
    fn m33_what_is_no_packet_of_v5_is_none_of_v4() {
        for text in ["", "7", "2{}", "2[]", "50-", "51[\"a\"]", "1/a,[1]", "2[\"connect\"]", "0[]"]
        {
            assert_eq!(read(text).err(), socket::decode(text.as_bytes(), &Limits::default()).err());
        }
    }

    #[test]
    fn a_query_may_be_longer_than_a_name() {
        let limits = Limits::default();
        let name = format!("/{}", "n".repeat(limits.namespace_bytes - 1));
        let query = "q".repeat(limits.target_bytes - limits.namespace_bytes - 1);
        assert_eq!(read(&format!("0{name}?{query},")), Ok((connect(&name), &*query)));
        for text in [format!("0{name}n?q,"), format!("0{name}?{query}q,")] {
            assert_eq!(read(&text), Err(DecodeError::NamespaceTooLong));
        }
    }

    #[test]
    fn b35_2_a_query_becomes_an_object_of_strings() {
        for (query, object) in [
            ("", "{}"),
            ("&&", "{}"),
            ("token=abc", r#"{"token":"abc"}"#),
            ("b=2&a=1", r#"{"a":"1","b":"2"}"#),
            ("a=1&b=2&a=3&a", r#"{"a":["1","3",""],"b":"2"}"#),
            ("a", r#"{"a":""}"#),
            ("=a", r#"{"":"a"}"#),
            ("a=b=c", r#"{"a":"b=c"}"#),
            ("a%2Cb=%22%5c%0A+%E2%82%AC", "{\"a,b\":\"\\\"\\\\\\n \u{20ac}\"}"),
            ("a=%F0%9F%98%80&a%20=%", "{\"a\":\"\u{1f600}\",\"a \":\"%\"}"),
            ("a=%ff", "{\"a\":\"\u{fffd}\"}"),
            ("__proto__=1&constructor=2", r#"{"__proto__":"1","constructor":"2"}"#),
        ] {
            assert_eq!(auth(query), object, "{query}");
        }
    }

    #[test]
    fn packets_are_written_as_the_reference_writes_them() {
        for (found, meant) in [
            (written(|out| write_connect(out, "/")), "40"),
            (written(|out| write_connect(out, "/chat")), "40/chat,"),
            (written(|out| write_error(out, "/mw", "plain", None)), "44/mw,\"plain\""),
            (written(|out| write_error(out, "/", "a\"b", None)), "44\"a\\\"b\""),
            (
                written(|out| write_error(out, "/mw", "plain", Some(b"{\"code\":1}"))),
                "44/mw,{\"code\":1}",
            ),
            (written(|out| write_error(out, "/", "plain", Some(b"[]"))), "44[]"),
            (
                written(|out| socket::write_connect_error(out, "/x", "Invalid namespace", None)),
                "44/x,{\"message\":\"Invalid namespace\"}",
            ),
        ] {
            assert_eq!(found, meant);
        }
        for nothing in ["null", "false", "0", "\"\""] {
            let found = written(|out| write_error(out, "/", "m", Some(nothing.as_bytes())));
            assert_eq!(found, "44\"m\"", "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn what_is_asked_with_is_what_arrives(
            name in "/[a-z]{0,8}",
            pairs in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..6),
        ) {
            let percent = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02x}")).collect()
            };
            let query: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
                .collect();
            let text = format!("0{name}?{},", query.join("&"));
            let (packet, query) = read(&text).unwrap();
            prop_assert_eq!(packet, connect(&name));
            let found: std::collections::BTreeMap<String, String> =
                serde_json::from_slice(&auth_json(query)).unwrap();
            prop_assert_eq!(found, pairs);
        }

        #[test]
        fn no_packet_breaks_the_reader(bytes: Vec<u8>) {
            exercise(&bytes);
        }

        #[test]
        fn no_query_breaks_the_reader(
            text in "[0-6](1-)?/[a?]{0,3}[?a=&%2,+é]{0,12},?[0-9]{0,2}(\\[\"a\"\\]|\\{\\})?",
        ) {
            exercise(text.as_bytes());
        }
    }
}
