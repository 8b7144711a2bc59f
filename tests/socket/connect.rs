//! Joining namespaces: protocol.md §14.1 and §14.4, and groups 23, 26 of the inventory.

use std::time::Duration;

use fanfare::{Data, DisconnectReason, Server, Socket};
use serde_json::Value;

use crate::client::{Client, Polling, Received};
use crate::fixture::{Fixture, each, log, options};

#[test]
fn p14_4_the_reply_comes_before_anything_that_the_connection_handler_emits() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async |socket: Socket| {
                socket.emit("first", 1);
                socket.broadcast().emit("joined", ());
            });
            let server = io.clone();
            io.of("/").on_connect(async move |_: Socket| {
                server.emit("second", 2);
            });
        });
        let mut client = server.open();
        client.send("40");
        assert!(client.text().starts_with("40{\"sid\":\""));
        client.expect(&["42[\"first\",1]", "42[\"second\",2]"]);
        let polling = Polling::open(server.address);
        polling.post("40");
        let body = polling.get();
        let packets: Vec<&str> = body.split('\u{1e}').collect();
        assert!(packets[0].starts_with("40{\"sid\":\""), "{body}");
        assert_eq!(packets[1..], ["42[\"first\",1]", "42[\"second\",2]"]);
        client.expect(&["42[\"joined\"]", "42[\"second\",2]"]);
    });
}

#[test]
fn p14_4_nothing_is_sent_before_the_client_asks_to_join() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async move |_: Socket| log.add("joined"));
        });
        let mut silent = server.open();
        server.io.emit("for those who joined", ());
        silent.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn p14_4_socket_ids_are_twenty_characters_and_say_nothing_of_the_session() {
    each(|shards| {
        let server = Fixture::start(shards, |io| drop(io.of("/other")));
        let polling = Polling::open(server.address);
        polling.post("40");
        let id = crate::client::socket_id(&polling.get(), "");
        let mut client = server.open();
        let ids = [id, client.join("/"), client.join("/other")];
        assert!(ids.iter().all(|id| id.len() == 20), "{ids:?}");
        assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
        let tail = &ids[0][8..];
        assert!(!polling.sid.contains(tail) && !ids[0].contains(&polling.sid));
    });
}

#[test]
fn b26_4_b26_5_b26_6_a_client_joins_the_default_namespace_and_every_handler_is_told() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for name in ["first", "second"] {
                let log = log.clone();
                io.of("/").on_connect(async move |socket: Socket| {
                    log.add(format!("{name} {} {}", socket.namespace(), socket.is_connected()));
                });
            }
        });
        let _client = server.client();
        events.expect(&["first / true", "second / true"]);
    });
}

#[test]
fn b26_1_b26_2_b26_8_b26_9_the_empty_name_and_the_slash_are_one_namespace() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            assert_eq!((io.of("").name(), io.of("/").name()), ("/", "/"));
            assert_eq!(io.of("abc").name(), "/abc");
            io.of("").on_connect(async move |socket: Socket| log.add(socket.namespace()));
        });
        for name in ["40", "40/,", "40/"] {
            let mut client = server.open();
            client.send(name);
            assert!(client.text().starts_with("40{\"sid\":\""), "{name}");
            events.expect(&["/"]);
            server.io.emit("shortcut", ());
            server.io.of("").emit("alias", ());
            client.expect(&["42[\"shortcut\"]", "42[\"alias\"]"]);
        }
    });
}

#[test]
fn b26_7_b26_10_b26_11_many_namespaces_with_handlers_of_their_own() {
    each(|shards| {
        let (log, events) = log();
        let names = ["/first", "/second", "/third"];
        let server = Fixture::start(shards, |io| {
            for name in names {
                let log = log.clone();
                io.of(name).on_connect(async move |socket: Socket| log.add(socket.namespace()));
            }
        });
        let mut client = server.open();
        names.iter().for_each(|name| drop(client.join(name)));
        events.expect(&names);
    });
}

#[test]
fn b26_12_the_loss_of_the_transport_disconnects_every_namespace_in_order() {
    each(|shards| {
        let (log, events) = log();
        let names = ["/", "/second", "/third"];
        let server = Fixture::start(shards, |io| {
            for name in names {
                let log = log.clone();
                io.of(name).on_disconnect(async move |socket: Socket, why: DisconnectReason| {
                    log.add(format!("{} {why}", socket.namespace()));
                });
            }
        });
        let mut client = server.open();
        names.iter().for_each(|name| drop(client.join(name)));
        drop(client);
        let seen = names.map(|name| format!("{name} transport close"));
        events.expect(&seen.each_ref().map(String::as_str));
    });
}

#[test]
fn b26_14_an_unknown_namespace_is_refused_and_the_session_stays() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.open();
        client.send("40/doesnotexist,");
        client.expect(&[r#"44/doesnotexist,{"message":"Invalid namespace"}"#]);
        client.join("/");
        client.expect_quiet();
    });
}

#[test]
fn b26_15_two_sessions_of_one_page_are_two_sockets() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let (mut first, mut second) = (server.open(), server.open());
        assert_ne!(first.join("/"), second.join("/"));
    });
}

