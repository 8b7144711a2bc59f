//! The vulnerabilities that servers like this one have had, by number, and the limits against them.

use std::time::{Duration, Instant};

use fanfare::{Auth, Raw, Socket};
use serde_json::Value;

use crate::client::{Client, Received};
use crate::fixture::{Fixture, each, log, options};
use crate::violations::prepare;

/// Sends what closes the session, and makes sure that another client is served meanwhile.
fn refuses(server: &Fixture, neighbour: &mut Client, text: &str) {
    let mut client = server.client();
    client.send_all(&[text]);
    client.expect_closed();
    neighbour.expect_quiet();
}

fn all_close(texts: &[String]) {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            for name in ["hello", "chat"] {
                io.of("/").on(name, async |raw: Raw, socket: Socket| {
                    socket.emit("seen", raw);
                });
            }
        });
        for chunk in texts.chunks(80) {
            let mut neighbour = server.client();
            chunk.iter().for_each(|text| refuses(&server, &mut neighbour, text));
        }
        assert_eq!(server.count(|stats| stats.handlers_panicked), 0);
    });
}

#[test]
fn m34_cve_2023_32695_an_event_name_is_a_string_or_a_number() {
    let names = ["[{\"toString\":\"foo\"}]", "[null]", "[true]", "[]", "[[]]", "{}"];
    all_close(&names.map(|name| format!("42{name}")));
}

#[test]
fn m34_cve_2022_2421_a_placeholder_names_an_attachment_that_is_there() {
    let numbers = ["\"splice\"", "\"0\"", "-1", "1", "0.5", "1e99", "null", "true", "{}", "[]"];
    let event = |num| format!("451-[\"hello\",{{\"_placeholder\":true,\"num\":{num}}}]");
    let mut texts: Vec<String> = numbers.iter().map(event).collect();
    texts.push("451-[\"hello\",{\"_placeholder\":true}]".to_owned());
    all_close(&texts);
}

#[test]
fn m34_cve_2024_38355_an_event_named_error_is_an_ordinary_event() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        let mut client = server.client();
        client.send("42[\"error\",1]");
        events.expect(&["error: 1; 0"]);
        client.expect_quiet();
        let bare = Fixture::start(shards, |_| {});
        let mut client = bare.client();
        client.send("42[\"error\"]");
        client.expect_quiet();
    });
}

#[test]
fn m34_cve_2026_33151_attachments_are_ten_at_most() {
    let more = ["11", "12", "1000000000", "2147483647", "4294967297", "18446744073709551617"];
    all_close(&more.map(|count| format!("45{count}-[\"hello\"]")));
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| prepare(io, &log));
        let mut client = server.client();
        client.send("4510-[\"a\"]");
        (0..10).for_each(|_| client.send_binary(b"x"));
        events.expect(&["a: ; 10"]);
    });
}

#[test]
fn m34_cve_2026_33151_the_attachments_of_a_packet_are_one_message_together() {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards).max_http_buffer_size(1000);
        let server = Fixture::with(options, |io| prepare(io, &log));
        let mut client = server.client();
        client.send("452-[\"a\"]");
        client.send_binary(&[0; 500]);
        client.send_binary(&[0; 500]);
        events.expect(&["a: ; 2"]);
        client.send("452-[\"a\"]");
        client.send_binary(&[0; 500]);
        client.send_binary(&[0; 501]);
        client.expect_closed();
        events.expect(&["gone: forced close"]);
    });
}

#[test]
fn m34_cve_2026_69185_a_binary_packet_has_an_attachment() {
    all_close(&["450-[\"hello\"]".to_owned(), "450-".to_owned(), "460-1[]".to_owned()]);
}

#[test]
fn m34_cve_2020_36049_a_packet_id_is_a_number_that_javascript_has() {
    let digits = [17, 20, 100, 1000, 999_000].map(|count| "2".repeat(count));
    let texts = digits.map(|digits| format!("42{digits}[\"hello\"]"));
    let before = Instant::now();
    all_close(&texts);
    // A string that grows digit by digit would take minutes.
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[test]
fn cve_2026_48804_m37_a_half_received_packet_ends_its_session() {
    each(|shards| {
        let (log, events) = log();
        let wait = Duration::from_millis(50);
        let options = options(shards).limits(|limits| limits.attachments_timeout = wait);
        let server = Fixture::with(options, |io| prepare(io, &log));
        let mut client = server.client();
        client.send("452-[\"a\"]");
        client.send_binary(b"x");
        client.expect_closed();
        events.expect(&["gone: parse error"]);
    });
}

#[test]
fn m36_json_128_deep_is_relayed_and_129_closes() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("chat", async |raw: Raw, socket: Socket| {
                socket.emit("chat", raw);
            });
        });
        // The list of the packet is the first level.
        let event = |depth: usize| {
            format!("42[\"chat\",{}{}]", "[".repeat(depth - 1), "]".repeat(depth - 1))
        };
        let mut client = server.client();
        client.send(&event(128));
        client.expect(&[&event(128)]);
        refuses(&server, &mut client, &event(129));
        refuses(&server, &mut client, &event(5_000));
    });
}

