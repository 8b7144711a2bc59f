//! Every kind of broadcast reaches clients over polling, over WebSocket, and in between: group 34
//! of the inventory.

use bytes::Bytes;
use fanfare::{Auth, Emitter, Namespace, Server, Socket};
use serde::Deserialize;

use crate::client::{Client, Polling, socket_id};
use crate::dynamic::numbered;
use crate::fixture::{Fixture, each};

#[derive(Deserialize)]
struct Rooms {
    rooms: Vec<String>,
}

/// A client and what carries its packets.
enum Carried {
    Polling(Polling),
    WebSocket(Client),
    /// It has begun with polling.
    Upgraded(Client),
}

impl Carried {
    /// One of each kind in a namespace and these rooms.
    fn all(server: &Fixture, name: &str, rooms: &str) -> Vec<Carried> {
        let prefix = if name == "/" { String::new() } else { format!("{name},") };
        let connect = format!("40{prefix}{{\"rooms\":{rooms}}}");
        let mut client = server.open();
        client.send(&connect);
        socket_id(&client.text(), &prefix);
        let [polling, upgraded] = [(); 2].map(|()| {
            let polling = server.polling_open();
            polling.post(&connect);
            socket_id(&polling.get(), &prefix);
            polling
        });
        let mut upgrade = Client::probe(server.address, &format!("&sid={}", upgraded.sid));
        upgrade.expect(&["3probe"]);
        upgrade.send("5");
        upgrade.expect_quiet();
        vec![Carried::Polling(polling), Carried::WebSocket(client), Carried::Upgraded(upgrade)]
    }

    /// The next packets are these, with the bytes that follow the last one if there are any.
    #[track_caller]
    fn expect(&mut self, packets: &[String], bytes: Option<(&[u8], &str)>) {
        match self {
            Carried::Polling(polling) => {
                let mut wanted = packets.join("\u{1e}");
                if let Some((_, base64)) = bytes {
                    wanted = format!("{wanted}\u{1e}b{base64}");
                }
                let mut got = polling.get();
                while got.len() < wanted.len() {
                    got = format!("{got}\u{1e}{}", polling.get());
                }
                assert_eq!(got, wanted);
            }
            Carried::WebSocket(client) | Carried::Upgraded(client) => {
                packets.iter().for_each(|packet| client.expect(&[packet]));
                if let Some((bytes, _)) = bytes {
                    client.expect_binary(bytes);
                }
            }
        }
    }
}

fn joins(namespace: &Namespace) {
    namespace.middleware(async |socket: &Socket, Auth(auth): Auth<Rooms>| {
        socket.join(auth.rooms);
        Ok(())
    });
    namespace.on("leave", async |socket: Socket| socket.leave("a"));
}

/// Emits to clients in room `a`, in `b`, and in none; those that are meant get it, and nobody else.
fn reaches(name: &'static str, target: impl Fn(&Server) -> Emitter, meant: [bool; 3]) {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            joins(&numbered(io));
            joins(&io.of(name));
        });
        let groups = ["[\"a\"]", "[\"b\"]", "[]"];
        let mut groups = groups.map(|rooms| Carried::all(&server, name, rooms));
        let prefix = if name == "/" { String::new() } else { format!("{name},") };
        target(&server.io).emit("text", 1);
        target(&server.io).emit("binary", Bytes::from_static(b"\x01\x02\x03"));
        server.io.of(name).emit("end", ());
        let place = "{\"_placeholder\":true,\"num\":0}";
        let first =
            [format!("42{prefix}[\"text\",1]"), format!("451-{prefix}[\"binary\",{place}]")];
        let end = [format!("42{prefix}[\"end\"]")];
        for (group, is_meant) in groups.iter_mut().zip(meant) {
            for client in group {
                match (is_meant, &*client) {
                    (true, Carried::Polling(_)) => {
                        let middle = format!("{}\u{1e}bAQID", first[1]);
                        let all = [first[0].clone(), middle, end[0].clone()];
                        client.expect(&all, None);
                    }
                    (true, _) => {
                        client.expect(&first, Some((b"\x01\x02\x03", "AQID")));
                        client.expect(&end, None);
                    }
                    (false, _) => client.expect(&end, None),
                }
            }
        }
    });
}

#[test]
fn b34_1_b34_4_a_broadcast_reaches_clients_over_every_transport() {
    reaches("/", |io| io.of("/").emitter(), [true; 3]);
}

#[test]
fn b34_2_a_namespace_reaches_clients_over_every_transport() {
    reaches("/custom", |io| io.of("/custom").emitter(), [true; 3]);
}

#[test]
fn b34_3_a_dynamic_namespace_reaches_clients_over_every_transport() {
    reaches("/dynamic-101", |io| io.of("/dynamic-101").emitter(), [true; 3]);
}

#[test]
fn b34_6_b34_9_a_room_that_was_joined_in_a_middleware_reaches_clients_over_every_transport() {
    reaches("/", |io| io.to("a"), [true, false, false]);
    reaches("/dynamic-101", |io| io.of("/dynamic-101").to("a"), [true, false, false]);
}

#[test]
fn b34_7_several_rooms_reach_clients_over_every_transport() {
    reaches("/", |io| io.to("a").to("b"), [true, true, false]);
}

#[test]
fn b34_8_all_but_a_room_reaches_clients_over_every_transport() {
    reaches("/", |io| io.except("a"), [false, true, true]);
}

#[test]
fn b34_10_who_has_left_a_room_is_not_reached_over_any_transport() {
    each(|shards| {
        let server = Fixture::start(shards, |io| joins(&io.of("/")));
        let mut clients = Carried::all(&server, "/", "[\"a\"]");
        for client in &mut clients {
            match client {
                Carried::Polling(polling) => polling.post("42[\"leave\"]"),
                Carried::WebSocket(client) | Carried::Upgraded(client) => {
                    client.send("42[\"leave\"]");
                    client.expect_quiet();
                }
            }
        }
        server.io.to("a").emit("in a", ());
        server.io.emit("end", ());
        for client in &mut clients {
            client.expect(&["42[\"end\"]".to_owned()], None);
        }
    });
}

#[test]
fn b34_5_a_volatile_binary_broadcast_reaches_whoever_is_writable() {
    each(|shards| {
        let server = Fixture::start(shards, |io| joins(&io.of("/")));
        let mut clients = Carried::all(&server, "/", "[]");
        let dropped = || server.count(|stats| stats.volatile_dropped);
        let bytes = Bytes::from_static(b"\x01\x02\x03");
        server.io.volatile().emit("volatile", bytes.clone());
        assert_eq!(dropped(), 1, "the polling client has no request under way");
        let place = "{\"_placeholder\":true,\"num\":0}";
        let header = format!("451-[\"volatile\",{place}]");
        let Carried::Polling(polling) = &clients[0] else { unreachable!() };
        let held = polling.start_get();
        let mut before = 0;
        let mut rounds = 1;
        // It may take a moment until the request has come.
        while before < dropped() {
            before = dropped();
            server.io.volatile().emit("volatile", bytes.clone());
            rounds += 1;
        }
        assert_eq!(held.finish(), (200, format!("{header}\u{1e}bAQID")));
        for client in &mut clients[1..] {
            for _ in 0..rounds {
                client.expect(std::slice::from_ref(&header), Some((b"\x01\x02\x03", "AQID")));
            }
        }
    });
}
