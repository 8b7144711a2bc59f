//! Listeners of one socket, of all events, of what is sent, and middlewares of events: group 29 and
//! the catch-all listeners of group 32 of the inventory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare::{Ack, Data, DisconnectReason, EventName, Listener, Raw, Refuse, Server, Socket};

use crate::client::Client;
use crate::fixture::{Fixture, Log, each, log};
use crate::panics::quiet;

/// Logs each event with a word before it, and its arguments as they came.
fn logging(
    log: &Log,
    word: &'static str,
) -> impl AsyncFn(EventName, Raw) + Send + Sync + 'static + use<> {
    let log = log.clone();
    async move |EventName(event): EventName, raw: Raw| {
        log.add(format!("{word} {event} {}", String::from_utf8_lossy(raw.args())));
    }
}

#[test]
fn b29_1_middlewares_of_events_see_each_event_before_its_handlers_in_order() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for word in ["first", "second"] {
                let log = log.clone();
                io.of("/").packet_middleware(
                    async move |_: &Socket, EventName(event): EventName, raw: Raw| {
                        log.add(format!("{word} {event} {}", String::from_utf8_lossy(raw.args())));
                        Ok(())
                    },
                );
            }
            let own = log.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                let log = own.clone();
                socket.use_(async move |_: &Socket, EventName(event): EventName| {
                    log.add(format!("own {event}"));
                    Ok(())
                });
            });
            io.of("/").on("join", logging(&log, "handler"));
            io.of("/").on_any(logging(&log, "any"));
        });
        let mut client = server.client();
        client.send("42[\"join\",\"woot\"]");
        events.expect(&["any join \"woot\"", "first join \"woot\"", "second join \"woot\""]);
        events.expect(&["own join", "handler join \"woot\""]);
        client.send("42[\"unheard\"]");
        events.expect(&["any unheard ", "first unheard ", "second unheard ", "own unheard"]);
    });
}

#[test]
fn b29_2_what_a_middleware_refuses_is_told_to_the_application_and_not_handled() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (asked, late, told) = (log.clone(), log.clone(), log.clone());
            io.of("/").packet_middleware(async move |_: &Socket, EventName(event): EventName| {
                asked.add("asked");
                match event.as_str() {
                    "bad" => Err(Refuse::new("wrong").data(&serde_json::json!({ "code": 7 }))),
                    _ => Ok(()),
                }
            });
            io.of("/").packet_middleware(async move |_: &Socket, Data(_): Data<u8>| {
                late.add("asked late");
                Ok(())
            });
            io.of("/").on("bad", logging(&log, "handler"));
            io.of("/").on("good", logging(&log, "handler"));
            io.of("/").on_refused(
                async move |socket: Socket, why: Refuse, EventName(event): EventName| {
                    told.add(format!("{event}: {} {}", why.message(), socket.is_connected()));
                },
            );
        });
        let mut client = server.client();
        client.send("42[\"bad\",1]");
        events.expect(&["asked", "bad: wrong true"]);
        client.send("42[\"good\",1]");
        events.expect(&["asked", "asked late", "handler good 1"]);
        client.send("42[\"good\",\"text\"]");
        events.expect(&["asked"]);
        assert!(events.next().starts_with("good: the client's arguments: "));
        client.expect_quiet();
    });
}

#[test]
fn an_acknowledgement_survives_a_middleware_that_waits_and_is_sent_once() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").packet_middleware(async |_: &Socket| {
                fanfare::time::sleep(Duration::from_millis(2)).await;
                Ok(())
            });
            io.of("/").on("ask", async |ack: Ack, raw: Raw| ack.send(raw));
            io.of("/").on("ask", async |ack: Ack| ack.send("too late"));
            io.of("/any").on_any(async |ack: Ack| ack.send("first"));
            io.of("/any").on("ask", async |ack: Ack| ack.send("second"));
        });
        let mut client = server.client();
        client.send("451-7[\"ask\",{\"_placeholder\":true,\"num\":0}]");
        client.send_binary(b"\x01\x02");
        client.expect(&["461-7[{\"_placeholder\":true,\"num\":0}]"]);
        client.expect_binary(b"\x01\x02");
        client.join("/any");
        client.send("42/any,8[\"ask\"]");
        client.expect(&["43/any,8[\"first\"]"]);
        client.expect_quiet();
    });
}

