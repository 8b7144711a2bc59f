//! Packets as MessagePack, the option `parser`: protocol.md §17.1, group 38 of the inventory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare::parser::Form;
use fanfare::{Ack, Auth, EmitError, Emitted, EventName, Namespace, Raw, Refuse, Server, Socket};
use serde_json::{Value, json};

use crate::client::{Client, Polling, Received};
use crate::fixture::{Fixture, each, log, options};
use crate::msgpack::{pack, unpack};

const CONNECT: u8 = 0;
const DISCONNECT: u8 = 1;
const EVENT: u8 = 2;
const ACK: u8 = 3;
const CONNECT_ERROR: u8 = 4;

fn start(shards: usize, prepare: impl FnOnce(&Server)) -> Fixture {
    Fixture::with(options(shards).parser(Form::MessagePack), prepare)
}

/// A packet without an id; without data if that is null.
fn packet(kind: u8, namespace: &str, data: Value) -> Value {
    let mut packet = json!({ "type": kind, "nsp": namespace });
    if !data.is_null() {
        packet["data"] = data;
    }
    packet
}

fn event(data: Value) -> Value {
    packet(EVENT, "/", data)
}

fn with_id(mut packet: Value, id: u64) -> Value {
    packet["id"] = id.into();
    packet
}

fn say(client: &mut Client, packet: &Value) {
    client.send_binary(&pack(packet));
}

#[track_caller]
fn hear(client: &mut Client) -> Value {
    match client.receive() {
        Received::Binary(message) => unpack(&message),
        other => panic!("a binary message was expected, not {other:?}"),
    }
}

#[track_caller]
fn expect(client: &mut Client, packet: &Value) {
    assert_eq!(hear(client), *packet);
}

/// Joins a namespace; gives the id of the socket.
#[track_caller]
fn join(client: &mut Client, namespace: &str) -> String {
    say(client, &packet(CONNECT, namespace, Value::Null));
    sid_of(&hear(client), namespace)
}

#[track_caller]
fn sid_of(reply: &Value, namespace: &str) -> String {
    let sid = reply["data"]["sid"].as_str().unwrap_or_else(|| panic!("not joined: {reply}"));
    assert_eq!(*reply, packet(CONNECT, namespace, json!({ "sid": sid })));
    sid.to_owned()
}

fn joined(server: &Fixture) -> Client {
    let mut client = server.open();
    join(&mut client, "/");
    client
}

/// Nothing must have been sent, and the session be open.
#[track_caller]
fn expect_quiet(client: &mut Client) {
    say(client, &packet(CONNECT, "/is-quiet", Value::Null));
    let data = json!({ "message": "Invalid namespace" });
    expect(client, &packet(CONNECT_ERROR, "/is-quiet", data));
}

/// Answers events and acknowledgements with what came.
fn echo(namespace: &Namespace) {
    namespace.on("x", async |socket: Socket, raw: Raw, ack: Ack| {
        match ack.is_requested() {
            true => ack.send(raw),
            false => socket.emit("x", raw),
        };
    });
}

#[test]
fn b38_1_a_client_joins_with_what_it_authenticates_with() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            io.of("/").on_connect(async move |Auth(auth): Auth<Value>| log.add(auth));
        });
        let mut client = server.open();
        say(&mut client, &packet(CONNECT, "/", json!({ "token": "abc", "n": [1, null, 1.5] })));
        assert_eq!(sid_of(&hear(&mut client), "/").len(), 20);
        events.expect(&[r#"{"n":[1,null,1.5],"token":"abc"}"#]);
        // As the client of the reference sends it that has nothing to authenticate with.
        let mut client = server.open();
        client.send_binary(b"\x83\xa4type\x00\xa4data\xd4\x00\x00\xa3nsp\xa1/");
        sid_of(&hear(&mut client), "/");
        events.expect(&["{}"]);
    });
}

