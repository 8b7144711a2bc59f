//! A parser of the application's own, the option `parser`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use fanfare::parser::{Error, Kind, Message, Packet, Parser};
use fanfare::{Builder, EmitError, Emitted, EventName, Raw, Refuse, Server, Socket};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{Client, Polling};
use crate::fixture::{Fixture, block_on, each, log, options};

/// What panics when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb");
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a bomb")
    }
}

impl std::error::Error for Bomb {}

/// A packet is a JSON object, and a message for each of its binary values. Some events and
/// namespaces stand for what can go wrong.
struct Objects;

#[derive(Serialize, Deserialize)]
struct Object<'a> {
    r#type: u8,
    nsp: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    binaries: usize,
}

impl Parser for Objects {
    fn encode(&self, packet: &Packet<'_>) -> Result<Vec<Message>, Error> {
        let data = packet.data.as_deref();
        match data.and_then(|data| data.split('"').nth(1)) {
            Some("refused") => return Err("such an event has no form".into()),
            Some("nothing") => return Ok(Vec::new()),
            Some("panic") => std::panic::panic_any(Bomb),
            Some("bomb") => return Err(Bomb.into()),
            _ if packet.namespace == "/mute" => return Err("nothing may be said there".into()),
            _ => {}
        }
        let object = Object {
            r#type: packet.kind.number(),
            nsp: packet.namespace.clone(),
            id: packet.id,
            data: data.map(serde_json::from_str).transpose()?,
            binaries: packet.attachments.len(),
        };
        let mut messages = vec![Message::Text(serde_json::to_string(&object)?)];
        messages.extend(packet.attachments.iter().cloned().map(Message::Binary));
        Ok(messages)
    }

    fn decode<'a>(&self, messages: &'a [Message]) -> Result<Option<Packet<'a>>, Error> {
        let [Message::Text(text), binaries @ ..] = messages else {
            return Err("a packet begins with text".into());
        };
        match text.as_str() {
            "panic" => std::panic::panic_any(Bomb),
            "bomb" => return Err(Bomb.into()),
            _ => {}
        }
        let object: Object<'_> = serde_json::from_str(text)?;
        if binaries.len() < object.binaries {
            return Ok(None);
        }
        let bytes = |message: &Message| match message {
            Message::Binary(bytes) => Ok(bytes.clone()),
            Message::Text(_) => Err("only binary values follow"),
        };
        Ok(Some(Packet {
            kind: Kind::from_number(object.r#type).ok_or("an unknown type")?,
            namespace: object.nsp,
            id: object.id,
            data: object.data.map(|data| data.get().into()),
            attachments: binaries.iter().map(bytes).collect::<Result<_, _>>()?,
        }))
    }
}

fn start(shards: usize, prepare: impl FnOnce(&Server)) -> Fixture {
    Fixture::with(options(shards).parser(Objects), prepare)
}

fn echo(io: &Server) {
    io.of("/").on("x", async |socket: Socket, raw: Raw| {
        socket.emit("x", raw);
    });
}

/// A binary value, the first one of its packet.
fn place() -> Value {
    json!({ "_placeholder": true, "num": 0 })
}

/// A packet as the server writes it.
fn packet(kind: u8, namespace: &str, data: Value, binaries: usize) -> Value {
    let mut packet = json!({ "type": kind, "nsp": namespace, "binaries": binaries });
    if !data.is_null() {
        packet["data"] = data;
    }
    packet
}

fn event(data: Value) -> Value {
    packet(2, "/", data, 0)
}

fn say(client: &mut Client, packet: &Value) {
    client.send(&format!("4{packet}"));
}

fn parse(text: &str) -> Value {
    let packet = text.strip_prefix('4').and_then(|text| serde_json::from_str(text).ok());
    packet.unwrap_or_else(|| panic!("not a packet: {text}"))
}

#[track_caller]
fn expect(client: &mut Client, packet: &Value) {
    assert_eq!(parse(&client.text()), *packet);
}

fn joined(server: &Fixture) -> Client {
    let mut client = server.open();
    say(&mut client, &packet(0, "/", Value::Null, 0));
    expect_joined(&client.text());
    client
}

#[track_caller]
fn expect_joined(reply: &str) {
    let reply = parse(reply);
    let sid = reply["data"]["sid"].as_str().unwrap_or_default();
    assert_eq!(reply, packet(0, "/", json!({ "sid": sid }), 0));
    assert_eq!(sid.len(), 20);
}

