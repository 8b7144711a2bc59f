//! Middlewares: group 25 of the inventory.

use std::time::Duration;

use fanfare::{Auth, Refuse, Server, Socket, State};
use serde::Deserialize;
use serde_json::json;

use crate::fixture::{Fixture, each, log, options};

#[derive(Deserialize)]
struct Token {
    token: String,
}

fn guard(io: &Server, name: &str) {
    io.of(name).middleware(async |_: &Socket, Auth(auth): Auth<Token>| match &*auth.token {
        "sesame" => Ok(()),
        "data" => Err(Refuse::new("no \"way\"").data(&json!({ "a": [1, null] }))),
        _ => Err(Refuse::new("not authorized")),
    });
}

#[test]
fn b25_2_b25_3_b25_8_b25_9_a_middleware_decides_and_the_client_may_try_again() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for name in ["/", "/nsp"] {
                guard(io, name);
                let log = log.clone();
                io.of(name).on_connect(async move |socket: Socket| log.add(socket.namespace()));
            }
        });
        let mut client = server.open();
        for (name, prefix) in [("/", ""), ("/nsp", "/nsp,")] {
            client.send(&format!("40{prefix}{{\"token\":\"wrong\"}}"));
            client.expect(&[&format!("44{prefix}{{\"message\":\"not authorized\"}}")]);
            client.send(&format!("40{prefix}{{\"token\":\"data\"}}"));
            let data = "\"data\":{\"a\":[1,null]}";
            client.expect(&[&format!("44{prefix}{{\"message\":\"no \\\"way\\\"\",{data}}}")]);
            assert_eq!(events.rest(), [""; 0], "nobody has connected");
            client.send(&format!("40{prefix}{{\"token\":\"sesame\"}}"));
            assert!(client.text().starts_with(&format!("40{prefix}{{\"sid\":\"")));
            events.expect(&[name]);
        }
    });
}

#[test]
fn an_auth_that_does_not_fit_is_refused_by_the_middleware_that_asks_for_it() {
    each(|shards| {
        let server = Fixture::start(shards, |io| guard(io, "/"));
        let mut client = server.open();
        for auth in ["", "{}", "{\"token\":1}"] {
            client.send(&format!("40{auth}"));
            let reply = client.text();
            assert!(reply.starts_with("44{\"message\":\"the client's arguments"), "{reply}");
        }
    });
}

#[test]
fn b25_1_b25_4_b25_5_b25_7_b25_10_middlewares_run_in_order_before_the_connection() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for (name, wait) in [("slow", 30), ("quick", 0), ("third", 10)] {
                let log = log.clone();
                io.of("/").middleware(async move |socket: &Socket| {
                    fanfare::time::sleep(Duration::from_millis(wait)).await;
                    log.add(format!("{name} {}", socket.is_connected()));
                    Ok(())
                });
            }
            let log = log.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                log.add(format!("connected {}", socket.is_connected()));
            });
        });
        let _client = server.client();
        events.expect(&["slow false", "quick false", "third false", "connected true"]);
    });
}

#[test]
fn the_first_that_refuses_ends_it() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for (name, passes) in [("first", true), ("second", false), ("third", true)] {
                let log = log.clone();
                io.of("/").middleware(async move |_: &Socket| {
                    log.add(name);
                    if passes { Ok(()) } else { Err(Refuse::new(name)) }
                });
            }
            log.log_disconnects(io);
        });
        let mut client = server.open();
        client.send("40");
        client.expect(&["44{\"message\":\"second\"}"]);
        drop(client);
        events.expect(&["first", "second"]);
        drop(server);
        assert_eq!(events.rest(), [""; 0], "who has not connected does not disconnect");
    });
}

#[test]
fn b25_6_who_leaves_while_a_middleware_waits_does_not_connect() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (before, after) = (log.clone(), log.clone());
            io.of("/").middleware(async move |socket: &Socket| {
                before.add("waits");
                while socket.join("room") {
                    fanfare::time::sleep(Duration::from_millis(1)).await;
                }
                before.add("gone");
                Ok(())
            });
            io.of("/").on_connect(async move |_: Socket| after.add("connected"));
            log.log_disconnects(io);
        });
        let mut client = server.open();
        client.send("40");
        events.expect(&["waits"]);
        drop(client);
        events.expect(&["gone"]);
        drop(server);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn p14_5_packets_for_a_namespace_whose_middleware_waits_close_the_session() {
    each(|shards| {
        for text in ["42[\"x\"]", "431[]", "41", "40"] {
            let (log, events) = log();
            let server = Fixture::start(shards, |io| {
                let log = log.clone();
                io.of("/").middleware(async move |socket: &Socket| {
                    log.add("waits");
                    while socket.join("room") {
                        fanfare::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok(())
                });
            });
            let mut client = server.open();
            client.send("40");
            events.expect(&["waits"]);
            client.send(text);
            client.expect_closed();
        }
    });
}

#[test]
fn b32_52_rooms_that_were_joined_in_a_refusing_middleware_are_left() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").middleware(async |socket: &Socket, Auth(auth): Auth<serde_json::Value>| {
                socket.join(["room", "other"]);
                socket.data().set(1_u8);
                match auth.get("pass") {
                    Some(_) => Ok(()),
                    None => Err(Refuse::new("no")),
                }
            });
        });
        let mut client = server.open();
        client.send("40");
        client.expect(&["44{\"message\":\"no\"}"]);
        server.io.to("room").emit("in room", ());
        client.expect_quiet();
        client.send("40{\"pass\":1}");
        assert!(client.text().starts_with("40{\"sid\":\""));
        server.io.to("room").emit("in room", ());
        client.expect(&["42[\"in room\"]"]);
    });
}

#[test]
fn emits_in_a_middleware_go_nowhere() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").middleware(async move |socket: &Socket| {
                socket.join("room");
                log.add(format!("{:?}", socket.emit("too early", ())));
                socket.in_("room").emit("to nobody", ());
                Ok(())
            });
        });
        let mut client = server.client();
        events.expect(&["Closed"]);
        client.expect_quiet();
    });
}

#[test]
fn a_middleware_may_ask_for_the_state_and_a_missing_one_refuses() {
    each(|shards| {
        let server = Fixture::with(options(shards).state("open".to_owned()), |io| {
            io.of("/").middleware(
                async |_: &Socket, State(word): State<String>| {
                    if word == "open" { Ok(()) } else { Err(Refuse::new(word)) }
                },
            );
            io.of("/nsp").middleware(async |_: &Socket, _: State<u8>| Ok(()));
        });
        let mut client = server.client();
        client.send("40/nsp,");
        client.expect(&["44/nsp,{\"message\":\"the event has no state of this type\"}"]);
    });
}

#[test]
fn m39_more_than_a_hundred_refusals_of_a_middleware_end_the_session() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").middleware(async |_: &Socket| Err(Refuse::new("no")));
        });
        let mut client = server.open();
        for _ in 0..101 {
            client.send("40");
            client.expect(&["44{\"message\":\"no\"}"]);
        }
        client.expect_closed();
    });
}
