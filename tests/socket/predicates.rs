//! Parents that take their time, or more than is theirs: what a client, or the application itself,
//! can do wrong around namespaces that nobody has made by name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::{Namespace, Raw, Server, Socket};

use crate::client::{Client, Received};
use crate::dynamic::{await_children, numbered, unknown};
use crate::fixture::{Fixture, each, log, options, wait_until};
use crate::panics::quiet;

/// A parent that decides when it is told to. What it holds is gone when nobody waits for it.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn guards(&self, io: &Server) -> Namespace {
        let gate = self.clone();
        io.of_matching(async move |_| {
            let held = gate.clone();
            while !held.0.load(Ordering::Relaxed) {
                fanfare::time::sleep(Duration::from_millis(1)).await;
            }
            true
        })
    }

    /// Predicates that wait.
    fn waiting(&self) -> usize {
        // This handle and that of the parent do not count.
        Arc::strong_count(&self.0) - 2
    }

    #[track_caller]
    fn await_waiting(&self, count: usize) {
        wait_until(|| self.waiting() == count);
    }
}

#[test]
fn m39_packets_for_a_namespace_about_which_a_parent_decides_close_the_session() {
    each(|shards| {
        for text in ["42/a,[\"x\"]", "43/a,1[]", "41/a,", "40/a,", "40/a", "451-/a,[\"x\"]"] {
            let gate = Gate::default();
            let server = Fixture::start(shards, |io| drop(gate.guards(io)));
            let mut client = server.client();
            client.send("40/a,");
            gate.await_waiting(1);
            client.send_all(&[text]);
            if text.starts_with("45") {
                client.send_binary(b"x");
            }
            client.expect_closed();
            // Nobody waits for an answer any more.
            gate.await_waiting(0);
            gate.open();
            assert_eq!(server.io.namespaces().len(), 1);
        }
    });
}

#[test]
fn a_client_goes_on_while_a_parent_decides() {
    each(|shards| {
        let gate = Gate::default();
        let server = Fixture::start(shards, |io| {
            gate.guards(io);
            io.of("/").on("x", async |socket: Socket, raw: Raw| socket.emit("x", raw));
        });
        let mut client = server.client();
        client.send("40/a,");
        client.send("42[\"x\",1]");
        client.expect(&["42[\"x\",1]"]);
        client.send("41");
        client.join("/");
        client.send("42[\"x\",2]");
        client.expect(&["42[\"x\",2]"]);
        gate.open();
        assert!(client.text().starts_with("40/a,{\"sid\":\""));
    });
}

#[test]
fn a_name_that_is_made_while_a_parent_decides_is_that_one() {
    each(|shards| {
        let gate = Gate::default();
        let server = Fixture::start(shards, |_| {});
        let parent = gate.guards(&server.io);
        let mut client = server.open();
        client.send("40/a,");
        gate.await_waiting(1);
        server.io.of("/a").on_connect(async |socket: Socket| socket.emit("named", ()));
        gate.open();
        assert!(client.text().starts_with("40/a,{\"sid\":\""));
        client.expect(&["42/a,[\"named\"]"]);
        assert!(parent.children().is_empty());
    });
}

#[test]
fn m39_a_session_waits_for_a_hundred_answers_and_no_more() {
    each(|shards| {
        let gate = Gate::default();
        let server = Fixture::start(shards, |io| drop(gate.guards(io)));
        let mut client = server.open();
        for index in 0..100 {
            client.send(&format!("40/{index},"));
        }
        gate.await_waiting(100);
        client.send("40/one more,");
        client.expect_closed();
        gate.await_waiting(0);
    });
}

#[test]
fn m40_who_waits_for_an_answer_that_never_comes_is_closed_all_the_same() {
    each(|shards| {
        let gate = Gate::default();
        let options = options(shards).connect_timeout(Duration::from_millis(50));
        let server = Fixture::with(options, |io| drop(gate.guards(io)));
        let mut client = server.open();
        client.send("40/a,");
        client.expect_closed();
        gate.await_waiting(0);
    });
}

#[test]
fn whoever_leaves_is_not_waited_for() {
    each(|shards| {
        let gate = Gate::default();
        let server = Fixture::start(shards, |io| drop(gate.guards(io)));
        let mut clients: Vec<Client> = (0..20).map(|_| server.open()).collect();
        clients.iter_mut().for_each(|client| client.send("40/a,"));
        gate.await_waiting(20);
        let polling = server.polling_open();
        polling.post("40/b,");
        gate.await_waiting(21);
        drop(clients);
        gate.await_waiting(1);
        polling.post("1");
        gate.await_waiting(0);
        assert_eq!(server.io.namespaces().len(), 1);
    });
}