/// Nothing must have been sent, and the session be open.
#[track_caller]
fn expect_quiet(client: &mut Client) {
    say(client, &packet(0, "/is-quiet", Value::Null, 0));
    expect(client, &packet(4, "/is-quiet", json!({ "message": "Invalid namespace" }), 0));
}

#[test]
fn packets_of_every_type_have_the_form_that_a_parser_gives_them() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(io);
            log.log_disconnects(io);
            io.of("/").on("ask", async move |socket: Socket| {
                let answer = socket.emit_with_ack::<(u8, Bytes), _>("q", 1).await;
                log.add(format!("{answer:?}"));
                socket.disconnect(false);
            });
            io.of("/no").middleware(async |_: &Socket| Err(Refuse::new("no").data(&[1])));
        });
        let mut client = joined(&server);
        for (data, binaries) in [(json!(["x", 1, "é"]), 0), (json!(["x", [place()]]), 1)] {
            let packet = packet(2, "/", data, binaries);
            say(&mut client, &packet);
            (0..binaries).for_each(|_| client.send_binary(b"\x00\x01"));
            expect(&mut client, &packet);
            (0..binaries).for_each(|_| client.expect_binary(b"\x00\x01"));
        }
        say(&mut client, &packet(0, "/no", json!({ "token": 1 }), 0));
        expect(&mut client, &packet(4, "/no", json!({ "message": "no", "data": [1] }), 0));
        say(&mut client, &event(json!(["ask"])));
        let mut asked = event(json!(["q", 1]));
        asked["id"] = 0.into();
        expect(&mut client, &asked);
        let mut answer = packet(3, "/", json!([7, place()]), 1);
        answer["id"] = 0.into();
        say(&mut client, &answer);
        client.send_binary(b"answer");
        events.expect(&["Ok((7, b\"answer\"))"]);
        expect(&mut client, &packet(1, "/", Value::Null, 0));
        events.expect(&["gone: server namespace disconnect"]);
        expect_quiet(&mut client);
    });
}

#[test]
fn a_broadcast_is_encoded_for_the_clients_of_every_shard() {
    each(|shards| {
        let server = start(shards, |_| {});
        let mut clients: Vec<Client> = (0..6).map(|_| joined(&server)).collect();
        server.io.emit("one", 1);
        server.io.emit("two", Bytes::from_static(b"2"));
        for client in &mut clients {
            expect(client, &event(json!(["one", 1])));
            expect(client, &packet(2, "/", json!(["two", place()]), 1));
            client.expect_binary(b"2");
        }
    });
}

#[test]
fn long_polling_carries_what_a_parser_makes() {
    each(|shards| {
        let server = start(shards, echo);
        let polling = Polling::open(server.address);
        polling.post(&format!("4{}", packet(0, "/", Value::Null, 0)));
        expect_joined(&polling.get());
        let packet = packet(2, "/", json!(["x", place()]), 1);
        polling.post(&format!("4{packet}\x1ebAQI="));
        let payload = polling.get();
        let (text, binary) = payload.split_once('\x1e').unwrap();
        assert_eq!((parse(text), binary), (packet, "bAQI="));
    });
}

/// What these messages end with, and nobody else notices.
fn all_close(sequences: &[&[Message]], reason: &str, options: impl Fn(usize) -> Builder) {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::with(options(shards).parser(Objects), |io| {
            echo(io);
            log.log_disconnects(io);
        });
        let mut neighbour = joined(&server);
        for messages in sequences {
            let shown = format!("{messages:?}");
            println!("{}", shown.chars().take(200).collect::<String>());
            let mut client = joined(&server);
            for message in *messages {
                match message {
                    Message::Text(text) => client.send_all(&[&format!("4{text}")]),
                    Message::Binary(bytes) => client.send_binary(bytes),
                }
            }
            client.expect_closed();
            events.expect(&[&format!("gone: {reason}")]);
            expect_quiet(&mut neighbour);
        }
    });
}

fn text(text: impl ToString) -> Message {
    Message::Text(text.to_string())
}

fn binary() -> Message {
    Message::Binary(Bytes::from_static(b"b"))
}