#[test]
fn p17_1_every_packet_is_one_binary_frame_of_the_shortest_form() {
    each(|shards| {
        let server = start(shards, |io| echo(&io.of("/")));
        let mut client = joined(&server);
        client.send_binary(
            b"\x84\xa2id\xcd\x01\x00\xa4type\x02\xa4data\x93\xa1x\xc4\x02hi\xff\xa3nsp\xa1/",
        );
        client.expect_binary(
            b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\xcd\x01\x00\xa4data\x92\xc4\x02hi\xff",
        );
        client.send_binary(
            b"\x84\xa4type\x02\xa7options\x81\xa8compress\xc3\xa4data\x92\xa1x\xc0\xa3nsp\xa1/",
        );
        client.expect_binary(b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x\xc0");
    });
}

#[test]
fn b38_2_binary_values_go_both_ways_where_they_stand() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(&io.of("/"));
            io.of("/").on("y", async move |raw: Raw| {
                let (text, bytes) = (String::from_utf8_lossy(raw.args()), raw.attachments());
                log.add(format!("{text} {bytes:?}"));
            });
        });
        let mut client = joined(&server);
        let many: Vec<Value> = (0..100).map(|n| format!("bin:{n}").into()).collect();
        for data in [
            json!(["x", "bin:asdf"]),
            json!(["x", [], { "a": "b", "c": ["bin:", null, "bin:1"] }, "bin:2", -7, 1.5]),
            // More than there may be attachments of a packet of text.
            json!(["x", many]),
        ] {
            say(&mut client, &event(data.clone()));
            expect(&mut client, &event(data));
        }
        say(&mut client, &event(json!(["y", { "a": "bin:a" }, "bin:b"])));
        events.expect(&["{\"a\":{\"_placeholder\":true,\"num\":0}},\
                         {\"_placeholder\":true,\"num\":1} [b\"a\", b\"b\"]"]);
    });
}

#[test]
fn b38_3_both_sides_acknowledge() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(&io.of("/"));
            io.of("/").on("ask", async move |socket: Socket| {
                let question = Bytes::from_static(b"question");
                let answer = socket.emit_with_ack::<(u8, Bytes), _>("q", question).await;
                log.add(format!("{answer:?}"));
            });
        });
        let mut client = joined(&server);
        for (id, data) in [(0, json!([])), (1_000_000, json!([1, "bin:b"]))] {
            let mut asked = vec![json!("x")];
            asked.extend(data.as_array().unwrap().iter().cloned());
            say(&mut client, &with_id(event(asked.into()), id));
            expect(&mut client, &with_id(packet(ACK, "/", data), id));
        }
        say(&mut client, &event(json!(["ask"])));
        expect(&mut client, &with_id(event(json!(["q", "bin:question"])), 0));
        say(&mut client, &with_id(packet(ACK, "/", json!([9, "bin:answer"])), 0));
        events.expect(&["Ok((9, b\"answer\"))"]);
    });
}

#[test]
fn b38_4_a_session_has_several_namespaces() {
    each(|shards| {
        let server = start(shards, |io| {
            ["/", "/a", "/ä"].iter().for_each(|name| echo(&io.of(name)));
        });
        let mut client = server.open();
        let ids = ["/", "/a", "/ä"].map(|name| join(&mut client, name));
        assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
        for name in ["/a", "/", "/ä"] {
            say(&mut client, &packet(EVENT, name, json!(["x", name])));
            expect(&mut client, &packet(EVENT, name, json!(["x", name])));
        }
    });
}

#[test]
fn b38_5_a_namespace_is_refused_with_a_message_and_data() {
    each(|shards| {
        let server = start(shards, |io| {
            io.of("/no").middleware(async |_: &Socket| {
                Err(Refuse::new("not you").data(&json!({ "a": [1, null, "b"] })))
            });
            let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
            io.of("/deep")
                .middleware(async move |_: &Socket| Err(Refuse::new("not you").data(&deep)));
        });
        let mut client = server.open();
        let nowhere = json!({ "message": "Invalid namespace" });
        let refused = json!({ "message": "not you", "data": { "a": [1, null, "b"] } });
        // No client takes data of such a depth: it is told without.
        let deep = json!({ "message": "not you" });
        for (name, data) in [("/nowhere", nowhere), ("/no", refused), ("/deep", deep)] {
            say(&mut client, &packet(CONNECT, name, Value::Null));
            expect(&mut client, &packet(CONNECT_ERROR, name, data));
        }
        join(&mut client, "/");
    });
}