#[test]
fn b32_51_an_event_of_a_socket_that_leaves_while_a_middleware_waits_is_not_delivered() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let log_passed = log.clone();
            io.of("/").packet_middleware(async move |_: &Socket| {
                fanfare::time::sleep(Duration::from_millis(2)).await;
                log_passed.add("passed");
                Ok(())
            });
            io.of("/").on("x", logging(&log, "handler"));
            log.log_disconnects(io);
        });
        let mut client = server.client();
        client.send_all(&["42[\"x\"]", "41"]);
        events.expect(&["gone: client namespace disconnect", "passed"]);
        client.expect_quiet();
        drop(server);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn b32_54_b32_55_catch_all_listeners_hear_of_every_event_before_its_handlers() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let own = log.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                socket.on_any(logging(&own, "own"));
                socket.prepend_any(logging(&own, "own before"));
                socket.on("known", logging(&own, "own handler"));
            });
            io.of("/").on_any(logging(&log, "any"));
            io.of("/").prepend_any(logging(&log, "before"));
            io.of("/").on("known", logging(&log, "handler"));
        });
        let mut client = server.client();
        client.send("42[\"my-event\",\"123\"]");
        let all = ["before", "any", "own before", "own"];
        events.expect(
            &all.map(|word| format!("{word} my-event \"123\"")).each_ref().map(String::as_str),
        );
        client.send("42[\"known\",1,[2]]");
        events
            .expect(&all.map(|word| format!("{word} known 1,[2]")).each_ref().map(String::as_str));
        events.expect(&["handler known 1,[2]", "own handler known 1,[2]"]);
        client.send("42[5,true]");
        events.expect(&all.map(|word| format!("{word} 5 true")).each_ref().map(String::as_str));
    });
}

#[test]
fn b32_56_catch_all_listeners_are_taken_off() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let own = log.clone();
            io.of("/").on("off", async move |socket: Socket| {
                let first = socket.on_any(logging(&own, "first")).unwrap();
                socket.on_any(logging(&own, "second")).unwrap();
                assert!(socket.off(first) && !socket.off(first));
            });
            io.of("/").on("all off", async |socket: Socket| {
                assert_eq!((socket.off_any(), socket.off_any()), (1, 0));
            });
            io.of("/other").on_any(logging(&log, "namespace"));
        });
        let mut client = server.client();
        client.send_all(&["42[\"off\"]", "42[\"x\"]", "42[\"all off\"]", "42[\"y\"]"]);
        events.expect(&["second x ", "second all off "]);
        client.join("/other");
        client.send("42/other,[\"x\"]");
        events.expect(&["namespace x "]);
        assert!(server.io.of("/other").off_any() && !server.io.of("/other").off_any());
        client.send("42/other,[\"y\"]");
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn b32_57_b32_58_b32_59_b32_60_listeners_of_what_is_sent_see_emits_and_broadcasts() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let own = log.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                socket.on_any_outgoing(logging(&own, "own"));
                socket.prepend_any_outgoing(logging(&own, "own before"));
            });
            io.of("/").on_any_outgoing(logging(&log, "sent"));
            io.of("/").prepend_any_outgoing(logging(&log, "before"));
            io.of("/").on("ask", async |socket: Socket, ack: Ack| {
                ack.send(1);
                socket.emit("direct", (1, "2"));
            });
        });
        let all = ["before", "sent", "own before", "own"];
        let expect = |what: &str| {
            events.expect(&all.map(|word| format!("{word} {what}")).each_ref().map(String::as_str));
        };
        let mut client = server.client();
        client.send("421[\"ask\"]");
        client.expect(&["431[1]", "42[\"direct\",1,\"2\"]"]);
        expect("direct 1,\"2\"");
        server.io.emit("broadcast", vec![1]);
        server.io.emit("second", ());
        client.expect(&["42[\"broadcast\",[1]]", "42[\"second\"]"]);
        expect("broadcast [1]");
        expect("second ");
        server.io.emit("binary", Bytes::from_static(b"\x03"));
        client.expect(&["451-[\"binary\",{\"_placeholder\":true,\"num\":0}]"]);
        client.expect_binary(b"\x03");
        expect("binary {\"_placeholder\":true,\"num\":0}");
        server.io.of("/other").emit("elsewhere", ());
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn b32_59_listeners_of_what_is_sent_are_given_its_binary_values() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_any_outgoing(async move |Data((bytes, n)): Data<(Bytes, u8)>| {
                log.add(format!("{bytes:?} {n}"));
            });
        });
        let clients = server.client_on_each();
        server.io.emit("binary", (Bytes::from_static(b"\x01\x02"), 3));
        for _ in &clients {
            events.expect(&["b\"\\x01\\x02\" 3"]);
        }
    });
}