#[test]
fn m59_what_a_parser_refuses_closes_the_session_as_its_panics_do() {
    let unfinished = packet(2, "/", json!(["x", place()]), 1);
    all_close(
        &[
            &[text("")],
            &[text("2[\"x\"]")],
            &[binary()],
            &[text(r#"{"type":9,"nsp":"/"}"#)],
            &[text(&unfinished), text("{}")],
            &[text("panic")],
            &[text("bomb")],
        ],
        "forced close",
        options,
    );
}

#[test]
fn what_a_parser_takes_for_a_packet_is_checked_as_text_would_be() {
    let deep = format!("[\"x\",{}{}]", "[".repeat(128), "]".repeat(128));
    let deep: Box<RawValue> = RawValue::from_string(deep).unwrap();
    let deep = serde_json::to_string(&Object {
        r#type: 2,
        nsp: "/".into(),
        id: None,
        data: Some(&deep),
        binaries: 0,
    });
    let place = |num: Value| json!(["x", { "_placeholder": true, "num": num }]);
    all_close(
        &[
            &[text(event(json!(["disconnect"])))],
            &[text(event(json!([null])))],
            &[text(event(json!({})))],
            &[text(packet(0, "/", json!([]), 0))],
            &[text(packet(1, "/", json!([]), 0))],
            &[text(packet(4, "/", json!("no"), 0))],
            &[text(packet(2, &"/".repeat(2_000), json!(["x"]), 0))],
            &[text(r#"{"type":3,"nsp":"/","id":9007199254740992,"data":[]}"#)],
            &[text(deep.unwrap())],
            &[text(packet(2, "/", place(json!("splice")), 1)), binary()],
            &[text(packet(2, "/", place(json!(1)), 1)), binary()],
            &[text(packet(2, "/joined-never", json!(["x"]), 0))],
        ],
        "forced close",
        options,
    );
}

#[test]
fn m37_the_messages_of_a_packet_are_limited_in_number_length_and_time() {
    let awaits = |binaries| text(packet(2, "/", json!(["x"]), binaries));
    let large = Message::Binary(Bytes::from(vec![0; 600_000]));
    let many = [vec![awaits(11)], vec![binary(); 10]].concat();
    all_close(&[&many, &[awaits(2), large.clone(), large]], "forced close", options);
    let impatient = |shards| {
        options(shards).limits(|limits| limits.attachments_timeout = Duration::from_millis(30))
    };
    all_close(&[&[awaits(2), binary()]], "parse error", impatient);
}

#[test]
fn an_emit_that_a_parser_cannot_express_is_refused_and_sends_nothing() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            io.of("/").on("x", async move |socket: Socket| {
                for event in ["refused", "nothing", "panic", "bomb"] {
                    let emitted = [socket.emit(event, 1), socket.broadcast().emit(event, 1)];
                    assert_eq!(emitted, [Emitted::Refused(EmitError::Parser); 2]);
                    let answer = socket.emit_with_ack::<Value, _>(event, 1).await;
                    log.add(format!("{answer:?}"));
                }
            });
        });
        let mut client = joined(&server);
        assert_eq!(server.io.emit("panic", 1), Emitted::Refused(EmitError::Parser));
        let gathered = server.io.of("/").emitter().emit_with_ack::<Value, _>("refused", 1);
        assert!(block_on(gathered).is_err());
        say(&mut client, &event(json!(["x"])));
        events.expect(&["Err(Refused(Parser))"; 4]);
        expect_quiet(&mut client);
    });
}

#[test]
fn whoever_listens_to_what_is_sent_hears_of_it_as_json() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            io.of("/").on_any_outgoing(async move |EventName(name): EventName, raw: Raw| {
                let (text, bytes) = (String::from_utf8_lossy(raw.args()), raw.attachments());
                log.add(format!("{name}: {text} {bytes:?}"));
            });
        });
        let mut client = joined(&server);
        server.io.emit("one", (Bytes::from_static(b"1"), "é"));
        server.io.emit("two", ());
        events.expect(&[&format!("one: {},\"é\" [b\"1\"]", place()), "two:  []"]);
        expect(&mut client, &packet(2, "/", json!(["one", place(), "é"]), 1));
        client.expect_binary(b"1");
        expect(&mut client, &event(json!(["two"])));
        expect_quiet(&mut client);
    });
}

#[test]
fn a_client_that_cannot_be_told_where_it_stands_loses_its_session() {
    each(|shards| {
        let server = start(shards, |io| {
            io.of("/mute");
        });
        let mut client = joined(&server);
        say(&mut client, &packet(0, "/mute", Value::Null, 0));
        client.expect_closed();
        expect_quiet(&mut joined(&server));
    });
}
