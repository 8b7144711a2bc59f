//! Events in both directions: protocol.md §14.6 and §14.8, group 32 of the inventory.

use std::time::Duration;

use fanfare::{Data, Emitted, EventName, Raw, Server, Socket};
use serde_json::{Value, json};

use crate::client::Client;
use crate::fixture::{Fixture, each, log};

/// Relays every event `x` as `x`, its arguments untouched.
fn echo(io: &Server) {
    io.of("/").on("x", async |socket: Socket, raw: Raw| {
        socket.emit("x", raw);
    });
}

#[test]
fn b32_3_b32_5_b32_7_b32_8_events_and_their_arguments_go_both_ways() {
    let arguments = [
        "",
        ",\"random\"",
        ",1,\"2\",[3],{\"4\":null}",
        ",null",
        ",null,null",
        ",\"▲ ▼ ぐ 🎺 é\"",
        ",[],\"\",0,-1.5e3,false",
        ",{\"b\":1,\"a\":2}",
        ",[ \"spaced\" ]",
    ];
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let mut client = server.client();
        for arguments in arguments {
            client.send(&format!("42[\"x\"{arguments}]"));
            client.expect(&[&format!("42[\"x\"{arguments}]")]);
        }
    });
}

#[test]
fn p14_1_what_the_server_emits_is_compact_json_with_numbers_as_javascript_prints_them() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        let emit = |args: Value| server.io.emit("e", args);
        emit(json!({ "z": 1, "a": [1.5, -0.25, 1e21, null, true] }));
        server.io.emit("e", 1.0);
        server.io.emit("e", ("a\"b\\\n\u{1}", 'é', Some(1), None::<u8>));
        server.io.emit("e", f64::NAN);
        server.io.emit("ev\"il\n", ());
        let first = client.text();
        assert!(
            first == r#"42["e",{"z":1,"a":[1.5,-0.25,1e+21,null,true]}]"#
                || first == r#"42["e",{"a":[1.5,-0.25,1e+21,null,true],"z":1}]"#,
            "{first}"
        );
        client.expect(&[
            r#"42["e",1]"#,
            r#"42["e","a\"b\\\n\u0001","é",1,null]"#,
            r#"42["e",null]"#,
            r#"42["ev\"il\n"]"#,
        ]);
    });
}

#[test]
fn b32_4_b32_23_send_is_the_event_message() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("message", async |socket: Socket, Data(text): Data<String>| {
                socket.send((text, 2));
            });
        });
        let mut client = server.client();
        client.send("42[\"message\",\"hi\"]");
        client.expect(&["42[\"message\",\"hi\",2]"]);
    });
}

#[test]
fn p14_6_unknown_events_are_ignored_and_event_names_that_are_numbers_are_names() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("12", async move |EventName(name): EventName| log.add(name));
        });
        let mut client = server.client();
        client.send_all(&["42[\"unknown\",1]", "427[\"unknown\"]", "42[12]", "42[\"12\"]"]);
        client.expect_quiet();
        events.expect(&["12", "12"]);
    });
}

#[test]
fn b32_25_the_events_of_one_client_begin_in_order() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for name in ["a", "b"] {
                let log = log.clone();
                io.of("/nsp").on(name, async move |Data(n): Data<u32>, EventName(name)| {
                    log.add(format!("{name}{n}"));
                });
            }
            io.of("/nsp").on_connect(async |socket: Socket| socket.emit("ready", ()));
        });
        let mut client = server.open();
        client.join("/nsp");
        let texts: Vec<String> = (0..200)
            .map(|n| format!("42/nsp,[\"{}\",{n}]", if n % 3 == 0 { "a" } else { "b" }))
            .collect();
        client.send_all(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for n in 0..200 {
            events.expect(&[&format!("{}{n}", if n % 3 == 0 { "a" } else { "b" })]);
        }
    });
}

#[test]
fn a_handler_that_waits_lets_later_events_begin() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("n", async move |Data(n): Data<u64>| {
                log.add(format!("begins {n}"));
                fanfare::time::sleep(Duration::from_millis(40 * n)).await;
                log.add(format!("ends {n}"));
            });
        });
        let mut client = server.client();
        client.send_all(&["42[\"n\",3]", "42[\"n\",1]", "42[\"n\",2]"]);
        events.expect(&["begins 3", "begins 1", "begins 2", "ends 1", "ends 2", "ends 3"]);
    });
}

#[test]
fn p14_8_emits_keep_their_order_across_namespaces_and_broadcasts() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let io_too = io.clone();
            io.of("/other");
            io.of("/").on("go", async move |socket: Socket| {
                socket.join("room");
                for n in 0..50 {
                    socket.emit("direct", n);
                    io_too.emit("all", n);
                    io_too.of("/other").emit("other", n);
                    io_too.to("room").emit("room", n);
                }
            });
        });
        let mut client = server.client();
        client.join("/other");
        client.send("42[\"go\"]");
        for n in 0..50 {
            client.expect(&[
                &format!("42[\"direct\",{n}]"),
                &format!("42[\"all\",{n}]"),
                &format!("42/other,[\"other\",{n}]"),
                &format!("42[\"room\",{n}]"),
            ]);
        }
    });
}

#[test]
fn p14_8_emits_of_one_thread_keep_their_order_on_every_shard() {
    let server = Fixture::start(2, |_| {});
    let mut clients = server.client_on_each();
    for n in 0..500 {
        server.io.emit("n", n);
        server.io.to("nobody").emit("n", n);
    }
    for (client, _) in &mut clients {
        (0..500).for_each(|n| client.expect(&[&format!("42[\"n\",{n}]")]));
    }
}

