//! Namespaces that nobody has made by name: group 27 of the inventory.

use std::sync::Arc;

use fanfare::{Auth, Emitted, Namespace, Refuse, Server, Socket};
use serde::Deserialize;

use crate::client::Client;
use crate::fixture::{Events, Fixture, Log, block_on, each, log, options, wait_until};

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// The parent of all names of this kind.
pub fn numbered(io: &Server) -> Namespace {
    io.of_pattern("^/dynamic-[0-9]+$").expect("a pattern")
}

pub fn unknown(name: &str) -> String {
    format!("44{name},{{\"message\":\"Invalid namespace\"}}")
}

/// A client on each shard, in one namespace.
fn on_each(server: &Fixture, name: &str) -> Vec<Client> {
    let clients = server.client_on_each().into_iter();
    let join = |(mut client, _): (Client, String)| {
        client.join(name);
        client
    };
    clients.map(join).collect()
}

/// Waits until a parent has so many children.
#[track_caller]
pub fn await_children(parent: &Namespace, count: usize) {
    wait_until(|| parent.children().len() == count);
}

#[test]
fn b27_1_b34_3_a_pattern_takes_names_and_emits_to_all_its_children() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (asked, joined) = (log.clone(), log.clone());
            let parent = numbered(io);
            parent.middleware(async move |socket: &Socket| {
                asked.add(format!("asked {}", socket.namespace()));
                Ok(())
            });
            parent.on_connect(async move |socket: Socket| {
                joined.add(format!("joined {}", socket.namespace()));
                socket.emit("hello", (1, "2", serde_json::json!({ "3": "4" })));
            });
        });
        let parent = numbered(&server.io);
        let mut clients = server.client_on_each();
        for (client, _) in &mut clients {
            for name in ["/dynamic-101", "/dynamic-102"] {
                client.join(name);
                client.expect(&[&format!("42{name},[\"hello\",1,\"2\",{{\"3\":\"4\"}}]")]);
                events.expect(&[&format!("asked {name}"), &format!("joined {name}")]);
            }
        }
        assert!(parent.children().is_empty(), "the first that takes a name has it");
        server.io.of("/dynamic-101").emit("there", 1);
        for (client, _) in &mut clients {
            client.expect(&["42/dynamic-101,[\"there\",1]"]);
            client.expect_quiet();
        }
    });
}

#[test]
fn b27_1_b27_2_a_parent_emits_to_its_children_and_to_their_rooms() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let parent = numbered(&server.io);
        parent.on_connect(async |socket: Socket| {
            socket.join("all");
            if socket.namespace().ends_with('1') {
                socket.join("one");
            }
        });
        let mut ones = on_each(&server, "/dynamic-1");
        let mut twos = on_each(&server, "/dynamic-2");
        assert_eq!(parent.emit("everybody", ()), Emitted::Queued);
        parent.to("one").emit("ones", ());
        parent.to("all").except("one").emit("twos", ());
        parent.in_(["one", "all"]).emit("once", ());
        for client in &mut ones {
            let events = ["everybody", "ones", "once"];
            client.expect(
                &events
                    .map(|event| format!("42/dynamic-1,[\"{event}\"]"))
                    .each_ref()
                    .map(String::as_str),
            );
        }
        for client in &mut twos {
            let events = ["everybody", "twos", "once"];
            client.expect(
                &events
                    .map(|event| format!("42/dynamic-2,[\"{event}\"]"))
                    .each_ref()
                    .map(String::as_str),
            );
        }
        assert_eq!(parent.children().len(), 2);
        assert_eq!(block_on(parent.fetch_sockets()).len(), 2 * shards);
        parent.to("one").sockets_join("three");
        parent.to("three").disconnect_sockets(false);
        ones.iter_mut().for_each(|client| client.expect(&["41/dynamic-1,"]));
        twos.iter_mut().for_each(Client::expect_quiet);
    });
}

