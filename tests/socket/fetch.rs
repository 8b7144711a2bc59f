//! Which sockets there are, and what is done to many of them: group 33 of the inventory, and what
//! groups 26 and 39 say of lists of sockets.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use fanfare::{Auth, Data, Emitter, Server, Socket, SocketId};
use serde::Deserialize;

use crate::client::{Client, DEADLINE};
use crate::fixture::{Fixture, block_on, each, log, options};

#[derive(Deserialize)]
struct Rooms {
    rooms: Vec<String>,
}

/// Two clients on each shard, one of them in room `a` and both in `b`, and one client of `/other`.
struct Scene {
    clients: Vec<(Client, String)>,
    _other: Client,
}

fn joins(io: &Server) {
    for name in ["/", "/other"] {
        io.of(name).on_connect(async |socket: Socket, Auth(auth): Auth<Rooms>| {
            socket.join(auth.rooms);
        });
    }
}

impl Scene {
    fn new(server: &Fixture) -> Scene {
        let mut clients = Vec::new();
        let shards = block_on(server.io.stats()).len();
        for rooms in ["[\"a\",\"b\"]", "[\"b\"]"] {
            for shard in 0..shards {
                clients.push(client_in(server, "/", rooms, Some(shard)));
            }
        }
        let (other, _) = client_in(server, "/other", "[\"a\"]", None);
        Scene { clients, _other: other }
    }

    fn ids(&self, count: usize) -> BTreeSet<String> {
        self.clients[..count].iter().map(|(_, id)| id.clone()).collect()
    }
}

/// A client of a namespace in these rooms, on a certain shard if that matters.
fn client_in(server: &Fixture, name: &str, rooms: &str, shard: Option<usize>) -> (Client, String) {
    let prefix = if name == "/" { String::new() } else { format!("{name},") };
    for _ in 0..200 {
        let mut client = server.open();
        client.send(&format!("40{prefix}{{\"rooms\":{rooms}}}"));
        let id = crate::client::socket_id(&client.text(), &prefix);
        let found = SocketId::parse(id.as_bytes()).unwrap().shard();
        if shard.is_none_or(|shard| shard == usize::from(found)) {
            return (client, id);
        }
        client.send(&format!("41{prefix}"));
        client.expect_quiet();
    }
    panic!("200 connections, and none on shard {shard:?}");
}

fn fetched(emitter: &Emitter) -> BTreeSet<String> {
    block_on(emitter.fetch_sockets()).iter().map(|socket| socket.id().to_string()).collect()
}

#[test]
fn b26_16_b26_17_b26_18_b33_1_b33_2_b39_7_b39_8_sockets_are_listed_by_namespace_and_room() {
    each(|shards| {
        let server = Fixture::start(shards, joins);
        let scene = Scene::new(&server);
        let all = scene.ids(2 * shards);
        let everybody = server.io.of("/").emitter();
        server.wait_for_sockets(2 * shards);
        assert_eq!(fetched(&everybody), all);
        assert_eq!(fetched(&server.io.to("a")), scene.ids(shards));
        assert_eq!(fetched(&server.io.to("b")), all);
        assert_eq!(fetched(&server.io.to(["a", "b", "c"])), all);
        assert_eq!(fetched(&server.io.except("a")), &all - &scene.ids(shards));
        assert_eq!(fetched(&server.io.to("b").except("a")), &all - &scene.ids(shards));
        assert!(fetched(&server.io.to("c")).is_empty());
        let first = scene.clients[0].1.as_str();
        assert_eq!(fetched(&server.io.to(first)), scene.ids(1));
        assert_eq!(fetched(&server.io.of("/other").emitter()).len(), 1);
        let ids = block_on(everybody.all_sockets());
        assert_eq!(ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), all);
        assert_eq!(block_on(server.io.all_sockets()), ids);
        assert_eq!(block_on(server.io.fetch_sockets()).len(), 2 * shards);
    });
}

#[test]
fn b33_1_a_socket_that_was_listed_can_be_asked_and_sent_something() {
    each(|shards| {
        let server = Fixture::start(shards, joins);
        let mut scene = Scene::new(&server);
        server.wait_for_sockets(2 * shards);
        for found in block_on(server.io.to("a").fetch_sockets()) {
            let rooms: Vec<&str> = found.rooms().collect();
            assert_eq!(rooms[0], found.id().to_string());
            assert_eq!(rooms[1..].iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"a", &"b"]));
            let handshake = found.handshake().unwrap();
            assert_eq!(handshake.query("EIO").as_deref(), Some("4"));
            assert_eq!(handshake.auth::<Rooms>().unwrap().rooms, ["a", "b"]);
            found.socket().emit("to you", ());
            found.socket().join("c");
        }
        server.io.to("c").emit("to c", ());
        for (client, _) in &mut scene.clients[..shards] {
            client.expect(&["42[\"to you\"]", "42[\"to c\"]"]);
        }
        scene.clients.iter_mut().for_each(|(client, _)| client.expect_quiet());
    });
}