#[test]
fn b32_61_listeners_of_what_is_sent_are_taken_off() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let own = log.clone();
            io.of("/").on("off", async move |socket: Socket| {
                let first = socket.on_any_outgoing(logging(&own, "first")).unwrap();
                socket.on_any_outgoing(logging(&own, "second")).unwrap();
                assert!(socket.off(first) && !socket.off(first));
                socket.emit("heard", ());
            });
            io.of("/").on("all off", async |socket: Socket| {
                assert_eq!((socket.off_any_outgoing(), socket.off_any_outgoing()), (1, 0));
                socket.emit("unheard", ());
            });
            io.of("/").on_any_outgoing(logging(&log, "namespace"));
        });
        let mut client = server.client();
        client.send("42[\"off\"]");
        client.expect(&["42[\"heard\"]"]);
        events.expect(&["namespace heard ", "second heard "]);
        client.send("42[\"all off\"]");
        client.expect(&["42[\"unheard\"]"]);
        events.expect(&["namespace unheard "]);
        assert!(server.io.of("/").off_any_outgoing() && !server.io.of("/").off_any_outgoing());
        server.io.emit("nobody hears", ());
        client.expect(&["42[\"nobody hears\"]"]);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn listeners_of_a_socket_hear_its_events_alone_and_once_hears_one() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let own = log.clone();
            io.of("/").on("listen", async move |socket: Socket, Data(name): Data<String>| {
                socket.on(&name, logging(&own, "on"));
                socket.once(&name, logging(&own, "once"));
            });
            io.of("/").on(
                "off",
                async move |socket: Socket, ack: Ack, Data(name): Data<String>| {
                    ack.send(socket.off_event(&name));
                },
            );
        });
        let (mut one, mut other) = (server.client(), server.client());
        one.send("42[\"listen\",\"x\"]");
        one.send_all(&["42[\"x\",1]", "42[\"x\",2]"]);
        events.expect(&["on x 1", "once x 1", "on x 2"]);
        other.send("42[\"x\",3]");
        other.expect_quiet();
        one.send("42[\"listen\",\"x\"]");
        one.send("421[\"off\",\"x\"]");
        one.expect(&["431[3]"]);
        one.send("42[\"x\",4]");
        one.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn once_is_for_an_event_that_is_handled_not_for_one_that_was_refused() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").packet_middleware(async |_: &Socket, Data(passes): Data<bool>| {
                fanfare::time::sleep(Duration::from_millis(1)).await;
                if passes { Ok(()) } else { Err(Refuse::new("no")) }
            });
            let told = log.clone();
            io.of("/").on_refused(async move || told.add("refused"));
            io.of("/").on_connect(async move |socket: Socket| {
                socket.once("x", logging(&log, "once"));
            });
        });
        let mut client = server.client();
        client.send("42[\"x\",false]");
        events.expect(&["refused"]);
        client.send("42[\"x\",true]");
        events.expect(&["once x true"]);
        client.send("42[\"x\",true]");
        client.send("42[\"x\",false]");
        events.expect(&["refused"]);
    });
}

