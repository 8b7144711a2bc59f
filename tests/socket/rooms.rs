//! Rooms: what a socket is in, and who is reached by them.

use std::collections::{BTreeMap, BTreeSet};

use fanfare::{Ack, Data, Server, Socket};

use crate::client::Client;
use crate::fixture::{Fixture, each, log};

/// Handlers by which a client moves its socket; each acknowledges with the rooms it is in then.
pub fn moves(io: &Server, namespace: &str) {
    let rooms = |socket: &Socket| {
        let mut rooms = socket.rooms();
        rooms[1..].sort();
        rooms
    };
    let namespace = io.of(namespace);
    namespace.on("join", async move |socket: Socket, Data(names): Data<Vec<String>>, ack: Ack| {
        assert!(socket.join(names));
        ack.send(rooms(&socket));
    });
    namespace.on("leave", async move |socket: Socket, Data(name): Data<String>, ack: Ack| {
        socket.leave(&name);
        ack.send(rooms(&socket));
    });
    namespace.on("rooms", async move |socket: Socket, ack: Ack| {
        ack.send(rooms(&socket));
    });
}

/// Asks the handlers of [`moves`]; the answer must be these rooms.
#[track_caller]
pub fn expect_rooms(client: &mut Client, question: &str, id: &str, rooms: &[&str]) {
    let rooms = [&[id], rooms].concat();
    client.send(&format!("421{question}"));
    client.expect(&[&format!("431[{}]", serde_json::to_string(&rooms).unwrap())]);
}

#[test]
fn b24_8_b24_11_the_rooms_of_a_socket_follow_join_and_leave_at_once() {
    each(|shards| {
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut client = server.open();
        let id = client.join("/");
        expect_rooms(&mut client, "[\"rooms\"]", &id, &[]);
        expect_rooms(&mut client, "[\"join\",[\"a\"]]", &id, &["a"]);
        expect_rooms(&mut client, "[\"join\",[\"b\"]]", &id, &["a", "b"]);
        expect_rooms(&mut client, "[\"join\",[\"c\",\"b\",\"c\"]]", &id, &["a", "b", "c"]);
        expect_rooms(&mut client, "[\"leave\",\"b\"]", &id, &["a", "c"]);
        expect_rooms(&mut client, "[\"leave\",\"unknown\"]", &id, &["a", "c"]);
        expect_rooms(&mut client, "[\"join\",[]]", &id, &["a", "c"]);
    });
}

#[test]
fn b24_9_a_room_that_everybody_left_reaches_nobody_and_can_be_made_again() {
    each(|shards| {
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut client = server.open();
        let id = client.join("/");
        for _ in 0..3 {
            expect_rooms(&mut client, "[\"join\",[\"a\"]]", &id, &["a"]);
            server.io.to("a").emit("in a", ());
            client.expect(&["42[\"in a\"]"]);
            expect_rooms(&mut client, "[\"leave\",\"a\"]", &id, &[]);
            server.io.to("a").emit("in a", ());
            server.io.emit("end", ());
            client.expect(&["42[\"end\"]"]);
        }
        client.expect_quiet();
    });
}

#[test]
fn b24_10_b32_53_all_rooms_are_left_at_disconnect_and_none_is_joined_after() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            moves(io, "/");
            io.of("/").on_disconnect(async move |socket: Socket| {
                log.add(format!("{:?} {} {:?}", socket.rooms(), socket.join("b"), socket.rooms()));
            });
        });
        let mut client = server.open();
        // Later sockets take the places of earlier ones, and must not find rooms there.
        for _ in 0..20 {
            let id = client.join("/");
            expect_rooms(&mut client, "[\"rooms\"]", &id, &[]);
            server.io.to(["a", "b"]).emit("x", ());
            server.io.emit("end", ());
            client.expect(&["42[\"end\"]"]);
            expect_rooms(&mut client, "[\"join\",[\"a\",\"b\"]]", &id, &["a", "b"]);
            client.send("41");
            events.expect(&["[] false []"]);
        }
    });
}

#[test]
fn the_id_of_a_socket_is_a_room_of_its_own() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        for (_, id) in &clients {
            server.io.to(id).emit("you", id);
        }
        server.io.except(clients.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>()).emit("x", 1);
        server.io.emit("end", ());
        for (client, id) in &mut clients {
            client.expect(&[&format!("42[\"you\",\"{id}\"]"), "42[\"end\"]"]);
        }
    });
}