#[test]
fn b27_3_a_predicate_is_given_the_name_and_what_the_client_sent() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let log = log.clone();
            let parent = io.of_matching(async move |candidate| {
                let auth = candidate.auth::<Token>().map(|auth| auth.token);
                let query = candidate.handshake().and_then(|handshake| handshake.query("EIO"));
                log.add(format!("{} {:?} {query:?}", candidate.name(), auth.as_ref().ok()));
                auth.is_ok_and(|token| token == "sesame")
            });
            parent.on_connect(async |socket: Socket, Auth(auth): Auth<Token>| {
                socket.emit("welcome", auth.token);
            });
        });
        let mut client = server.open();
        client.send("40/room-1,{\"token\":\"wrong\"}");
        client.expect(&[&unknown("/room-1")]);
        client.send("40/room-1,");
        client.expect(&[&unknown("/room-1")]);
        client.send("40/room-1,{\"token\":\"sesame\"}");
        assert!(client.text().starts_with("40/room-1,{\"sid\":\""));
        client.expect(&["42/room-1,[\"welcome\",\"sesame\"]"]);
        let (first, second) = ("/room-1 Some(\"wrong\")", "/room-1 None");
        events.expect(&[&format!("{first} Some(\"4\")"), &format!("{second} Some(\"4\")")]);
        events.expect(&["/room-1 Some(\"sesame\") Some(\"4\")"]);
    });
}

#[test]
fn b27_4_a_name_that_no_parent_takes_is_unknown() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            numbered(io);
            io.of_matching(async |_| false);
        });
        let mut client = server.open();
        for name in ["/abc", "/dynamic-", "/dynamic-x", "/DYNAMIC-1", "/_0", "/_1"] {
            client.send(&format!("40{name},"));
            client.expect(&[&unknown(name)]);
        }
        client.join("/dynamic-1");
    });
}

/// Logs each namespace that is made.
fn log_new(io: &Server, log: &Log) {
    let log = log.clone();
    io.on_new_namespace(move |namespace| log.add(format!("new {}", namespace.name())));
}

#[test]
fn b26_28_b27_5_the_application_is_told_of_a_namespace_before_anybody_joins_it() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            numbered(io);
            log_new(io, &log);
            let log = log.clone();
            io.on_new_namespace(move |namespace| {
                let log = log.clone();
                namespace.middleware(async move |socket: &Socket| {
                    log.add(format!("asked {}", socket.namespace()));
                    Ok(())
                });
            });
            io.of("/nsp");
            io.of("nsp");
        });
        let mut client = server.open();
        client.join("/nsp");
        client.join("/dynamic-101");
        events.expect(&["new /nsp", "asked /nsp", "new /dynamic-101", "asked /dynamic-101"]);
        server.io.of("/late");
        client.join("/late");
        server.open().join("/dynamic-101");
        events.expect(&["new /late", "asked /late", "asked /dynamic-101"]);
    });
}

#[test]
fn b27_6_clients_that_race_for_one_name_share_one_child() {
    each(|shards| {
        for round in 0..20 {
            let (log, events) = log();
            let server = Fixture::start(shards, |io| {
                io.of_matching(async |_| {
                    fanfare::time::sleep(std::time::Duration::from_millis(2)).await;
                    true
                });
                log_new(io, &log);
                let log = log.clone();
                io.on_new_namespace(move |namespace| {
                    let log = log.clone();
                    // The longer it takes, the more would get in before the middleware is there.
                    (0..1_000).for_each(|_| std::thread::yield_now());
                    namespace.middleware(async move |_: &Socket| {
                        log.add("asked");
                        Ok(())
                    });
                });
            });
            let mut clients: Vec<_> = (0..4).map(|_| server.open()).collect();
            clients.iter_mut().for_each(|client| client.send("40/raced,"));
            for client in &mut clients {
                assert!(client.text().starts_with("40/raced,{\"sid\":\""), "round {round}");
            }
            events.expect(&["new /raced", "asked", "asked", "asked", "asked"]);
            server.io.of("/raced").emit("x", ());
            clients.iter_mut().for_each(|client| client.expect(&["42/raced,[\"x\"]"]));
        }
    });
}

/// A server that refuses whoever says so, and its parent.
fn cleaning(shards: usize, cleans_up: bool) -> (Fixture, Namespace) {
    let options = options(shards).cleanup_empty_child_namespaces(cleans_up);
    let server = Fixture::with(options, |_| {});
    let parent = numbered(&server.io);
    parent.middleware(async |_: &Socket, Auth(auth): Auth<serde_json::Value>| {
        match auth.get("refuse") {
            None => Ok(()),
            Some(_) => Err(Refuse::new("no")),
        }
    });
    (server, parent)
}

