//! Clients of Socket.IO 2.x: Socket.IO v4 over Engine.IO v3 (protocol.md §16, group 35 of the
//! inventory), beside those of today.

use bytes::Bytes;
use fanfare::{Ack, Auth, Data, Raw, Refuse, Server, Socket};
use serde_json::{Value, json};

use crate::client::{Client, Polling, Received};
use crate::fixture::{Fixture, each, log, options};

const PLACE: &str = "{\"_placeholder\":true,\"num\":0}";

/// A server that takes old clients.
fn start(shards: usize, prepare: impl FnOnce(&Server)) -> Fixture {
    Fixture::with(options(shards).allow_eio3(true), prepare)
}

/// An old client, with the id of its session. It has joined nothing yet.
fn open(server: &Fixture) -> (Client, String) {
    let mut client = Client::begin(server.address, "&EIO=3");
    let open = client.text();
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    (client, open["sid"].as_str().unwrap().to_owned())
}

/// An old client that has been told that it is in `/`.
fn joined(server: &Fixture) -> Client {
    let (mut client, _) = open(server);
    client.expect(&["40"]);
    client
}

fn echo(io: &Server) {
    for name in ["/", "/chat"] {
        io.of(name).on("x", async |socket: Socket, raw: Raw, ack: Ack| {
            match ack.is_requested() {
                true => ack.send(raw),
                false => socket.emit("x", raw),
            };
        });
    }
}

fn whoami(io: &Server) {
    for name in ["/", "/chat"] {
        let space = io.of(name);
        space.on("whoami", async |socket: Socket, Auth(auth): Auth<Value>, ack: Ack| {
            ack.send(json!([socket.id().to_string(), auth]));
        });
        let target = space.clone();
        space.on("tell", async move |Data(id): Data<String>| {
            target.to(&id).emit("told", 1);
        });
    }
}

#[test]
fn b35_1_an_old_client_is_in_the_main_namespace_with_the_id_of_its_session() {
    each(|shards| {
        let server = start(shards, whoami);
        let (mut client, sid) = open(&server);
        client.expect(&["40"]);
        assert_eq!(sid.len(), 20);
        client.send("420[\"whoami\"]");
        client.expect(&[&format!("430[[\"{sid}\",{{}}]]")]);
        let mut other = server.client();
        other.send(&format!("42[\"tell\",\"{sid}\"]"));
        client.expect(&["42[\"told\",1]"]);
        // Elsewhere its socket is called so by the client, and has an id of its own, too.
        client.send("40/chat");
        client.expect(&["40/chat,"]);
        other.join("/chat");
        other.send(&format!("42/chat,[\"tell\",\"/chat#{sid}\"]"));
        client.expect(&["42/chat,[\"told\",1]"]);
        for stranger in [sid.clone(), format!("/#{sid}"), format!("/chat#{}", "A".repeat(20))] {
            other.send(&format!("42/chat,[\"tell\",\"{stranger}\"]"));
        }
        client.send("42/chat,0[\"whoami\"]");
        let answer = client.text();
        let id = answer.strip_prefix("43/chat,0[[\"").and_then(|rest| rest.split('"').next());
        assert!(id.is_some_and(|id| id.len() == 20 && id != sid), "{answer}");

        let polling = Polling::open_old(server.address, "");
        assert_eq!(polling.get(), "2:40");
        polling.post("13:420[\"whoami\"]");
        let answer = format!("430[[\"{}\",{{}}]]", polling.sid);
        assert_eq!(polling.get(), format!("{}:{answer}", answer.len()));
    });
}

#[test]
fn b35_3_old_clients_are_refused_where_they_are_not_allowed() {
    let server = Fixture::start(1, |_| {});
    let mut polling = Polling::open(server.address);
    (polling.protocol, polling.sid) = ("3", String::new());
    let refused = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    assert_eq!(polling.start_get().finish(), (400, refused.to_owned()));
}

#[test]
fn b35_2_the_query_of_a_namespace_becomes_auth() {
    each(|shards| {
        let server = start(shards, whoami);
        let mut client = joined(&server);
        client.send("40/chat?token=abc%20d&n=1,");
        client.expect(&["40/chat,"]);
        // Later packets may name the query, too.
        client.send("42/chat?token=abc%20d&n=1,1[\"whoami\"]");
        let answer = client.text();
        assert!(answer.starts_with("43/chat,1[["), "{answer}");
        assert!(answer.ends_with(",{\"n\":\"1\",\"token\":\"abc d\"}]]"), "{answer}");
        client.send("41/chat?token=abc%20d&n=1,");
        client.send("40/chat");
        client.expect(&["40/chat,"]);
    });
}

