//! Adapters: who is in which room, and who is told when that changes. Group 39 of the inventory.

use std::collections::{BTreeMap, BTreeSet};

use fanfare::{Data, Refuse, Server, Socket};

use crate::client::Client;
use crate::dynamic::numbered;
use crate::fixture::{Events, Fixture, Log, block_on, each, log};
use crate::panics::quiet;
use crate::rooms::{expect_rooms, moves};

/// The rooms of `/` and their members, sorted, without those that each socket has by itself.
fn rooms(io: &Server) -> BTreeMap<String, BTreeSet<String>> {
    let rooms = block_on(io.of("/").adapter().rooms()).into_iter().map(|(room, members)| {
        (room, members.iter().map(ToString::to_string).collect::<BTreeSet<_>>())
    });
    let is_own = |room: &str, members: &BTreeSet<String>| members.contains(room);
    rooms.filter(|(room, members)| !is_own(room, members)).collect()
}

fn set(ids: &[&String]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).clone()).collect()
}

#[test]
fn b39_1_b39_2_b39_3_the_adapter_knows_who_is_in_which_room_on_all_shards() {
    each(|shards| {
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut clients = server.client_on_each();
        clients.push(server.client_on(0));
        let ids: Vec<String> = clients.iter().map(|(_, id)| id.clone()).collect();
        let (first, last) = (&ids[0], &ids[shards]);
        for (client, id) in &mut clients {
            expect_rooms(client, "[\"join\",[\"r1\"]]", id, &["r1"]);
        }
        expect_rooms(&mut clients[0].0, "[\"join\",[\"r2\"]]", first, &["r1", "r2"]);
        let all = rooms(&server.io);
        assert_eq!(all["r1"], set(&ids.iter().collect::<Vec<_>>()));
        assert_eq!((&all["r2"], all.len()), (&set(&[first]), 2));
        let sids = block_on(server.io.of("/").adapter().sids());
        assert_eq!(sids.len(), shards + 1);
        let of_first = &sids.iter().find(|(id, _)| id.to_string() == *first).unwrap().1;
        assert_eq!(of_first.len(), 3);
        assert!(["r1", "r2", first.as_str()].iter().all(|room| of_first.contains(*room)));
        let sockets = block_on(server.io.sockets().sockets());
        assert!(ids.iter().all(|id| sockets.keys().any(|found| found.to_string() == *id)));
        expect_rooms(&mut clients[0].0, "[\"leave\",\"r2\"]", first, &["r1"]);
        expect_rooms(&mut clients[shards].0, "[\"leave\",\"r1\"]", last, &[]);
        let all = rooms(&server.io);
        assert_eq!((all.len(), all["r1"].contains(last)), (1, false));
        assert!(block_on(server.io.of("/other").adapter().rooms()).is_empty());
    });
}

#[test]
fn b39_4_b39_5_rooms_are_excluded_from_what_is_emitted_to_all_and_to_rooms() {
    each(|shards| {
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut clients = server.client_on_each();
        clients.push(server.client_on(0));
        for (index, (client, id)) in clients.iter_mut().enumerate() {
            let is_last = index == shards;
            let question =
                if is_last { "[\"join\",[\"r1\",\"r2\"]]" } else { "[\"join\",[\"r1\"]]" };
            expect_rooms(client, question, id, if is_last { &["r1", "r2"] } else { &["r1"] });
        }
        server.io.except("r2").emit("to all", ());
        server.io.to("r1").except("r2").emit("to r1", ());
        server.io.to("r1").except(["r2", "r1"]).emit("to nobody", ());
        server.io.emit("end", ());
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            if index < shards {
                client.expect(&["42[\"to all\"]", "42[\"to r1\"]"]);
            }
            client.expect(&["42[\"end\"]"]);
        }
    });
}

/// Logs what becomes of the rooms of a namespace, with the ids of sockets.
fn log_rooms(io: &Server, name: &str, log: &Log) {
    let logs = [(); 4].map(|()| log.clone());
    let [create, delete, join, leave] = logs;
    io.of(name)
        .adapter()
        .on_create_room(move |room| create.add(format!("create {room}")))
        .on_delete_room(move |room| delete.add(format!("delete {room}")))
        .on_join_room(move |room, id| join.add(format!("join {room} {id}")))
        .on_leave_room(move |room, id| leave.add(format!("leave {room} {id}")));
}

#[track_caller]
fn expect(events: &Events, id: &str, texts: &[&str]) {
    let texts: Vec<String> = texts.iter().map(|text| text.replace('@', id)).collect();
    events.expect(&texts.iter().map(String::as_str).collect::<Vec<_>>());
}

fn ask(client: &mut Client, question: &str) {
    client.send(&format!("421{question}"));
    assert!(client.text().starts_with("431["));
}