#[test]
fn b27_7_b27_8_a_child_goes_with_its_last_socket_and_can_come_again() {
    each(|shards| {
        let (server, parent) = cleaning(shards, true);
        for _ in 0..3 {
            let mut clients = on_each(&server, "/dynamic-101");
            assert_eq!(parent.children().len(), 1);
            let mut last = clients.pop().unwrap();
            for mut client in clients {
                client.send("41/dynamic-101,");
                client.expect_quiet();
            }
            assert_eq!(parent.children().len(), 1, "one is still there");
            parent.emit("alone", ());
            last.expect(&["42/dynamic-101,[\"alone\"]"]);
            last.send("41/dynamic-101,");
            last.expect_quiet();
            assert!(parent.children().is_empty());
        }
        drop(on_each(&server, "/dynamic-101"));
        await_children(&parent, 0);
    });
}

#[test]
fn b27_8_a_socket_may_come_back_at_once() {
    each(|shards| {
        let (server, parent) = cleaning(shards, true);
        let mut client = server.open();
        for _ in 0..100 {
            client.join("/dynamic-1");
            client.send("41/dynamic-1,");
        }
        client.join("/dynamic-1");
        parent.emit("x", ());
        client.expect(&["42/dynamic-1,[\"x\"]"]);
    });
}

#[test]
fn b27_9_b27_10_a_child_stays_when_nothing_is_cleaned_up() {
    each(|shards| {
        let (server, parent) = cleaning(shards, false);
        let mut client = server.open();
        client.send("40/dynamic-101,{\"refuse\":1}");
        client.expect(&["44/dynamic-101,{\"message\":\"no\"}"]);
        assert_eq!(parent.children().len(), 1);
        client.join("/dynamic-102");
        client.send("41/dynamic-102,");
        client.expect_quiet();
        let names: Vec<_> = parent.children().iter().map(|c| c.name().to_owned()).collect();
        assert_eq!(names, ["/dynamic-101", "/dynamic-102"]);
        client.join("/dynamic-101");
    });
}

#[test]
fn b27_11_b27_12_a_child_goes_with_a_refused_client_unless_others_are_in() {
    each(|shards| {
        let (server, parent) = cleaning(shards, true);
        let mut client = server.open();
        client.send("40/dynamic-101,{\"refuse\":1}");
        client.expect(&["44/dynamic-101,{\"message\":\"no\"}"]);
        client.expect_quiet();
        assert!(parent.children().is_empty());
        let mut others = on_each(&server, "/dynamic-101");
        client.send("40/dynamic-101,{\"refuse\":1}");
        client.expect(&["44/dynamic-101,{\"message\":\"no\"}"]);
        client.expect_quiet();
        assert_eq!(parent.children().len(), 1);
        parent.emit("x", ());
        others.iter_mut().for_each(|client| client.expect(&["42/dynamic-101,[\"x\"]"]));
    });
}

#[test]
fn b27_13_a_matching_name_that_is_made_by_hand_is_a_child() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let parent = numbered(&server.io);
        parent.on_connect(async |socket: Socket| socket.emit("of the parent", ()));
        let child = server.io.of("/dynamic-101");
        child.on_connect(async |socket: Socket| socket.emit("its own", ()));
        assert_eq!(parent.children().len(), 1);
        let mut client = server.open();
        client.join("/dynamic-101");
        client.expect(&["42/dynamic-101,[\"of the parent\"]", "42/dynamic-101,[\"its own\"]"]);
        parent.emit("x", ());
        client.expect(&["42/dynamic-101,[\"x\"]"]);
        let names: Vec<_> =
            server.io.namespaces().iter().map(|namespace| namespace.name().to_owned()).collect();
        assert_eq!(names, ["/", "/dynamic-101"]);
    });
}

/// The first event of each of these namespaces.
fn firsts(client: &mut Client, names: &[&str]) -> Vec<String> {
    let join = |name: &&str| {
        client.join(name);
        client.text()
    };
    names.iter().map(join).collect()
}