#[test]
fn b38_6_a_broadcast_reaches_the_clients_of_every_shard() {
    each(|shards| {
        let server = start(shards, |io| {
            io.of("/").on("in", async |socket: Socket| {
                socket.join("room");
                socket.to("room").emit("came", ("you", Bytes::from_static(b"b")));
            });
        });
        let mut clients: Vec<Client> = (0..8).map(|_| joined(&server)).collect();
        // From outside of all shards, twice in a row, and with answers.
        server.io.emit("one", 1);
        server.io.emit("two", Bytes::from_static(b"2"));
        for client in &mut clients {
            expect(client, &event(json!(["one", 1])));
            expect(client, &event(json!(["two", "bin:2"])));
        }
        let answers = server.io.to("nobody").emit_with_ack::<u8, _>("q", ());
        assert_eq!(crate::fixture::block_on(answers).unwrap(), [0; 0]);
        let answers = server.io.of("/").emitter().emit_with_ack::<Bytes, _>("q", ());
        for client in &mut clients {
            let asked = hear(client);
            let id = asked["id"].as_u64().unwrap();
            assert_eq!(asked, with_id(event(json!(["q"])), id));
            say(client, &with_id(packet(ACK, "/", json!(["bin:yes"])), id));
        }
        assert_eq!(crate::fixture::block_on(answers).unwrap(), vec![Bytes::from("yes"); 8]);
        let [first, second, ..] = &mut clients[..] else { unreachable!() };
        say(first, &event(json!(["in"])));
        expect_quiet(first);
        say(second, &event(json!(["in"])));
        expect(first, &event(json!(["came", "you", "bin:b"])));
        expect_quiet(second);
    });
}

#[test]
fn p14_7_either_side_leaves_a_namespace() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            log.log_disconnects(io);
            io.of("/").on("bye", async |socket: Socket| {
                socket.disconnect(false);
            });
        });
        let mut client = joined(&server);
        say(&mut client, &packet(DISCONNECT, "/", Value::Null));
        events.expect(&["gone: client namespace disconnect"]);
        expect_quiet(&mut client);
        join(&mut client, "/");
        say(&mut client, &event(json!(["bye"])));
        expect(&mut client, &packet(DISCONNECT, "/", Value::Null));
        events.expect(&["gone: server namespace disconnect"]);
        expect_quiet(&mut client);
    });
}

fn base64(packet: &Value) -> String {
    format!("b{}", STANDARD.encode(pack(packet)))
}

/// The packets of a polling payload.
#[track_caller]
fn packets(payload: &str) -> Vec<Value> {
    let decode = |text: &str| {
        let data = text.strip_prefix('b').unwrap_or_else(|| panic!("not binary: {text}"));
        unpack(&STANDARD.decode(data).unwrap())
    };
    payload.split('\x1e').map(decode).collect()
}

#[test]
fn p17_1_long_polling_carries_base64_and_an_upgrade_loses_nothing() {
    each(|shards| {
        let server = start(shards, |io| echo(&io.of("/")));
        let polling = Polling::open(server.address);
        polling.post(&base64(&packet(CONNECT, "/", Value::Null)));
        let [reply] = &packets(&polling.get())[..] else { panic!("one packet") };
        sid_of(reply, "/");
        let (one, two) = (event(json!(["x", "bin:1"])), event(json!(["x", 2])));
        polling.post(&format!("{}\x1e{}", base64(&one), base64(&two)));
        assert_eq!(packets(&polling.get()), [one.clone(), two.clone()]);

        let mut client = Client::probe(server.address, &format!("&sid={}", polling.sid));
        client.expect(&["3probe"]);
        polling.post(&base64(&one));
        assert_eq!(packets(&polling.get()), std::slice::from_ref(&one));
        polling.post(&base64(&two));
        client.send("5");
        expect(&mut client, &two);
        say(&mut client, &one);
        expect(&mut client, &one);
    });
}

#[test]
fn p17_1_what_json_cannot_say_is_what_json_stringify_makes_of_it() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            io.of("/").on("x", async move |raw: Raw| {
                log.add(format!("{} {}", raw.args().escape_ascii(), raw.attachments().len()));
            });
        });
        let mut client = joined(&server);
        for (argument, seen) in [
            // A date, `undefined`, NaN, an ArrayBuffer, an extension that nobody knows.
            (
                &b"\xd7\x00\x00\x00\x00\xdf\xb7\x62\x9c\x00"[..],
                "\\\"2000-06-13T00:00:00.000Z\\\" 0",
            ),
            (
                b"\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00",
                "[-1,{\\\"_placeholder\\\":true,\\\"num\\\":0}] 1",
            ),
            (b"\xd4\x00\x00", "null 0"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null 0"),
            (b"\xc7\x01\x00a", "{\\\"_placeholder\\\":true,\\\"num\\\":0} 1"),
            (b"\xd5\x05ab", "[5,{\\\"_placeholder\\\":true,\\\"num\\\":0}] 1"),
            (b"\x81\x07\xc3", "{\\\"7\\\":true} 0"),
            (b"\x81\xa9__proto__\x90", "{\\\"__proto__\\\":[]} 0"),
        ] {
            client.send_binary(
                &[&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x"[..], argument].concat(),
            );
            events.expect(&[seen]);
        }
    });
}