/// Names that an index or a pattern might take for something else.
fn adversarial(ids: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        ["", "\0", "#", "/", "/nsp", "*", "?", "[a]", "a*", "a", "A", "ü", "u\u{308}", "__proto__"]
            .map(str::to_owned)
            .to_vec();
    names.push("x".repeat(64 * 1024));
    names.push(format!("{}y", "x".repeat(64 * 1024 - 1)));
    names.extend(ids.iter().take(1).cloned());
    // The right length for an id, of a socket that is not there.
    names.push("A".repeat(20));
    names
}

#[test]
fn m42_rooms_with_adversarial_names_reach_exactly_their_members() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            moves(io, "/");
            moves(io, "/nsp");
        });
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        let mut foreign = server.open();
        foreign.join("/nsp");
        let ids: Vec<String> = clients.iter().map(|(_, id)| id.clone()).collect();
        let names = adversarial(&ids);
        let all = serde_json::to_string(&names).unwrap();
        foreign.send(&format!("42/nsp,1[\"join\",{all}]"));
        foreign.text();
        let mut members: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            let joins: Vec<usize> =
                (0..clients.len()).filter(|client| (index + client) % 3 != 0).collect();
            for &joiner in &joins {
                let name = serde_json::to_string(name).unwrap();
                let client = &mut clients[joiner].0;
                client.send(&format!("421[\"join\",[{name}]]"));
                assert!(client.text().starts_with("431["));
            }
            members.insert(name, joins.into_iter().collect());
        }
        // Whose id it is, is in it, too.
        members.get_mut(ids[0].as_str()).unwrap().insert(0);
        for (number, name) in names.iter().enumerate() {
            server.io.to(name).emit("n", number);
        }
        server.io.emit("end", ());
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            for (number, name) in names.iter().enumerate() {
                if members[name.as_str()].contains(&index) {
                    client.expect(&[&format!("42[\"n\",{number}]")]);
                }
            }
            client.expect(&["42[\"end\"]"]);
        }
        foreign.expect_quiet();
    });
}

#[test]
fn sockets_join_and_sockets_leave_move_those_who_are_meant_on_every_shard() {
    each(|shards| {
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        let last = clients.last().unwrap().1.clone();
        let all = server.io.of("/").emitter();
        assert!(all.sockets_join(["a", "b"]).is_queued());
        assert!(server.io.except(&last).sockets_leave("a").is_queued());
        assert!(server.io.to("a").sockets_join(["c", "d"]).is_queued());
        assert!(server.io.to("nobody").sockets_join("e").is_queued());
        server.io.emit("done", ());
        for (client, id) in &mut clients {
            client.expect(&["42[\"done\"]"]);
            let rooms: &[&str] = if *id == last { &["a", "b", "c", "d"] } else { &["b"] };
            expect_rooms(client, "[\"rooms\"]", id, rooms);
        }
    });
}

#[test]
fn disconnect_sockets_disconnects_those_who_are_meant_on_every_shard() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            moves(io, "/");
            io.of("/other");
        });
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        for (client, _) in &mut clients {
            client.join("/other");
        }
        let stays = clients[0].1.clone();
        server.io.except(&stays).disconnect_sockets(false);
        for (client, _) in &mut clients[1..] {
            client.expect(&["41"]);
            client.expect_quiet();
        }
        clients[0].0.expect_quiet();
        server.io.of("/other").emitter().disconnect_sockets(true);
        clients[0].0.expect(&["41", "41/other,"]);
        clients[0].0.expect_closed();
        for (client, _) in &mut clients[1..] {
            client.expect(&["41/other,"]);
            client.expect_closed();
        }
    });
}

#[test]
fn joins_from_another_thread_take_effect_in_order_with_emits() {
    let server = Fixture::start(2, |io| {
        io.of("/").on_connect(async |socket: Socket| {
            std::thread::spawn(move || {
                for n in 0..100 {
                    assert!(socket.join("room"));
                    socket.in_("room").emit("others", n);
                    socket.leave("room");
                }
                socket.emit("end", ());
            });
        });
    });
    let mut client = server.client();
    client.expect(&["42[\"end\"]"]);
}