#[test]
fn what_is_taken_off_while_a_middleware_waits_or_others_hear_is_not_called() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let listeners: Arc<Mutex<Vec<Listener>>> = Arc::default();
            let (own, added) = (log.clone(), Arc::clone(&listeners));
            io.of("/").on_connect(async move |socket: Socket| {
                let listener = socket.on("x", logging(&own, "off")).unwrap();
                added.lock().unwrap().push(listener);
            });
            let (log, own) = (log.clone(), log.clone());
            io.of("/").on_any(async move |socket: Socket| {
                let listener = listeners.lock().unwrap().pop();
                own.add(listener.is_some_and(|listener| socket.off(listener)));
                socket.once("x", logging(&own, "in time"));
            });
            io.of("/").on("x", logging(&log, "handler"));
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        events.expect(&["true", "handler x ", "in time x "]);
    });
}

#[test]
fn listeners_may_do_to_themselves_what_they_like() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async move |socket: Socket| {
                let log = log.clone();
                socket.once("x", async move |socket: Socket| {
                    // It is off already, and so are the others that listen once.
                    log.add(socket.off_event("x"));
                    let log = log.clone();
                    socket.once("x", async move |socket: Socket| {
                        log.add("the next one");
                        socket.on_any(async |socket: Socket| socket.off_any());
                        socket.use_(async |socket: &Socket| {
                            socket.use_(async |_: &Socket| Ok(()));
                            Ok(())
                        });
                    });
                });
                socket.on("x", async |socket: Socket| socket.emit("still called", ()));
            });
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        events.expect(&["1"]);
        client.expect(&["42[\"still called\"]"]);
        client.send("42[\"x\"]");
        events.expect(&["the next one"]);
        client.send_all(&["42[\"x\"]", "42[\"x\"]"]);
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
        assert_eq!(server.count(|stats| stats.handlers_panicked), 0);
    });
}

#[test]
fn who_is_disconnected_by_one_that_hears_of_all_is_not_handled_further() {
    each(|shards| {
        for in_middleware in [false, true] {
            for close in [false, true] {
                let (log, events) = log();
                let server = Fixture::start(shards, |io| {
                    log.log_disconnects(io);
                    match in_middleware {
                        false => io.of("/").on_any(async move |socket: Socket| {
                            socket.disconnect(close);
                        }),
                        true => io.of("/").packet_middleware(async move |socket: &Socket| {
                            socket.disconnect(close);
                            Ok(())
                        }),
                    };
                    io.of("/").on("x", logging(&log, "handler"));
                });
                let mut client = server.client();
                client.send("42[\"x\"]");
                client.expect(&["41"]);
                match close {
                    true => client.expect_closed(),
                    false => drop(client.join("/")),
                }
                events.expect(&["gone: server namespace disconnect"]);
                assert_eq!(events.rest(), [""; 0]);
            }
        }
    });
}

#[test]
fn who_is_disconnected_in_a_middleware_of_connections_does_not_join() {
    each(|shards| {
        for close in [false, true] {
            let (log, events) = log();
            let server = Fixture::start(shards, |io| {
                io.of("/").middleware(async move |socket: &Socket| {
                    assert!(socket.disconnect(close) && !socket.disconnect(close));
                    socket.join("room");
                    Ok(())
                });
                let log = log.clone();
                io.of("/").on_connect(async move || log.add("connected"));
            });
            let mut client = server.open();
            client.send("40");
            client.expect(&["41"]);
            match close {
                true => client.expect_closed(),
                false => client.expect_quiet(),
            }
            server.io.to("room").emit("nobody is in it", ());
            drop(server);
            assert_eq!(events.rest(), [""; 0]);
        }
    });
}