#[test]
fn a_server_closes_while_parents_decide() {
    each(|shards| {
        let gate = Gate::default();
        let mut server = Fixture::start(shards, |io| drop(gate.guards(io)));
        let mut client = server.open();
        client.send("40/a,");
        gate.await_waiting(1);
        server.io.close();
        client.expect_closed();
        drop(client);
        server.running.take().unwrap().join().unwrap();
        assert_eq!(Arc::strong_count(&gate.0), 1, "the parent has gone with its server");
    });
}

#[test]
fn six_hundred_clients_for_whom_a_parent_decides_at_once_all_join() {
    each(|shards| {
        let gate = Gate::default();
        let server = Fixture::start(shards, |_| {});
        let parent = gate.guards(&server.io);
        let mut clients: Vec<Client> = (0..6).map(|_| server.open()).collect();
        for client in &mut clients {
            for index in 0..100 {
                client.send(&format!("40/{index},"));
            }
        }
        gate.await_waiting(600);
        gate.open();
        for client in &mut clients {
            for _ in 0..100 {
                let reply = client.text();
                assert!(reply.contains(",{\"sid\":\""), "{reply}");
            }
        }
        assert_eq!(parent.children().len(), 100);
    });
}

#[test]
fn m59_a_parent_that_panics_refuses_and_nothing_stays() {
    quiet();
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of_matching(async |candidate| {
                if candidate.name().contains("late") {
                    fanfare::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(!candidate.name().contains("panic"), "as the test wants");
                false
            });
            numbered(io);
        });
        let mut client = server.client();
        for _ in 0..20 {
            for name in ["/panic", "/late panic"] {
                client.send(&format!("40{name},"));
                client.expect(&[&unknown(name)]);
            }
        }
        client.join("/dynamic-1");
        server.await_count(40, |stats| stats.handlers_panicked);
    });
}

#[test]
fn m59_a_listener_of_new_namespaces_that_panics_refuses_its_client_and_nothing_stays() {
    quiet();
    each(|shards| {
        let options = options(shards).cleanup_empty_child_namespaces(true);
        let server = Fixture::with(options, |_| {});
        let parent = numbered(&server.io);
        let panics = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&panics);
        server.io.on_new_namespace(move |_| {
            assert!(!shared.load(Ordering::Relaxed), "as the test wants");
        });
        let mut client = server.client();
        for _ in 0..10 {
            client.send("40/dynamic-1,");
            client.expect(&[&unknown("/dynamic-1")]);
        }
        server.await_count(10, |stats| stats.handlers_panicked);
        assert!(parent.children().is_empty());
        let io = server.io.clone();
        assert!(std::thread::spawn(move || io.of("/by hand").name().len()).join().is_err());
        client.send("40/by hand,");
        client.expect(&[&unknown("/by hand")]);
        panics.store(false, Ordering::Relaxed);
        server.io.of("/by hand");
        client.join("/by hand");
        client.join("/dynamic-1");
        client.send("41/dynamic-1,");
        await_children(&parent, 0);
    });
}

#[test]
fn a_listener_of_new_namespaces_may_make_others_and_add_listeners() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            numbered(io);
            let itself = io.clone();
            let (log, added) = (log.clone(), log.clone());
            io.on_new_namespace(move |namespace| {
                log.add(format!("made {}", namespace.name()));
                if !namespace.name().ends_with("-log") {
                    itself.of(&format!("{}-log", namespace.name()));
                    let added = added.clone();
                    itself.on_new_namespace(move |made| added.add(format!("also {}", made.name())));
                }
            });
        });
        let mut client = server.open();
        client.join("/dynamic-1");
        events.expect(&["made /dynamic-1", "made /dynamic-1-log"]);
        client.join("/dynamic-1-log");
        server.io.of("/x");
        events.expect(&["made /x", "made /x-log", "also /x-log", "also /x"]);
    });
}

#[test]
fn m39_twenty_thousand_dynamic_namespaces_leave_nothing_behind() {
    each(|shards| {
        let options = options(shards).cleanup_empty_child_namespaces(true);
        let server = Fixture::with(options, |_| {});
        let parent = numbered(&server.io);
        let mut client = server.open();
        for block in 0..200 {
            let names: Vec<_> = (0..100).map(|n| format!("/dynamic-{}", block * 100 + n)).collect();
            let joins: Vec<_> = names.iter().map(|name| format!("40{name},")).collect();
            client.send_all(&joins.iter().map(String::as_str).collect::<Vec<_>>());
            for name in &names {
                assert!(client.text().starts_with(&format!("40{name},{{")));
            }
            let leaves: Vec<_> = names.iter().map(|name| format!("41{name},")).collect();
            client.send_all(&leaves.iter().map(String::as_str).collect::<Vec<_>>());
        }
        client.expect_quiet();
        assert!(parent.children().is_empty());
    });
}