#[test]
fn b33_1_a_handler_lists_the_sockets_of_all_shards() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let itself = io.clone();
            io.of("/").on("count", async move |socket: Socket| {
                let all = itself.fetch_sockets().await;
                socket.emit("count", all.len());
            });
        });
        let mut clients = server.client_on_each();
        server.wait_for_sockets(shards);
        for (client, _) in &mut clients {
            client.send("42[\"count\"]");
            client.expect(&[&format!("42[\"count\",{shards}]")]);
        }
    });
}

#[test]
fn b33_4_b33_5_b33_6_b33_7_all_or_the_members_of_a_room_join_and_leave_rooms() {
    each(|shards| {
        let server = Fixture::start(shards, joins);
        let scene = Scene::new(&server);
        server.wait_for_sockets(2 * shards);
        let (all, in_a) = (scene.ids(2 * shards), scene.ids(shards));
        let room = |name: &str| fetched(&server.io.to(name));
        server.io.sockets_join("c");
        assert_eq!(room("c"), all);
        server.io.in_("a").sockets_join(["d", "e"]);
        assert_eq!((room("d"), room("e")), (in_a.clone(), in_a.clone()));
        server.io.in_("a").sockets_leave("c");
        assert_eq!(room("c"), &all - &in_a);
        server.io.sockets_leave(["c", "d", "unknown"]);
        assert!(room("c").is_empty() && room("d").is_empty());
        assert_eq!(room("e"), in_a);
        server.io.of("/").except("a").sockets_join("f");
        assert_eq!(room("f"), &all - &in_a);
        assert!(fetched(&server.io.of("/other").to("c")).is_empty());
        server.io.of("/other").sockets_join("c");
        assert_eq!(fetched(&server.io.of("/other").to("c")).len(), 1);
        assert!(room("c").is_empty());
    });
}

#[test]
fn b33_8_b33_9_all_or_the_members_of_a_room_are_disconnected() {
    each(|shards| {
        for close in [false, true] {
            let server = Fixture::start(shards, joins);
            let mut scene = Scene::new(&server);
            server.wait_for_sockets(2 * shards);
            server.io.in_("a").disconnect_sockets(close);
            let (in_a, rest) = scene.clients.split_at_mut(shards);
            for (client, _) in in_a {
                client.expect(&["41"]);
                match close {
                    true => client.expect_closed(),
                    false => client.expect_quiet(),
                }
            }
            rest.iter_mut().for_each(|(client, _)| client.expect_quiet());
            server.io.disconnect_sockets(close);
            for (client, _) in rest {
                client.expect(&["41"]);
            }
            assert!(block_on(server.io.fetch_sockets()).is_empty());
            assert_eq!(block_on(server.io.of("/other").fetch_sockets()).len(), 1);
        }
    });
}

#[test]
fn what_the_application_keeps_with_a_socket_can_be_asked_for_on_any_thread_and_shard() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let io_of_handler = io.clone();
            io.of("/").on("keep", async |socket: Socket, Data(number): Data<u64>| {
                socket.data().set(number);
            });
            io.of("/").on("ask", async move || {
                for found in io_of_handler.fetch_sockets().await {
                    log.add(format!("{:?} {:?}", found.data::<u64>().await, {
                        found.data::<String>().await
                    }));
                }
            });
        });
        let (mut client, id) = server.client_on(0);
        client.send("42[\"keep\",7]");
        client.expect_quiet();
        let found = block_on(server.io.to(&id).fetch_sockets());
        assert_eq!(block_on(found[0].data::<u64>()), Some(7));
        assert_eq!(block_on(found[0].data::<String>()), None, "it is of another type");
        let (mut other, _) = server.client_on(u16::try_from(shards - 1).unwrap());
        other.send("42[\"ask\"]");
        let mut said = [events.next(), events.next()];
        said.sort();
        assert_eq!(said, ["None None", "Some(7) None"]);
        drop(client);
        server.wait_for_sockets(1);
        assert_eq!(block_on(found[0].data::<u64>()), None, "it has gone");
        drop((other, server));
        assert_eq!(block_on(found[0].data::<u64>()), None, "all have gone");
    });
}

#[test]
fn sockets_are_found_on_a_shard_that_is_behind_with_what_other_threads_want() {
    let (blocked, is_blocked) = channel();
    let (go, may_go) = channel::<()>();
    let (blocked, may_go) = (Mutex::new(blocked), Mutex::new(may_go));
    let options = options(1).limits(|limits| limits.mailbox_commands = 1);
    let server = Fixture::with(options, |io| {
        io.of("/").on("block", async move |_: Socket| {
            blocked.lock().unwrap().send(()).unwrap();
            // The end of the test ends it, too.
            let _ = may_go.lock().unwrap().recv();
        });
    });
    let mut client = server.client();
    client.send("42[\"block\"]");
    is_blocked.recv_timeout(DEADLINE).unwrap();
    while server.io.emit("more", ()).is_queued() {}
    let fetch = server.io.fetch_sockets();
    drop(go);
    let found = block_on(fetch);
    let data = block_on(found[0].data::<u8>());
    assert_eq!((found.len(), data), (1, None));
}