/// Each of these messages ends its session as the reference does, and nobody else notices.
fn all_close(messages: &[Vec<u8>]) {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            log.log_disconnects(io);
            echo(&io.of("/"));
        });
        let mut neighbour = joined(&server);
        for message in messages {
            println!("{}", message[..message.len().min(60)].escape_ascii());
            let mut client = joined(&server);
            client.send_binary(message);
            client.expect_closed();
            events.expect(&["gone: forced close"]);
            expect_quiet(&mut neighbour);
        }
        assert_eq!(server.count(|stats| stats.handlers_panicked), 0);
    });
}

/// An event of one argument.
fn event_of(argument: &[u8]) -> Vec<u8> {
    [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x"[..], argument].concat()
}

#[test]
fn b38_7_a_message_that_is_no_packet_closes_the_session() {
    all_close(&[
        b"".to_vec(),
        b"\x92\xa4type\x02".to_vec(),
        b"\xc1".to_vec(),
        pack(&json!({})),
        pack(&json!({ "type": 5, "nsp": "/", "data": ["x"] })),
        pack(&json!({ "type": -1, "nsp": "/" })),
        pack(&json!({ "type": "2", "nsp": "/", "data": ["x"] })),
        pack(&json!({ "type": 2, "data": ["x"] })),
        pack(&json!({ "type": 2, "nsp": 1, "data": ["x"] })),
        pack(&json!({ "type": 2, "nsp": "/", "data": { "0": "x" } })),
        pack(&json!({ "type": 2, "nsp": "/", "data": ["x"], "id": null })),
        pack(&json!({ "type": 2, "nsp": "/", "data": ["x"], "id": 0.5 })),
        pack(&json!({ "type": 2, "nsp": "/", "data": ["x"], "id": 1_u64 << 53 })),
        pack(&json!({ "type": 2, "nsp": "/", "data": [null] })),
        pack(&json!({ "type": 2, "nsp": "/", "data": ["disconnect"] })),
        pack(&json!({ "type": 1, "nsp": "/", "data": null })),
        pack(&json!({ "type": 0, "nsp": "/", "data": [] })),
        pack(&json!({ "type": 4, "nsp": "/", "data": { "message": "no" } })),
        [pack(&event(json!(["x"]))), b"\xc0".to_vec()].concat(),
    ]);
}

#[test]
fn b38_7_text_closes_the_session_over_both_transports() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| log.log_disconnects(io));
        let mut client = joined(&server);
        client.send("42[\"x\"]");
        client.expect_closed();
        events.expect(&["gone: forced close"]);
        let polling = Polling::open(server.address);
        polling.post("40");
        assert_eq!(polling.get(), "6\x1e1");
    });
}

#[test]
fn m36_depth_bombs_and_other_traps_of_json_close_the_session() {
    let arrays = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    let maps = |depth: usize| [b"\x81\xa1a".repeat(depth), vec![0xc0]].concat();
    all_close(&[
        event_of(&arrays(128)),
        event_of(&arrays(900_000)),
        event_of(&maps(128)),
        event_of(&maps(300_000)),
        event_of(b"\xa2\xed\xa0"),
        event_of(b"\x81\x90\x01"),
        event_of(b"\x81\xc4\x01a\x01"),
    ]);
    each(|shards| {
        let server = start(shards, |io| echo(&io.of("/")));
        let mut client = joined(&server);
        client.send_binary(&event_of(&arrays(127)));
        client.expect_binary(&event_of(&arrays(127)));
        expect_quiet(&mut client);
    });
}

#[test]
fn m69_poison_bytes_close_the_session() {
    all_close(&[
        event_of(b""),
        event_of(b"\xdb\x20\x00\x00\x00a"),
        event_of(b"\xc6\x20\x00\x00\x00a"),
        event_of(b"\xdd\xff\xff\xff\xff\x01"),
        event_of(b"\xdf\xff\xff\xff\xff\x01\x01"),
        event_of(b"\xc9\xff\xff\xff\xff\x05a"),
        event_of(b"\xd8\x05too short"),
        b"\xdf\xff\xff\xff\xff".to_vec(),
        // Each of them would be held in more than sixty bytes.
        event_of(&[&b"\xdd\x00\x01\x00\x00"[..], &b"\xc4\x00".repeat(65_536)].concat()),
    ]);
}

#[test]
fn cve_2022_2421_a_map_is_never_taken_for_a_binary_value() {
    let marker = b"\x82\xac_placeholder\xc3\xa3num";
    let numbers: [&[u8]; 5] = [b"\x00", b"\xa6splice", b"\xff", b"\x01", b"\xc0"];
    let forged = numbers.map(|number| event_of(&[b"\x92\xc4\x01a", &marker[..], number].concat()));
    all_close(&forged);
}