#[test]
fn b26_24_a_session_without_a_namespace_ends_after_the_connect_timeout() {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards).connect_timeout(Duration::from_millis(60));
        let server = Fixture::with(options, |io| {
            log.log_disconnects(io);
            io.of("/refusing").middleware(async |_: &Socket| Err(fanfare::Refuse::new("no")));
        });
        let mut joined = server.client();
        let mut left = server.client();
        left.send("41");
        events.expect(&["gone: client namespace disconnect"]);
        let mut silent = server.open();
        let polling = Polling::open(server.address);
        // Being refused is not joining.
        let mut refused = server.open();
        refused.send_all(&["40/unknown,", "40/refusing,"]);
        refused.expect(&[
            r#"44/unknown,{"message":"Invalid namespace"}"#,
            r#"44/refusing,{"message":"no"}"#,
        ]);
        silent.expect_closed();
        refused.expect_closed();
        let end = polling.get();
        assert!(end == "1" || end == "6\u{1e}1", "{end}");
        // Who has joined once may stay for ever, and join again.
        joined.expect_quiet();
        left.join("/");
    });
}

#[test]
fn p14_7_a_client_leaves_one_namespace_and_may_come_back() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            io.of("/other").on("ping me", async |socket: Socket| socket.emit("here", ()));
        });
        let mut client = server.open();
        let first = client.join("/");
        client.join("/other");
        client.send("41");
        events.expect(&["gone: client namespace disconnect"]);
        server.io.emit("for those who are there", ());
        client.send("42/other,[\"ping me\"]");
        client.expect(&["42/other,[\"here\"]"]);
        assert_ne!(client.join("/"), first, "a fresh id for each socket");
    });
}

#[test]
fn p14_1_namespace_names_are_taken_verbatim() {
    each(|shards| {
        let names = ["/A", "/a", "/%61", "/a?x=1", "/a b", "/ü", "/a/b", "/a/"];
        let server = Fixture::start(shards, |io| {
            for name in names {
                io.of(name).on("who", async |socket: Socket| {
                    socket.emit("you are in", socket.namespace());
                });
            }
        });
        let mut client = server.open();
        for name in names {
            client.join(name);
            client.send(&format!("42{name},[\"who\"]"));
            client.expect(&[&format!("42{name},[\"you are in\",\"{name}\"]")]);
        }
    });
}

#[test]
fn p14_5_connect_and_event_may_come_together() {
    // In the reference a race, here an order: the CONNECT is worked off first.
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async |socket: Socket| socket.emit("y", ()));
        });
        let polling = Polling::open(server.address);
        polling.post("40\u{1e}42[\"x\"]");
        assert!(polling.get().ends_with("\u{1e}42[\"y\"]"));
    });
}

#[test]
fn b32_36_b32_37_b32_38_the_handshake_is_that_of_the_first_request() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            for name in ["/", "/second"] {
                let log = log.clone();
                io.of(name).on_connect(async move |socket: Socket| {
                    let shake = socket.handshake().expect("kept by default");
                    let auth: Value = shake.auth().unwrap();
                    let port = shake.address().map(|address| address.port());
                    log.add(format!(
                        "{} {:?} {:?} {:?} {auth} {}",
                        port.unwrap(),
                        shake.query("key"),
                        shake.query("key2"),
                        shake.header("X-CUSTOM"),
                        shake.url(),
                    ));
                    let has = |(name, value): &(String, Vec<u8>)| {
                        name.eq_ignore_ascii_case("x-custom") && value == b"v"
                    };
                    assert!(shake.headers().iter().any(has));
                });
            }
        });
        let headers = [("x-custom", "v")];
        let mut client = Client::open_with(server.address, "&key=1%26%26&key2=a%20b", &headers);
        client.send("40{\"token\":1}");
        client.text();
        client.join("/second");
        let url = "/socket.io/?EIO=4&transport=websocket&key=1%26%26&key2=a%20b";
        let rest = format!("{} Some(\"1&&\") Some(\"a b\") Some(\"v\")", client.port());
        events.expect(&[&format!("{rest} {{\"token\":1}} {url}"), &format!("{rest} {{}} {url}")]);
    });
}

#[test]
fn b32_42_events_flow_again_after_the_server_restarts() {
    each(|shards| {
        let prepare = |io: &Server| {
            io.of("/").on("echo", async |socket: Socket, Data(text): Data<String>| {
                socket.emit("echo", text);
            });
        };
        let mut first = Fixture::start(shards, prepare);
        let mut client = first.client();
        first.io.close();
        client.expect_closed();
        assert_eq!(client.receive(), Received::Lost);
        drop(client);
        first.running.take().unwrap().join().unwrap();
        let second = options(shards).build().unwrap();
        prepare(&second);
        let running = second.spawn(first.address).unwrap();
        let mut client = Client::joined(running.address().unwrap());
        client.send("42[\"echo\",\"again\"]");
        client.expect(&["42[\"echo\",\"again\"]"]);
        drop(client);
    });
}