#[test]
fn parents_are_asked_in_their_order_and_a_name_that_was_made_wins() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let tell = |namespace: &Namespace, word: &'static str| {
                namespace.on_connect(async move |socket: Socket| socket.emit(word, ()));
            };
            tell(&io.of("/a-named"), "named");
            tell(&io.of_pattern("^/a").unwrap(), "first");
            tell(&io.of_matching(async |candidate| candidate.name() == "/ab"), "second");
            tell(&io.of_pattern("^/").unwrap(), "third");
        });
        let mut client = server.open();
        let events = firsts(&mut client, &["/a-named", "/ab", "/b", "/a"]);
        assert_eq!(
            events,
            ["42/a-named,[\"named\"]", "42/ab,[\"first\"]", "42/b,[\"third\"]", "42/a,[\"first\"]"]
        );
    });
}

#[test]
fn what_is_registered_while_clients_are_in_a_child_counts_from_then_on() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let parent = numbered(&server.io);
        let mut clients = on_each(&server, "/dynamic-1");
        parent.on("x", async |socket: Socket| socket.emit("of the parent", ()));
        let child = server.io.of("/dynamic-1");
        child.on("x", async |socket: Socket| socket.emit("of the child", ()));
        // A parent that comes later takes nothing away from the first.
        let later = server.io.of_pattern("^/dynamic").unwrap();
        later.on("x", async |socket: Socket| socket.emit("of the later one", ()));
        for client in &mut clients {
            client.send("42/dynamic-1,[\"x\"]");
            client.expect(&["42/dynamic-1,[\"of the parent\"]", "42/dynamic-1,[\"of the child\"]"]);
            client.expect_quiet();
        }
        assert!(later.children().iter().all(|child| child.name() != "/dynamic-1"));
    });
}

#[test]
fn parents_of_another_kind_of_server_are_not_this_ones() {
    each(|shards| {
        let (one, other) = (Fixture::start(shards, |_| {}), Fixture::start(shards, |_| {}));
        numbered(&one.io);
        one.open().join("/dynamic-1");
        let mut client = other.open();
        client.send("40/dynamic-1,");
        client.expect(&[&unknown("/dynamic-1")]);
    });
}

#[test]
fn a_handle_of_a_child_that_has_gone_means_nobody() {
    each(|shards| {
        let (server, parent) = cleaning(shards, true);
        let (log, events): (Log, Events) = log();
        let told = log.clone();
        parent.on_connect(async move |socket: Socket| {
            let log = told.clone();
            fanfare::time::spawn_local(async move {
                while !socket.namespace().is_empty() {
                    fanfare::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                let emitted = socket.emit("x", ());
                log.add(format!("{emitted:?} {:?}", socket.broadcast().emit("x", ())));
                log.add(format!("{} {:?}", socket.join("room"), socket.rooms()));
            });
        });
        let mut client = server.open();
        client.join("/dynamic-1");
        let old = parent.children().remove(0);
        assert_eq!(old.emit("there", ()), Emitted::Queued);
        client.expect(&["42/dynamic-1,[\"there\"]"]);
        client.send("41/dynamic-1,");
        client.expect_quiet();
        events.expect(&["Closed Queued", "false []"]);
        client.join("/dynamic-1");
        assert_eq!(old.emit("to nobody", ()), Emitted::Closed);
        assert_eq!(old.sockets_join("room"), Emitted::Closed);
        assert_eq!(old.disconnect_sockets(true), Emitted::Closed);
        assert!(block_on(old.fetch_sockets()).is_empty());
        assert!(
            block_on(old.emitter().emit_with_ack::<u8, _>("to nobody", ())).unwrap().is_empty()
        );
        assert!(block_on(old.emitter().all_sockets()).is_empty());
        client.expect_quiet();
    });
}

#[test]
fn what_parents_hold_goes_with_the_server() {
    each(|shards| {
        let token = Arc::new(());
        let server = Fixture::start(shards, |io| {
            let (held, itself) = (Arc::clone(&token), io.clone());
            io.of_matching(async move |_| {
                let _held = &held;
                itself.namespaces().len() < 100
            });
            let (held, itself) = (Arc::clone(&token), io.clone());
            io.on_new_namespace(move |_| {
                let _held = (&held, &itself);
            });
        });
        server.open().join("/any");
        assert_eq!(Arc::strong_count(&token), 3);
        drop(server);
        assert_eq!(Arc::strong_count(&token), 1);
    });
}