#[test]
fn p16_what_is_not_there_is_refused_as_in_v5_and_nothing_ends() {
    each(|shards| {
        let server = start(shards, echo);
        let mut client = joined(&server);
        client.send("40/none?a=1");
        client.expect(&["44/none,{\"message\":\"Invalid namespace\"}"]);
        client.send("42[\"x\",1]");
        client.expect(&["42[\"x\",1]"]);
    });
}

#[test]
fn p16_a_client_that_asks_for_the_main_namespace_breaks_a_rule() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| log.log_disconnects(io));
        let mut client = joined(&server);
        client.send("40");
        client.expect_closed();
        events.expect(&["gone: forced close"]);
    });
}

#[test]
fn p16_a_middleware_says_why_in_any_json() {
    each(|shards| {
        let server = start(shards, |io| {
            for (name, data) in [("/plain", None), ("/data", Some(json!({ "code": 7 })))] {
                io.of(name).middleware(async move |_: &Socket| {
                    let refuse = Refuse::new("no \"way\"");
                    Err::<(), _>(match data.clone() {
                        Some(data) => refuse.data(&data),
                        None => refuse,
                    })
                });
            }
            io.of("/").middleware(async |socket: &Socket| {
                match socket.handshake().and_then(|handshake| handshake.query("key")) {
                    Some(_) => Ok(()),
                    None => Err(Refuse::new("no key")),
                }
            });
        });
        let mut client = Client::open_with(server.address, "&EIO=3&key=1", &[]);
        client.expect(&["40"]);
        client.send("40/plain");
        client.expect(&["44/plain,\"no \\\"way\\\"\""]);
        client.send("40/data,");
        client.expect(&["44/data,{\"code\":7}"]);

        // Who may not join `/` has joined nothing, and stays.
        let (mut client, sid) = open(&server);
        client.expect(&["44\"no key\""]);
        client.send("40/data");
        client.expect(&["44/data,{\"code\":7}"]);
        let mut websocket = Client::probe(server.address, &format!("&EIO=3&sid={sid}"));
        assert_eq!(websocket.receive(), Received::Closed(None), "a session that has a WebSocket");
    });
}

#[test]
fn p16_leaving_the_main_namespace_does_not_end_the_session() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(io);
            log.log_disconnects(io);
        });
        let polling = Polling::open_old(server.address, "");
        polling.post("8:40/chat,");
        let mut joined = polling.get();
        if joined == "2:40" {
            joined += &polling.get();
        }
        assert_eq!(joined, "2:408:40/chat,");
        polling.post("2:41");
        events.expect(&["gone: client namespace disconnect"]);
        // The id of the session was that of the socket that has gone.
        polling.post("15:42/chat,[\"x\",1]");
        assert_eq!(polling.get(), "15:42/chat,[\"x\",1]");
        let mut websocket = Client::probe(server.address, &format!("&EIO=3&sid={}", polling.sid));
        websocket.expect(&["3probe"]);
        websocket.send_all(&["5", "42/chat,[\"x\",2]"]);
        websocket.expect(&["42/chat,[\"x\",2]"]);
    });
}

#[test]
fn p16_one_broadcast_reaches_clients_of_both_revisions_on_all_transports() {
    each(|shards| {
        let server = start(shards, |io| {
            io.of("/").on_connect(async |socket: Socket| {
                socket.join("all");
            });
            let all = io.clone();
            io.of("/").on("go", async move |raw: Raw| {
                all.to("all").emit("news", raw);
            });
        });
        let mut today = server.client();
        let today_polling = server.polling();
        let mut old = joined(&server);
        let mut base64 = Client::open_with(server.address, "&EIO=3&b64=1", &[]);
        base64.expect(&["40"]);
        let [old_polling, base64_polling] =
            ["", "&b64=1"].map(|query| Polling::open_old(server.address, query));
        assert_eq!((old_polling.get(), base64_polling.get()), ("2:40".into(), "2:40".into()));

        today.send("42[\"go\",\"\u{20ac}\"]");
        let news = "42[\"news\",\"\u{20ac}\"]";
        for client in [&mut today, &mut old, &mut base64] {
            client.expect(&[news]);
        }
        assert_eq!(today_polling.get(), news);
        let counted = format!("{}:{news}", news.chars().count());
        assert_eq!((old_polling.get(), base64_polling.get()), (counted.clone(), counted));

        old.send(&format!("451-[\"go\",{PLACE}]"));
        old.send_binary(b"\x04\x07\x07\x07");
        let header = format!("451-[\"news\",{PLACE}]");
        for client in [&mut today, &mut old, &mut base64] {
            client.expect(&[&header]);
        }
        today.expect_binary(b"\x07\x07\x07");
        old.expect_binary(b"\x04\x07\x07\x07");
        base64.expect(&["b4BwcH"]);
        assert_eq!(today_polling.get(), format!("{header}\x1ebBwcH"));
        let length = header.len();
        assert_eq!(base64_polling.get(), format!("{length}:{header}6:b4BwcH"));
        let digits = [length / 10, length % 10].map(|digit| digit as u8);
        let mut meant = [&[0], &digits[..], b"\xff", header.as_bytes()].concat();
        meant.extend_from_slice(b"\x01\x04\xff\x04\x07\x07\x07");
        assert_eq!(old_polling.start_get().finish_bytes(), (200, meant));
    });
}