#[test]
fn m36_what_json_parse_accepts_is_relayed_as_it_came() {
    let number = "9".repeat(500_000);
    let values = [
        "\"\\ud800\"",
        "1e400",
        "{\"a\":1,\"a\":2}",
        &number,
        "{\"__proto__\":{\"x\":1}}",
        "\"\\u0000\"",
        "{\"_placeholder\":true,\"num\":0}",
        "-0.0e-1",
    ];
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("chat", async |raw: Raw, socket: Socket| {
                socket.emit("chat", raw);
            });
        });
        let mut client = server.client();
        for value in values {
            client.send(&format!("42[\"chat\",{value}]"));
            client.expect(&[&format!("42[\"chat\",{value}]")]);
        }
    });
}

#[test]
fn m34_reserved_events_of_a_client_close_its_session() {
    let names = [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ];
    all_close(&names.map(|name| format!("42[\"{name}\",\"forged\"]")));
    all_close(&["42[\"dis\\u0063onnect\"]".to_owned()]);
}

/// Names that every JavaScript object has from birth, and one that none has.
const NAMES: [&str; 5] = ["__proto__", "constructor", "hasOwnProperty", "toString", "xyzzy"];

#[test]
fn m34_names_of_object_prototypes_are_names_like_any_other() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let log = log.clone();
            io.of("/").on("join", async move |socket: Socket, raw: Raw| {
                let (room, _) = raw.split_first::<String>().unwrap();
                socket.join(&room);
                log.add(socket.rooms().len());
            });
        });
        for name in NAMES {
            let mut client = server.client();
            client.send(&format!("42[\"{name}\",1]"));
            client.send(&format!("42[\"join\",\"{name}\"]"));
            events.expect(&["2"]);
            server.io.to(name).emit("there", name);
            client.expect(&[&format!("42[\"there\",\"{name}\"]")]);
            server.io.except(name).emit("elsewhere", name);
            client.send(&format!("40/{name},"));
            client.expect(&[&format!("44/{name},{{\"message\":\"Invalid namespace\"}}")]);
        }
    });
}

#[test]
fn m34_names_of_object_prototypes_are_found_where_a_client_put_them_and_nowhere_else() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::with(options(shards).keep_handshake(true), |io| {
            let children = io.of_pattern("^/.+$").expect("a pattern");
            children.on_connect(async move |socket: Socket, Auth(auth): Auth<Value>| {
                let handshake = socket.handshake().expect("it is kept");
                let found = NAMES.map(|name| {
                    let (query, header) = (handshake.query(name), handshake.header(name));
                    (query.is_some(), header.is_some(), auth.get(name).is_some())
                });
                log.add(format!("{} {found:?}", socket.nsp().name()));
            });
        });
        for name in NAMES {
            let query = format!("&{name}=1");
            let mut client = Client::open_with(server.address, &query, &[(name, "1")]);
            client.send(&format!("40/{name},{{\"{name}\":1}}"));
            assert!(client.text().starts_with(&format!("40/{name},{{\"sid\":")));
            let found = NAMES.map(|other| (other == name, other == name, other == name));
            events.expect(&[&format!("/{name} {found:?}")]);
            client.send(&format!("42/{name},[\"{name}\",{{\"{name}\":1}}]"));
            client.send("40/is-open,{}");
            assert!(client.text().starts_with("40/is-open,"));
            events.next();
        }
    });
}

#[test]
fn m39_a_hundred_refused_connects_are_answered_and_the_next_one_closes() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        let refused = "44/x,{\"message\":\"Invalid namespace\"}";
        client.send_all(&["40/x,"; 100]);
        client.expect(&[refused; 100]);
        client.send_all(&["40/x,"; 50]);
        client.expect_closed();
    });
}

#[test]
fn m39_a_session_joins_a_hundred_namespaces_and_no_more() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            (0..101).for_each(|index| drop(io.of(&format!("/{index}"))));
        });
        let mut client = server.open();
        for index in 0..100 {
            client.join(&format!("/{index}"));
        }
        client.send("40/100,");
        client.expect_closed();
    });
}

#[test]
fn m39_a_name_is_echoed_up_to_256_bytes_and_otherwise_closes() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        for name in ["\u{202e}rtl", "🎺", "a?b#c", "a b", "<script>"] {
            let mut client = server.open();
            client.send(&format!("40/{name},"));
            client.expect(&[&format!("44/{name},{{\"message\":\"Invalid namespace\"}}")]);
        }
        for (length, is_open) in [(256, true), (257, false), (1024, false), (1025, false)] {
            let mut client = server.open();
            client.send(&format!("40/{},", "n".repeat(length - 1)));
            match client.receive() {
                Received::Text(text) => assert!(is_open && text.len() > length, "{length}"),
                other => assert_eq!((other, is_open), (Received::Closed(None), false)),
            }
        }
    });
}

#[test]
fn m40_bytes_before_connect_are_64_kib_at_most() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.open();
        let pong = format!("3{}", "x".repeat(32_000));
        client.send_all(&[&pong, &pong]);
        client.expect_quiet();
        client.send_all(&[&pong]);
        client.expect_closed();
    });
}

#[test]
fn m41_auth_is_an_object_of_a_bounded_size_and_depth() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let large = format!("40{{\"a\":\"{}\"}}", "x".repeat(1_000_000 - 20));
        let deep = format!("40{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        for text in [&large, &deep, "40[]", "40\"x\"", "40null", "401.5", "40{\"a\":}"] {
            let mut client = server.open();
            client.send_all(&[text]);
            client.expect_closed();
        }
    });
}
