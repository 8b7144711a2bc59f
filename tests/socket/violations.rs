//! What a client must not send, and what it may: the tables of the reference's answers.

use fanfare::{EventName, Raw, Server};

use crate::client::Polling;
use crate::fixture::{Events, Fixture, Log, each, log};

/// A message of a client.
#[derive(Clone, Copy)]
enum Sent<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

use Sent::{Binary, Text};

/// What the server does with the session, and answers before.
enum Fate<'a> {
    Open(&'a [&'a str]),
    Closed,
}

use Fate::{Closed, Open};

/// What the application sees of it.
type Seen<'a> = &'a [&'a str];

/// Handlers that log events as `name: arguments; attachments`.
pub fn prepare(io: &Server, log: &Log) {
    log.log_disconnects(io);
    for name in ["a", "", "1", "fr", "__proto__", "error", "toString", "constructor"] {
        let log = log.clone();
        io.of("/").on(name, async move |EventName(name): EventName, raw: Raw| {
            let args = String::from_utf8_lossy(raw.args()).into_owned();
            log.add(format!("{name}: {args}; {}", raw.attachments().len()));
        });
    }
    io.of("/admin");
}

fn exchange(server: &Fixture, events: &Events, sent: &[Sent<'_>], fate: &Fate<'_>, seen: Seen<'_>) {
    let mut client = server.client();
    for message in sent {
        match message {
            Text(text) => client.send_all(&[text]),
            Binary(data) => client.send_binary(data),
        }
    }
    match fate {
        Closed => client.expect_closed(),
        Open(replies) => {
            for reply in *replies {
                let text = client.text();
                let joined = text.starts_with(reply) && reply.ends_with("\"sid\":\"");
                assert!(text == *reply || joined, "{text}");
            }
            client.expect_quiet();
        }
    }
    drop(client);
    events.expect(seen);
    assert_eq!(events.rest(), [""; 0]);
}

/// Runs a table: name, messages, fate, what the application sees before the end, why it ended.
fn check(rows: &[(&str, &[Sent<'_>], Fate<'_>, Seen<'_>, &str)]) {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        for (name, sent, fate, seen, reason) in rows {
            println!("{name}");
            let gone = format!("gone: {reason}");
            let mut seen = seen.to_vec();
            if !reason.is_empty() {
                seen.push(&gone);
            }
            exchange(&server, &events, sent, fate, &seen);
        }
    });
}

const FORCED: &str = "forced close";
const LEFT: &str = "transport close";
const BROKE: &str = "transport error";

#[test]
fn m33_engine_packets_after_connect_are_answered_as_by_the_reference() {
    let pongs = [Text("3"); 1000];
    check(&[
        ("empty text frame", &[Text("")], Closed, &[], "parse error"),
        ("open 0", &[Text("0")], Open(&[]), &[], LEFT),
        // The reference ignores it; who leaves is better let go.
        ("close 1", &[Text("1")], Closed, &[], LEFT),
        ("ping 2", &[Text("2")], Closed, &[], BROKE),
        ("ping 2probe", &[Text("2probe")], Closed, &[], BROKE),
        ("unsolicited pong 3", &[Text("3")], Open(&[]), &[], LEFT),
        ("pong 3 x1000", &pongs, Open(&[]), &[], LEFT),
        ("upgrade 5", &[Text("5")], Open(&[]), &[], LEFT),
        ("noop 6", &[Text("6")], Open(&[]), &[], LEFT),
        ("unknown 7", &[Text("7")], Closed, &[], "parse error"),
        ("unknown 9", &[Text("9")], Closed, &[], "parse error"),
        ("4 alone", &[Text("4")], Closed, &[], FORCED),
        ("unexpected binary", &[Binary(b"xyz")], Closed, &[], FORCED),
        ("empty binary", &[Binary(b"")], Closed, &[], FORCED),
    ]);
}

#[test]
fn m33_p14_4_connects_after_connect_are_answered_as_by_the_reference() {
    let invalid = |name: &str| format!("44{name},{{\"message\":\"Invalid namespace\"}}");
    let (unknown, query) = (invalid("/unknown"), invalid("/admin?x=1"));
    let (proto, nul, crlf) = (invalid("/__proto__"), invalid("/a\0b"), invalid("/a\r\nX: y"));
    let long = format!("40/{},", "a".repeat(100_000));
    check(&[
        ("40 twice", &[Text("40")], Closed, &[], FORCED),
        ("40 bad json", &[Text("40{")], Closed, &[], FORCED),
        ("40 array", &[Text("40/admin,[]")], Closed, &[], FORCED),
        ("40 string", &[Text("40/admin,\"x\"")], Closed, &[], FORCED),
        ("40 null", &[Text("40/admin,null")], Closed, &[], FORCED),
        ("40/unknown,", &[Text("40/unknown,")], Open(&[&unknown]), &[], LEFT),
        ("40/admin,", &[Text("40/admin,")], Open(&["40/admin,{\"sid\":\""]), &[], LEFT),
        ("no comma", &[Text("40/admin")], Open(&["40/admin,{\"sid\":\""]), &[], LEFT),
        ("ignored id", &[Text("40/admin,7")], Open(&["40/admin,{\"sid\":\""]), &[], LEFT),
        ("40/admin?x=1,", &[Text("40/admin?x=1,")], Open(&[&query]), &[], LEFT),
        ("40/__proto__,", &[Text("40/__proto__,")], Open(&[&proto]), &[], LEFT),
        ("NUL in ns", &[Text("40/a\0b,")], Open(&[&nul]), &[], LEFT),
        ("ns CRLF", &[Text("40/a\r\nX: y,")], Open(&[&crlf]), &[], LEFT),
        // Stricter than the reference: names have a limit.
        ("ns 100KB", &[Text(&long)], Closed, &[], FORCED),
        ("44 from client", &[Text("44{}")], Closed, &[], FORCED),
        ("44 string", &[Text("44\"x\"")], Closed, &[], FORCED),
        ("44 number", &[Text("441")], Closed, &[], FORCED),
        ("41", &[Text("41")], Open(&[]), &[], "client namespace disconnect"),
        ("41 ignored id", &[Text("415")], Open(&[]), &[], "client namespace disconnect"),
        ("41 payload", &[Text("41{}")], Closed, &[], FORCED),
        (
            "41 then event",
            &[Text("41"), Text("42[\"a\"]")],
            Closed,
            &[],
            "client namespace disconnect",
        ),
        ("41/admin, not joined", &[Text("41/admin,")], Closed, &[], FORCED),
        ("42/admin not joined", &[Text("42/admin,[\"a\"]")], Closed, &[], FORCED),
        ("43/admin not joined", &[Text("43/admin,1[]")], Closed, &[], FORCED),
    ]);
}

#[test]
fn b36_15_m33_events_after_connect_are_answered_as_by_the_reference() {
    let deep = format!("42[\"a\",{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    check(&[
        ("42 no payload", &[Text("42")], Open(&[]), &[], LEFT),
        ("42 {}", &[Text("42{}")], Closed, &[], FORCED),
        ("42 []", &[Text("42[]")], Closed, &[], FORCED),
        ("42 [null]", &[Text("42[null]")], Closed, &[], FORCED),
        ("42 [1] number event", &[Text("42[1,2]")], Open(&[]), &["1: 2; 0"], LEFT),
        ("42 [true]", &[Text("42[true]")], Closed, &[], FORCED),
        ("42 [{}]", &[Text("42[{}]")], Closed, &[], FORCED),
        ("42 truncated", &[Text("42[\"a\"")], Closed, &[], FORCED),
        ("42 trailing junk", &[Text("42[\"a\"]x")], Closed, &[], FORCED),
        ("42 space", &[Text("42 [\"a\"]")], Open(&[]), &["a: ; 0"], LEFT),
        ("__proto__", &[Text("42[\"__proto__\",1]")], Open(&[]), &["__proto__: 1; 0"], LEFT),
        ("empty event name", &[Text("42[\"\",1]")], Open(&[]), &[": 1; 0"], LEFT),
        ("ack id 0", &[Text("420[\"a\"]")], Open(&[]), &["a: ; 0"], LEFT),
        ("ack id 2^53-1", &[Text("429007199254740991[\"a\"]")], Open(&[]), &["a: ; 0"], LEFT),
        // Stricter than the reference, in which such an id is another number.
        ("ack id 2^53", &[Text("429007199254740992[\"a\"]")], Closed, &[], FORCED),
        ("43 unknown id", &[Text("4399[1]")], Open(&[]), &[], LEFT),
        ("43 no id", &[Text("43[1]")], Open(&[]), &[], LEFT),
        ("43 no payload", &[Text("43")], Open(&[]), &[], LEFT),
        ("43 not array", &[Text("431{}")], Closed, &[], FORCED),
        ("47 unknown type", &[Text("47")], Closed, &[], FORCED),
        ("4a", &[Text("4a")], Closed, &[], FORCED),
        (
            "lone surrogate",
            &[Text("42[\"a\",\"\\ud800\"]")],
            Open(&[]),
            &["a: \"\\ud800\"; 0"],
            LEFT,
        ),
        // Stricter than the reference, whose applications die of relaying it.
        ("42 depth 20000", &[Text(&deep)], Closed, &[], FORCED),
    ]);
}

#[test]
fn b36_11_b36_12_b37_13_b37_14_b37_15_b37_16_m33_m37_binary_packets_after_connect() {
    let place = |num: &str| format!("451-[\"a\",{{\"_placeholder\":true,\"num\":{num}}}]");
    let [zero, one, minus, half, text] = ["0", "1", "-1", "0.5", "\"0\""].map(place);
    let twice = "452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}]";
    let deep = format!("451-[\"a\",{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    let seen = "a: {\"_placeholder\":true,\"num\":0}; 1";
    let seen_twice = "a: {\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}; 2";
    check(&[
        ("45 bare", &[Text("45")], Closed, &[], FORCED),
        ("45 no dash", &[Text("451[\"a\"]")], Closed, &[], FORCED),
        ("450-", &[Text("450-[\"a\"]")], Closed, &[], FORCED),
        ("45 -1", &[Text("45-1-[\"a\"]")], Closed, &[], FORCED),
        ("45 11 attachments", &[Text("4511-[\"a\"]")], Closed, &[], FORCED),
        ("45 10, then close", &[Text("4510-[\"a\"]"), Text("1")], Closed, &[], LEFT),
        ("451 + text", &[Text(&zero), Text("42[\"a\"]")], Closed, &[], FORCED),
        ("451 + binary", &[Text(&zero), Binary(b"xyz")], Open(&[]), &[seen], LEFT),
        ("451 + pong + binary", &[Text(&zero), Text("3"), Binary(b"x")], Open(&[]), &[seen], LEFT),
        ("451 + empty", &[Text(&zero), Binary(b"")], Open(&[]), &[seen], LEFT),
        ("451 num=1", &[Text(&one)], Closed, &[], FORCED),
        ("451 num=-1", &[Text(&minus)], Closed, &[], FORCED),
        // Stricter than the reference, which hands the application an undefined.
        ("451 num=0.5", &[Text(&half)], Closed, &[], FORCED),
        ("451 num=\"0\"", &[Text(&text)], Closed, &[], FORCED),
        ("no placeholder", &[Text("451-[\"a\"]"), Binary(b"x")], Open(&[]), &["a: ; 1"], LEFT),
        (
            "placeholder twice",
            &[Text(twice), Binary(b"x"), Binary(b"y")],
            Open(&[]),
            &[seen_twice],
            LEFT,
        ),
        ("451 bad event", &[Text("451-[null]")], Closed, &[], FORCED),
        ("451 depth 20000", &[Text(&deep)], Closed, &[], FORCED),
        ("461 unknown id", &[Text("461-9[1]"), Binary(b"x")], Open(&[]), &[], LEFT),
        ("one too many", &[Text(&zero), Binary(b"x"), Binary(b"y")], Closed, &[seen], FORCED),
    ]);
}

#[test]
fn m33_p14_5_before_connect_there_is_nothing_but_connect() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        let texts = ["42[\"a\"]", "41", "431[]", "44{}", "451-[\"a\"]", "garbage", "4garbage"];
        for text in texts {
            let mut client = server.open();
            client.send(text);
            if text.starts_with("45") {
                client.send_binary(b"x");
            }
            client.expect_closed();
        }
        let mut client = server.open();
        client.send_binary(b"xyz");
        client.expect_closed();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn b21_6_a_second_connect_closes_the_session() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let polling = Polling::open(server.address);
        polling.post("40");
        polling.post("40");
        assert!(polling.get().starts_with("40{\"sid\":"));
        assert_eq!(polling.get(), "6\u{1e}1");
        assert_eq!(polling.start_get().finish().0, 400, "the session is over");
    });
}

#[test]
fn b21_7_an_event_before_connect_closes_the_session() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let polling = Polling::open(server.address);
        polling.post("42[\"a\"]");
        assert_eq!(polling.get(), "6\u{1e}1");
    });
}

#[test]
fn b21_8_b32_6_an_undecodable_packet_closes_the_session() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        let polling = Polling::open(server.address);
        polling.post("40");
        polling.post("4abc");
        events.expect(&["gone: forced close"]);
        assert!(polling.get().starts_with("40{\"sid\":"));
        assert_eq!(polling.get(), "6\u{1e}1");
    });
}

#[test]
fn p14_2_a_held_poll_sees_the_close_at_once() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        let polling = server.polling();
        let held = polling.start_get();
        // Its end shows that the server has read the GET, which was sent before.
        drop(server.client());
        events.expect(&["gone: transport close"]);
        polling.post("4abc");
        let answer = held.finish().1;
        // With two shards it may still have been on its way from one to the other.
        assert!(answer == "1" || (shards > 1 && answer == "6\u{1e}1"), "{answer}");
    });
}