#[test]
fn p14_6_events_after_the_client_has_left_are_not_delivered() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            let log = log.clone();
            io.of("/").on("x", async move || log.add("x"));
            io.of("/other");
        });
        let mut client = server.client();
        client.send_all(&["42[\"x\"]", "41", "42[\"x\"]"]);
        client.expect_closed();
        events.expect(&["x", "gone: client namespace disconnect"]);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn b32_40_b32_41_very_large_values_go_both_ways() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let mut client = server.client();
        let text = format!("42[\"x\",\"{}\"]", "é".repeat(490_000));
        client.send(&text);
        client.expect(&[&text]);
        let list = format!("42[\"x\",[{}1]]", "{\"a\":[1,2,3]},".repeat(60_000));
        client.send(&list);
        client.expect(&[&list]);
        let data: Vec<u8> = (0..999_000_u32).map(|n| n as u8).collect();
        let header = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]";
        client.send(header);
        client.send_binary(&data);
        client.expect(&[header]);
        client.expect_binary(&data);
    });
}

/// Emits, in one turn, what the test asks for: `n` for an ordinary event, `v` for a volatile one.
/// Then `end`.
fn emits_in_one_turn(io: &Server) {
    io.of("/").on("go", async |socket: Socket, Data(kinds): Data<String>| {
        for (index, kind) in kinds.chars().enumerate() {
            match kind {
                'n' => socket.emit("n", index),
                _ => socket.volatile().emit("v", index),
            };
        }
        socket.emit("end", ());
    });
}

/// What of each series reaches a client that is writable when it begins.
const VOLATILE: [(&str, &[&str]); 4] = [
    ("nv", &["42[\"n\",0]"]),
    ("v", &["42[\"v\",0]"]),
    ("vv", &["42[\"v\",0]"]),
    ("nvn", &["42[\"n\",0]", "42[\"n\",2]"]),
];

#[test]
fn b32_14_b32_16_b32_18_b32_22_volatile_events_over_websocket() {
    each(|shards| {
        let server = Fixture::start(shards, emits_in_one_turn);
        let mut client = server.client();
        for (kinds, received) in VOLATILE {
            client.send(&format!("42[\"go\",\"{kinds}\"]"));
            client.expect(received);
            client.expect(&["42[\"end\"]"]);
        }
        assert_eq!(server.count(|stats| stats.volatile_dropped), 3);
    });
}

#[test]
fn b32_13_b32_15_b32_17_b32_21_volatile_events_over_polling() {
    let (log, events) = log();
    let server = Fixture::start(1, |io| {
        emits_in_one_turn(io);
        log.log_disconnects(io);
    });
    let polling = server.polling();
    for (kinds, received) in VOLATILE {
        let held = polling.start_get();
        // Its end shows that the one shard has read the GET, which was sent before.
        drop(server.client());
        events.expect(&["gone: transport close"]);
        polling.post(&format!("42[\"go\",\"{kinds}\"]"));
        let expected = [received, &["42[\"end\"]"]].concat().join("\u{1e}");
        assert_eq!(held.finish(), (200, expected));
    }
    // No GET, not writable.
    polling.post("42[\"go\",\"v\"]");
    assert_eq!(polling.get(), "42[\"end\"]");
}

#[test]
fn b32_19_of_two_binary_volatiles_one_whole_packet_is_delivered() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("go", async |socket: Socket| {
                let data = bytes::Bytes::from_static(&[1, 2, 3]);
                assert_eq!(socket.volatile().emit("v", &data), Emitted::Queued);
                assert_eq!(socket.volatile().emit("v", (&data, &data)), Emitted::Dropped);
                socket.emit("end", ());
            });
        });
        let mut client = server.client();
        client.send("42[\"go\"]");
        client.expect(&["451-[\"v\",{\"_placeholder\":true,\"num\":0}]"]);
        client.expect_binary(&[1, 2, 3]);
        client.expect(&["42[\"end\"]"]);
    });
}

#[test]
fn b26_19_b26_20_b32_20_volatile_broadcasts() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let emitter = io.of("/").emitter();
            io.of("/").on("go", async move |Data(kinds): Data<String>| {
                for (index, kind) in kinds.chars().enumerate() {
                    match kind {
                        'n' => emitter.emit("n", index),
                        _ => emitter.clone().volatile().emit("v", index),
                    };
                }
                emitter.emit("end", ());
            });
        });
        let mut client = server.client();
        for (kinds, received) in VOLATILE {
            client.send(&format!("42[\"go\",\"{kinds}\"]"));
            client.expect(received);
            client.expect(&["42[\"end\"]"]);
        }
    });
}

#[test]
fn p14_8_a_message_crosses_the_upgrade_in_order() {
    each(|shards| {
        let server = Fixture::start(shards, echo);
        let polling = server.polling();
        let query = format!("&sid={}", polling.sid);
        let mut client = Client::probe(server.address, &query);
        polling.post("42[\"x\",1]");
        client.expect(&["3probe"]);
        server.io.emit("n", 2);
        let over_polling = polling.get();
        client.send("5");
        server.io.emit("n", 3);
        client.send("42[\"x\",4]");
        let mut seen: Vec<String> = over_polling.split('\u{1e}').map(str::to_owned).collect();
        seen.retain(|packet| packet != "6");
        while seen.len() < 4 {
            seen.push(client.text());
        }
        // The last two race: one comes from a thread, the other from the client.
        assert!(seen.contains(&"42[\"x\",4]".to_owned()), "{seen:?}");
        let position = |packet: &str| seen.iter().position(|one| one == packet).unwrap();
        assert!(position("42[\"x\",1]") < position("42[\"n\",2]"), "{seen:?}");
        assert!(position("42[\"n\",2]") < position("42[\"n\",3]"), "{seen:?}");
    });
}