#[test]
fn b26_13_disconnecting_handlers_find_the_socket_in_its_rooms() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async |socket: Socket| socket.join(["a", "b"]));
            let (going, gone) = (log.clone(), log.clone());
            io.of("/").on_disconnecting(async move |socket: Socket, reason: DisconnectReason| {
                let mut rooms = socket.rooms();
                assert_eq!(rooms.remove(0), socket.id().to_string());
                rooms.sort();
                going.add(format!("going {rooms:?} {reason} {}", socket.is_connected()));
                // It is too late for all of this.
                assert!(!socket.join("c") && !socket.disconnect(true));
                socket.emit("to nobody", ());
                socket.to("a").emit("left", ());
                assert!(socket.leave("a"));
            });
            io.of("/").on_disconnect(async move |socket: Socket, reason: DisconnectReason| {
                gone.add(format!("gone {:?} {reason}", socket.rooms()));
            });
        });
        let (mut stays, mut goes) = (server.client(), server.client());
        goes.send("41");
        let reason = "client namespace disconnect";
        events.expect(&[&format!("going [\"a\", \"b\"] {reason} false")]);
        events.expect(&[&format!("gone [] {reason}")]);
        stays.expect(&["42[\"left\"]"]);
        goes.expect_quiet();
        goes.join("/");
        drop(goes);
        let reason = "transport close";
        events.expect(&[&format!("going [\"a\", \"b\"] {reason} false")]);
        events.expect(&[&format!("gone [] {reason}")]);
        stays.expect(&["42[\"left\"]"]);
        server.io.in_("a").emit("alone", ());
        stays.expect(&["42[\"alone\"]"]);
    });
}

#[test]
fn listeners_of_what_is_sent_may_emit_and_are_not_told_of_that() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let itself = io.clone();
            io.of("/").on_any_outgoing(async move |socket: Socket, EventName(name): EventName| {
                socket.emit("direct", &name);
                itself.emit("all", &name);
                itself.emit("all again", &name);
                itself.to(socket.id()).emit("by id", name);
            });
        });
        let mut clients = server.client_on_each();
        server.io.to(clients[0].1.as_str()).emit("x", ());
        let (first, rest) = clients.split_first_mut().unwrap();
        let words = ["direct", "all", "all again", "by id"];
        let told = words.map(|word| format!("42[\"{word}\",\"x\"]"));
        first.0.expect(&["42[\"x\"]"]);
        first.0.expect(&told.each_ref().map(String::as_str));
        first.0.expect_quiet();
        for (client, _) in rest {
            client.expect(&["42[\"all\",\"x\"]", "42[\"all again\",\"x\"]"]);
            client.expect_quiet();
        }
    });
}

#[test]
fn two_that_hear_what_the_other_is_sent_do_not_talk_for_ever() {
    each(|shards| {
        let sockets: Arc<Mutex<Vec<Socket>>> = Arc::default();
        let count = Arc::new(AtomicUsize::new(0));
        let server = Fixture::start(shards, |io| {
            let all = Arc::clone(&sockets);
            io.of("/").on_connect(async move |socket: Socket| all.lock().unwrap().push(socket));
            let (all, count) = (Arc::clone(&sockets), Arc::clone(&count));
            io.of("/").on_any_outgoing(async move |socket: Socket| {
                count.fetch_add(1, Ordering::Relaxed);
                let all = all.lock().unwrap().clone();
                let others = all.into_iter().filter(|other| *other != socket);
                others.for_each(|other| {
                    other.emit("echo", ());
                });
            });
        });
        let mut clients = server.client_on_each();
        clients.push(server.client_on(0));
        server.io.to(clients[0].1.as_str()).emit("x", ());
        clients[0].0.expect(&["42[\"x\"]"]);
        for (client, _) in &mut clients[1..] {
            client.expect(&["42[\"echo\"]"]);
        }
        clients.iter_mut().for_each(|(client, _)| client.expect_quiet());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    });
}