#[test]
fn p16_events_of_one_turn_reach_old_clients_in_order() {
    each(|shards| {
        let server = start(shards, |io| {
            let all = io.clone();
            io.of("/").on("go", async move || {
                for number in 0..5 {
                    let bytes = Bytes::from(vec![number]);
                    all.emit("n", number);
                    all.emit("b", bytes);
                }
            });
        });
        let (mut today, mut old) = (server.client(), joined(&server));
        let polling = Polling::open_old(server.address, "&b64=1");
        assert_eq!(polling.get(), "2:40");
        today.send("42[\"go\"]");
        let header = format!("451-[\"b\",{PLACE}]");
        let mut meant = String::new();
        for number in 0..5 {
            let event = format!("42[\"n\",{number}]");
            for client in [&mut today, &mut old] {
                client.expect(&[&event, &header]);
            }
            today.expect_binary(&[number]);
            old.expect_binary(&[4, number]);
            let base64 = ["AA==", "AQ==", "Ag==", "Aw==", "BA=="][usize::from(number)];
            meant += &format!("{}:{event}{}:{header}6:b4{base64}", event.len(), header.len());
        }
        let mut arrived = String::new();
        while arrived.len() < meant.len() {
            arrived += &polling.get();
        }
        assert_eq!(arrived, meant);
    });
}

#[test]
fn p16_binary_events_and_acks_go_both_ways() {
    each(|shards| {
        let (log, events) = log();
        let server = start(shards, |io| {
            echo(io);
            io.of("/").on("ask", async move |socket: Socket| {
                let question = Bytes::from_static(b"question");
                let answer = socket.emit_with_ack::<(u8, Bytes), _>("q", (question, 1)).await;
                log.add(format!("{answer:?}"));
            });
        });
        let mut client = joined(&server);
        let header = format!("451-[\"x\",1,{PLACE}]");
        client.send(&header);
        client.send_binary(b"\x04\x01");
        client.expect(&[&header]);
        client.expect_binary(b"\x04\x01");
        client.send(&format!("451-5[\"x\",{PLACE}]"));
        client.send("b4AQ==");
        client.expect(&[&format!("461-5[{PLACE}]")]);
        client.expect_binary(b"\x04\x01");
        client.send("42[\"ask\"]");
        client.expect(&[&format!("451-0[\"q\",{PLACE},1]")]);
        client.expect_binary(b"\x04question");
        client.send(&format!("461-0[9,{PLACE}]"));
        client.send_binary(b"\x04answer");
        events.expect(&["Ok((9, b\"answer\"))"]);
        // An attachment without its type is none.
        client.send(&header);
        client.send_binary(b"\x01answer");
        client.expect_closed();
    });
}

#[test]
fn p16_what_is_pending_of_a_poll_moves_to_the_websocket() {
    each(|shards| {
        let server = start(shards, echo);
        let polling = Polling::open_old(server.address, "");
        assert_eq!(polling.get(), "2:40");
        let header = format!("451-[\"x\",{PLACE}]");
        polling.post(&format!("{}:{header}", header.len()));
        polling.post("6:b4AQID");
        let mut websocket = Client::probe(server.address, &format!("&EIO=3&sid={}", polling.sid));
        websocket.expect(&["3probe"]);
        websocket.send("5");
        websocket.expect(&[&header]);
        websocket.expect_binary(b"\x04\x01\x02\x03");
        websocket.send("2");
        websocket.expect(&["3"]);
    });
}

#[test]
fn p16_the_timeout_for_joining_counts_for_those_that_were_refused() {
    let timeout = std::time::Duration::from_millis(100);
    let options = options(1).allow_eio3(true).connect_timeout(timeout);
    let server = Fixture::with(options, |io| {
        io.of("/").middleware(async |_: &Socket| Err::<(), _>(Refuse::new("no")));
    });
    let (mut client, _) = open(&server);
    client.expect(&["44\"no\""]);
    client.expect_closed();
}