#[test]
fn cve_2023_32695_an_event_name_is_a_string_or_a_number() {
    let named = |name: Value| pack(&event(json!([name])));
    all_close(&[
        named(json!({ "toString": "foo" })),
        named(json!(true)),
        named(json!([])),
        named(json!("bin:x")),
        event_of(b"")[..b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92".len()].to_vec(),
    ]);
}

#[test]
fn p14_5_packets_out_of_place_close_the_session() {
    let to = |namespace: &str| pack(&packet(EVENT, namespace, json!(["x"])));
    all_close(&[
        pack(&packet(CONNECT, "/", Value::Null)),
        pack(&packet(CONNECT_ERROR, "/", json!("no"))),
        to("/never-joined"),
        to(""),
        to(&"/".repeat(255)),
        pack(&packet(DISCONNECT, "/never-joined", Value::Null)),
    ]);
    each(|shards| {
        let server = start(shards, |io| echo(&io.of("/")));
        let mut client = server.open();
        client.send_binary(&to("/"));
        client.expect_closed();
    });
}

#[test]
fn whoever_listens_to_what_is_sent_hears_of_it_as_json() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(&io.of("/"));
            io.of("/").on_any_outgoing(async move |EventName(name): EventName, raw: Raw| {
                let (text, bytes) = (String::from_utf8_lossy(raw.args()), raw.attachments());
                log.add(format!("{name}: {text} {bytes:?}"));
            });
        });
        let mut client = joined(&server);
        say(&mut client, &event(json!(["x", "bin:b"])));
        let place = "{\"_placeholder\":true,\"num\":0}";
        events.expect(&[&format!("x: {place} [b\"b\"]")]);
        server.io.emit("news", (1, "two"));
        events.expect(&["news: 1,\"two\" []"]);
    });
}

#[test]
fn an_emit_that_messagepack_cannot_express_is_refused_and_sends_nothing() {
    each(|shards| {
        let (log, events) = log();
        let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
        let of_handler = deep.clone();
        let server = start(shards, |io| {
            io.of("/").on("x", async move |socket: Socket, ack: Ack| {
                let emitted = [
                    socket.emit("deep", &of_handler),
                    socket.broadcast().emit("deep", &of_handler),
                    ack.send(&of_handler),
                ];
                log.add(format!("{emitted:?}"));
                let answer = socket.emit_with_ack::<Value, _>("deep", &of_handler).await;
                log.add(format!("{answer:?}"));
            });
        });
        let mut client = joined(&server);
        let refused = Emitted::Refused(EmitError::Parser);
        assert_eq!(server.io.emit("deep", &deep), refused);
        say(&mut client, &with_id(event(json!(["x"])), 1));
        events.expect(&[&format!("{:?}", [refused; 3]), "Err(Refused(Parser))"]);
        expect_quiet(&mut client);
    });
}

#[test]
fn p15_a_client_has_what_it_missed_as_message_pack_also_when_the_parser_refused_an_event() {
    let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
    for (shards, back_on) in [(1, 0), (2, 0), (2, 1)] {
        let recovery = fanfare::ConnectionStateRecovery::default();
        let options = options(shards).parser(Form::MessagePack);
        let server = Fixture::with(options.connection_state_recovery(recovery), |io| {
            io.of("/");
        });
        let mut client = server.open_on(0);
        say(&mut client, &packet(CONNECT, "/", Value::Null));
        let reply = hear(&mut client)["data"].clone();
        server.io.emit("x", Bytes::from_static(b"\x01\x02"));
        let received = hear(&mut client)["data"].clone();
        drop(client);
        server.wait_for_sockets(0);
        assert_eq!(server.io.emit("deep", &deep), Emitted::Refused(EmitError::Parser));
        server.io.emit("missed", Bytes::from_static(b"\x03\x04"));
        let mut client = server.open_on(back_on);
        let claim = json!({ "pid": reply["pid"], "offset": received[2] });
        say(&mut client, &packet(CONNECT, "/", claim));
        let missed = hear(&mut client)["data"].clone();
        let [name, data, offset] = missed.as_array().unwrap().as_slice() else {
            panic!("the name, the data and the offset were expected, not {missed}")
        };
        assert_eq!((name, data), (&json!("missed"), &json!("bin:\\x03\\x04")));
        assert_ne!(*offset, received[2]);
        assert_eq!(hear(&mut client)["data"], reply, "it has its ids back");
    }
}