/// Registers something that panics in each place where the application may be called.
fn prepare_panics(io: &Server) {
    let bad = io.of("/bad");
    bad.on_any(async || panic!("as the test wants"));
    bad.on_any_outgoing(async || panic!("as the test wants"));
    bad.on_refused(async || panic!("as the test wants"));
    bad.on_disconnecting(async || panic!("as the test wants"));
    bad.on_connect(async |socket: Socket| {
        socket.join("room");
        socket.on("own", async || panic!("as the test wants"));
        socket.once("own", async |socket: Socket| socket.emit("goes on", ()));
        socket.use_(async |_: &Socket, EventName(event): EventName| match event.as_str() {
            "refused" => Err(Refuse::new("no")),
            "panic" => panic!("as the test wants"),
            _ => Ok(()),
        });
    });
}

#[test]
fn m59_listeners_of_any_kind_that_panic_harm_nobody_else() {
    quiet();
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            prepare_panics(io);
            let log = log.clone();
            io.of("/bad").on_disconnect(async move |socket: Socket| log.add(socket.rooms().len()));
        });
        let (mut client, mut neighbour) = (server.client(), server.client());
        let mut panics = 0;
        for _ in 0..50 {
            client.join("/bad");
            // The catch-all and the first listener panic, and so does the one of what is sent.
            client.send("42/bad,[\"own\"]");
            client.expect(&["42/bad,[\"goes on\"]"]);
            client.send_all(&["42/bad,[\"refused\"]", "42/bad,[\"panic\"]", "41/bad,"]);
            client.expect_quiet();
            neighbour.expect_quiet();
            events.expect(&["0"]);
            panics += 3 + 2 + 2 + 1;
            server.await_count(panics, |stats| stats.handlers_panicked);
        }
        server.io.of("/bad").to("room").emit("nobody is left", ());
        neighbour.expect_quiet();
    });
}

/// Asks its socket something when it is dropped.
struct Asks(Socket, Log);

impl Drop for Asks {
    fn drop(&mut self) {
        self.1.add(format!("dropped {}", self.0.leave("room")));
    }
}

#[test]
fn what_listeners_hold_may_ask_the_server_something_when_it_is_dropped() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let held = log.clone();
            io.of("/").on("x", async move |socket: Socket| {
                let asks = || Asks(socket, held.clone());
                socket.join("room");
                let (one, two, three) = (asks(), asks(), asks());
                let listener = socket.on("y", async move || one.0.id()).unwrap();
                socket.on_any_outgoing(async move || two.0.id());
                socket.use_(async move |_: &Socket| {
                    let _held = &three;
                    Ok(())
                });
                assert!(socket.off(listener));
                assert_eq!(socket.off_any_outgoing(), 1);
            });
            let held = log.clone();
            io.of("/").on_disconnect(async move |socket: Socket| {
                let asks = Asks(socket, held.clone());
                held.add("gone");
                fanfare::time::spawn_local(async move {
                    let socket = asks.0;
                    while socket.data().set(1) {
                        fanfare::time::sleep(Duration::from_millis(1)).await;
                    }
                    assert!(socket.on("x", async move || asks.0.id()).is_none());
                    assert!(socket.on_any(async || {}).is_none());
                });
            });
        });
        let mut client: Client = server.client();
        client.send("42[\"x\"]");
        events.expect(&["dropped true", "dropped false"]);
        client.send("41");
        events.expect(&["gone", "dropped false", "dropped false"]);
        assert_eq!(server.count(|stats| stats.handlers_panicked), 0);
    });
}