#[test]
fn b39_9_b39_10_b39_11_b39_12_b39_13_b39_14_b39_16_b39_17_changes_of_rooms_are_told() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            moves(io, "/");
            log_rooms(io, "/", &log);
        });
        let mut clients: Vec<(Client, String)> = Vec::new();
        for shard in 0..shards {
            // Those that came to another shard are heard of, too.
            clients.push(server.client_on(u16::try_from(shard).unwrap()));
            while events.next() != format!("join {0} {0}", clients[shard].1) {}
        }
        let (first, id) = &mut clients[0];
        ask(first, "[\"join\",[\"r\"]]");
        expect(&events, id, &["create r", "join r @"]);
        ask(first, "[\"join\",[\"r\",\"s\",\"r\"]]");
        expect(&events, id, &["create s", "join s @"]);
        for (other, id) in &mut clients[1..] {
            ask(other, "[\"join\",[\"r\"]]");
            expect(&events, id, &["join r @"]);
        }
        let (first, id) = &mut clients[0];
        ask(first, "[\"leave\",\"s\"]");
        expect(&events, id, &["leave s @", "delete s"]);
        ask(first, "[\"leave\",\"s\"]");
        ask(first, "[\"leave\",\"unknown\"]");
        for (index, (client, id)) in clients.iter_mut().enumerate() {
            ask(client, "[\"leave\",\"r\"]");
            expect(&events, id, &["leave r @"]);
            if index == shards - 1 {
                expect(&events, id, &["delete r"]);
            }
        }
        drop(events.rest());
        server.io.sockets_join("all");
        let told: Vec<String> = (0..=shards).map(|_| events.next()).collect();
        assert_eq!(told.iter().filter(|text| *text == "create all").count(), 1, "{told:?}");
        server.io.sockets_leave("all");
        let told: Vec<String> = (0..=shards).map(|_| events.next()).collect();
        assert_eq!(told.iter().filter(|text| *text == "delete all").count(), 1, "{told:?}");
    });
}

#[test]
fn b39_15_who_goes_leaves_all_rooms_and_that_is_told() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async |socket: Socket| socket.join(["r", "s"]));
            log_rooms(io, "/", &log);
            io.of("/refuses").middleware(async |socket: &Socket| {
                socket.join("r");
                Err(Refuse::new("no"))
            });
            log_rooms(io, "/refuses", &log);
        });
        for leaves in [true, false] {
            let mut client = server.open();
            let id = client.join("/");
            expect(&events, &id, &["create @", "join @ @"]);
            expect(&events, &id, &["create r", "join r @", "create s", "join s @"]);
            match leaves {
                true => client.send("41"),
                false => drop(client),
            }
            let mut told: Vec<String> = (0..6).map(|_| events.next()).collect();
            assert_eq!(told.split_off(4), [format!("leave {id} {id}"), format!("delete {id}")]);
            told.sort();
            let [r, s] = ["r", "s"].map(|room| format!("leave {room} {id}"));
            assert_eq!(told, ["delete r", "delete s", &r, &s]);
        }
        let mut client = server.open();
        client.send("40/refuses,");
        client.expect(&["44/refuses,{\"message\":\"no\"}"]);
        assert_eq!(events.next(), "create r");
        assert!(events.next().starts_with("join r "));
        assert!(events.next().starts_with("leave r "));
        assert_eq!(events.next(), "delete r");
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn rooms_that_are_there_when_somebody_begins_to_listen_count() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| moves(io, "/"));
        let mut clients = server.client_on_each();
        clients.iter_mut().for_each(|(client, _)| ask(client, "[\"join\",[\"r\"]]"));
        log_rooms(&server.io, "/", &log);
        // Every shard has taken a turn since.
        drop(block_on(server.io.stats()));
        let (mut late, id) = server.client_on(0);
        while events.next() != format!("join {id} {id}") {}
        drop(events.rest());
        ask(&mut late, "[\"join\",[\"r\"]]");
        expect(&events, &id, &["join r @"]);
        ask(&mut late, "[\"leave\",\"r\"]");
        expect(&events, &id, &["leave r @"]);
        for (index, (client, id)) in clients.iter_mut().enumerate() {
            ask(client, "[\"leave\",\"r\"]");
            expect(&events, id, &["leave r @"]);
            if index == shards - 1 {
                expect(&events, id, &["delete r"]);
            }
        }
    });
}

#[test]
fn the_rooms_of_children_are_told_to_those_who_listen_to_their_parent() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let parent = numbered(io);
            parent.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
            let log = log.clone();
            parent.adapter().on_create_room(move |room| log.add(room));
        });
        let mut client = server.open();
        for name in ["/dynamic-1", "/dynamic-2"] {
            let id = client.join(name);
            client.send(&format!("42{name},[\"join\",\"r\"]"));
            events.expect(&[&id, "r"]);
        }
    });
}

#[test]
fn m59_listeners_of_rooms_may_panic_and_may_change_rooms() {
    quiet();
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            moves(io, "/");
            let itself = io.clone();
            io.of("/").adapter().on_join_room(move |room, id| match room {
                "bad" => panic!("as the test wants"),
                "good" => drop(itself.to(id).sockets_join("better")),
                "better" => drop(itself.to("better").sockets_leave("good")),
                _ => {}
            });
        });
        for (mut client, id) in server.client_on_each() {
            expect_rooms(&mut client, "[\"join\",[\"bad\"]]", &id, &["bad"]);
            ask(&mut client, "[\"join\",[\"good\"]]");
            expect_rooms(&mut client, "[\"rooms\"]", &id, &["bad", "better"]);
        }
        server.await_count(shards as u64, |stats| stats.handlers_panicked);
    });
}