#[test]
fn m39_children_that_stay_are_limited() {
    each(|shards| {
        let options = options(shards).limits(|limits| limits.child_namespaces = 50);
        let server = Fixture::with(options, |_| {});
        let parent = numbered(&server.io);
        let mut client = server.open();
        for n in 0..50 {
            client.join(&format!("/dynamic-{n}"));
            client.send(&format!("41/dynamic-{n},"));
        }
        for _ in 0..100 {
            client.send("40/dynamic-50,");
            client.expect(&[&unknown("/dynamic-50")]);
        }
        // What is there can be joined, and one that is made by hand is the application's choice.
        client.join("/dynamic-49");
        server.io.of("/dynamic-50");
        client.join("/dynamic-50");
        assert_eq!(parent.children().len(), 51);
        client.send("40/dynamic-51,");
        client.expect_closed();
    });
}

#[test]
fn names_of_object_prototypes_are_names_like_any_other_for_parents() {
    each(|shards| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let server = Fixture::start(shards, |io| {
            let parent = io.of_matching(async move |candidate| {
                let auth = candidate.auth::<serde_json::Value>().unwrap();
                heard.lock().unwrap().push(auth.to_string());
                candidate.name() != "/is-quiet"
            });
            parent.on_any(async |socket: Socket, fanfare::EventName(event): fanfare::EventName| {
                socket.join(&event);
                socket.to(&event).emit("nobody else is there", ());
                socket.emit(&event, socket.rooms().len());
            });
        });
        let mut client = server.client();
        let names = ["__proto__", "constructor", "hasOwnProperty", "toString", "valueOf", "xyzzy"];
        for name in names {
            let auth = format!("{{\"{name}\":{{\"{name}\":1}}}}");
            client.send(&format!("40/{name},{auth}"));
            assert!(client.text().starts_with(&format!("40/{name},{{\"sid\":\"")));
            assert_eq!(asked.lock().unwrap().pop(), Some(auth));
            for (index, event) in names.iter().enumerate() {
                client.send(&format!("42/{name},[\"{event}\",{{\"{event}\":1}}]"));
                client.expect(&[&format!("42/{name},[\"{event}\",{}]", index + 2)]);
            }
            client.send(&format!("43/{name},0[]"));
            client.send(&format!("41/{name},"));
        }
        client.expect_quiet();
    });
}

#[test]
fn m39_events_to_a_namespace_that_is_being_left_close_the_session() {
    each(|shards| {
        for cleans_up in [false, true] {
            let (log, events) = log();
            let options = options(shards).cleanup_empty_child_namespaces(cleans_up);
            let server = Fixture::with(options, |io| {
                let parent = numbered(io);
                let told = log.clone();
                parent.on("x", async move |raw: Raw| told.add(format!("{:?}", raw.args())));
                let log = log.clone();
                parent.on_disconnect(async move || {
                    log.add("leaves");
                    fanfare::time::sleep(Duration::from_millis(5)).await;
                    log.add("has left");
                });
            });
            let parent = server.io.namespaces().len();
            let mut client = server.open();
            client.join("/dynamic-1");
            client.send_all(&["41/dynamic-1,", "42/dynamic-1,[\"x\"]"]);
            assert_eq!(client.receive(), Received::Closed(None));
            events.expect(&["leaves", "has left"]);
            let mut client = server.open();
            client.join("/dynamic-1");
            client.send_all(&["41/dynamic-1,", "40/dynamic-1,", "42/dynamic-1,[\"x\"]"]);
            assert!(client.text().starts_with("40/dynamic-1,{\"sid\":\""));
            events.expect(&["leaves", "[]", "has left"]);
            drop(client);
            events.expect(&["leaves", "has left"]);
            drop(server);
            assert_eq!((parent, events.rest().len()), (1, 0));
        }
    });
}

#[test]
fn m38_an_answer_in_one_child_is_none_in_another_nor_for_another_socket() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let parent = numbered(&server.io);
        let (log, events) = log();
        parent.on("ask", async move |socket: Socket| {
            let answer = socket.emit_with_ack::<String, _>("?", ()).await;
            log.add(answer.unwrap());
        });
        let (mut asked, mut forger) = (server.open(), server.open());
        asked.join("/dynamic-1");
        asked.join("/dynamic-2");
        forger.join("/dynamic-1");
        asked.send("42/dynamic-1,[\"ask\"]");
        asked.expect(&["42/dynamic-1,0[\"?\"]"]);
        for text in ["43/dynamic-1,0[\"forged\"]", "43/dynamic-1,1[\"forged\"]"] {
            forger.send(text);
            forger.expect_quiet();
        }
        asked.send("43/dynamic-2,0[\"elsewhere\"]");
        asked.send("43/dynamic-1,1[\"another\"]");
        asked.send("43/dynamic-1,0[\"right\"]");
        asked.send("43/dynamic-1,0[\"twice\"]");
        asked.expect_quiet();
        events.expect(&["right"]);
        assert_eq!(events.rest(), [""; 0]);
    });
}
