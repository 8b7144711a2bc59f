//! What a user of the crate writes: extractors, data, options, results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::{
    Ack, Auth, Data, DisconnectReason, EmitError, Emitted, Error, EventName, EventParts, FromEvent,
    Raw, Rejection, Server, Socket, State, Transport, TryData,
};
use serde::Deserialize;

use crate::fixture::{Fixture, block_on, each, log, options};

#[derive(Deserialize)]
struct Token {
    user: String,
}

/// An extractor of the user's own.
struct User(String);

impl FromEvent for User {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<User, Rejection> {
        let Auth(token) = Auth::<Token>::from_event(parts)?;
        Ok(User(token.user))
    }
}

#[derive(Clone)]
struct Count(Arc<AtomicUsize>);

#[test]
fn a_handler_gets_what_it_asks_for_in_any_order() {
    each(|shards| {
        let (log, events) = log();
        let count = Count(Arc::default());
        let server = Fixture::with(options(shards).state(count.clone()).state(7_u8), |io| {
            io.of("/").on(
                "all",
                async move |State(count): State<Count>,
                            raw: Raw,
                            Data((a, b)): Data<(u8, String)>,
                            User(user): User,
                            ack: Ack,
                            EventName(name): EventName,
                            TryData(wrong): TryData<u8>,
                            State(seven): State<u8>| {
                    count.0.fetch_add(1, Ordering::Relaxed);
                    let raw = String::from_utf8_lossy(raw.args()).into_owned();
                    log.add(format!("{a} {b} {user} {name} {raw} {} {seven}", wrong.is_ok()));
                    ack.send(());
                },
            );
        });
        let mut client = server.open();
        client.send("40{\"user\":\"me\"}");
        client.text();
        client.send("429[\"all\",1,\"two\",3]");
        client.expect(&["439[]"]);
        events.expect(&["1 two me all 1,\"two\",3 true 7"]);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn wrong_arguments_do_not_reach_the_handler_and_are_counted() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (typed, tried) = (log.clone(), log.clone());
            io.of("/").on("x", async move |Data(n): Data<u8>| typed.add(format!("typed {n}")));
            io.of("/").on("x", async move |TryData(n): TryData<u8>| {
                tried.add(format!("tried {:?}", n.ok()));
            });
            io.of("/").on("user", async |_: User| {});
            io.of("/").on("state", async |_: State<u8>| {});
            io.of("/").on("reason", async |_: DisconnectReason| {});
        });
        let mut client = server.client();
        let bad = ["\"text\"", "256", "null", "[1]", "-1"];
        for args in bad {
            client.send(&format!("42[\"x\",{args}]"));
            events.expect(&["tried None"]);
        }
        client.send("42[\"x\",8,\"more\"]");
        events.expect(&["typed 8", "tried Some(8)"]);
        client.send_all(&["42[\"x\"]", "42[\"user\"]", "42[\"state\"]", "42[\"reason\"]"]);
        client.expect_quiet();
        events.expect(&["tried None"]);
        server.await_count(bad.len() as u64 + 4, |stats| stats.events_rejected);
    });
}

#[test]
fn missing_arguments_are_null_and_further_ones_are_left() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (one, two) = (log.clone(), log.clone());
            io.of("/").on("x", async move |Data(n): Data<Option<u8>>| one.add(format!("{n:?}")));
            type Pair = Data<(Option<u8>, Option<Bytes>)>;
            io.of("/").on("x", async move |Data(pair): Pair| two.add(format!("{pair:?}")));
        });
        let mut client = server.client();
        client.send_all(&["42[\"x\"]", "42[\"x\",1]", "42[\"x\",null,null,3]"]);
        events.expect(&["None", "(None, None)", "Some(1)", "(Some(1), None)", "None"]);
        events.expect(&["(None, None)"]);
    });
}

#[test]
fn data_is_one_value_of_any_type() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async move |socket: Socket| {
                let data = socket.data();
                log.add(format!("{:?} {}", data.get::<u8>(), data.set(1_u8)));
                log.add(format!("{:?} {:?}", data.get::<u8>(), data.get::<u16>()));
                log.add(format!("{:?}", data.take::<u16>()));
                let inside = data.with(|n: &mut u8| {
                    *n += 1;
                    data.get::<u8>()
                });
                log.add(format!("{inside:?} {:?}", data.get::<u8>()));
                log.add(format!("{:?} {:?}", data.take::<u8>(), data.get::<u8>()));
                data.set("text".to_owned());
                log.add(format!("{:?}", data.with(|text: &mut String| text.len())));
                data.take::<String>();
            });
        });
        let mut client = server.client();
        for _ in 0..2 {
            client.send("42[\"x\"]");
            events.expect(&["None true", "Some(1) None", "None", "Some(None) Some(2)"]);
            events.expect(&["Some(2) None", "Some(4)"]);
        }
    });
}

#[test]
fn data_is_each_sockets_own_and_dropped_with_it() {
    each(|shards| {
        let (log, events) = log();
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            for name in ["/", "/other"] {
                let held = Arc::clone(&held);
                io.of(name).on_connect(async move |socket: Socket| {
                    assert!(socket.data().get::<Arc<()>>().is_none());
                    socket.data().set(Arc::clone(&held));
                });
            }
        });
        let before = Arc::strong_count(&token);
        let mut client = server.client();
        client.join("/other");
        client.expect_quiet();
        assert_eq!(Arc::strong_count(&token), before + 2);
        client.send("41");
        client.expect_quiet();
        assert_eq!(Arc::strong_count(&token), before + 1);
        drop(client);
        let mut other = server.client();
        while Arc::strong_count(&token) > before + 1 {
            other.send("40/again,");
            other.text();
        }
        events.expect(&["gone: client namespace disconnect"]);
    });
}

#[test]
fn b32_34_b32_35_the_transport_is_known_and_changes_with_the_upgrade() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async |socket: Socket, ack: Ack| ack.send(socket.transport()));
        });
        let polling = server.polling();
        polling.post("421[\"x\"]");
        assert_eq!(polling.get(), "431[\"polling\"]");
        let query = format!("&sid={}", polling.sid);
        let mut client = crate::client::Client::probe(server.address, &query);
        client.expect(&["3probe"]);
        client.send_all(&["5", "422[\"x\"]"]);
        client.expect(&["432[\"websocket\"]"]);
    });
}

#[test]
fn without_keep_handshake_there_is_none_but_auth_is_kept() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::with(options(shards).keep_handshake(false), |io| {
            let gone = log.clone();
            io.of("/").on_connect(async move |socket: Socket, User(user): User| {
                log.add(format!("{user} {}", socket.handshake().is_none()));
            });
            io.of("/").on_disconnect(async move |socket: Socket| {
                gone.add(socket.handshake().is_none());
            });
        });
        let mut client = server.open();
        client.send("40{\"user\":\"me\"}");
        client.text();
        events.expect(&["me true"]);
        drop(client);
        events.expect(&["true"]);
    });
}

#[test]
fn b26_23_b32_50_reserved_event_names_are_refused() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async move |socket: Socket, Data(name): Data<String>| {
                let refused = Emitted::Refused(EmitError::ReservedEvent);
                assert_eq!(socket.emit(&name, ()), refused);
                assert_eq!(socket.broadcast().emit(&name, ()), refused);
                let answer = socket.emit_with_ack::<(), _>(&name, ()).await;
                log.add(answer.unwrap_err());
            });
        });
        let mut client = server.client();
        for name in [
            "connect",
            "connect_error",
            "disconnect",
            "disconnecting",
            "newListener",
            "removeListener",
        ] {
            assert_eq!(server.io.emit(name, ()), Emitted::Refused(EmitError::ReservedEvent));
            client.send(&format!("42[\"x\",\"{name}\"]"));
            events.expect(&["the caller's event name is reserved"]);
            let io = server.io.clone();
            let on = std::thread::spawn(move || io.of("/").on(name, async || {}).name().len());
            assert!(on.join().is_err(), "{name}");
        }
        client.expect_quiet();
    });
}

#[test]
fn b36_10_arguments_that_json_cannot_express_are_refused() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        let keys = BTreeMap::from([((1, 2), 3)]);
        let refused = Emitted::Refused(EmitError::Arguments);
        assert_eq!(server.io.emit("x", &keys), refused);
        assert_eq!(server.io.emit("x", (1, &keys)), refused);
        assert!(!refused.is_queued());
        let votes = server.io.of("/").emitter().emit_with_ack::<(), _>("x", &keys);
        assert!(block_on(votes).is_err());
        client.expect_quiet();
    });
}

#[test]
fn raw_arguments_of_the_server_are_sent_as_they_are() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        let raw = Raw::new("1e2,{\"b\":1.0}", Vec::new()).unwrap();
        server.io.emit("x", &raw);
        client.expect(&["42[\"x\",1e2,{\"b\":1.0}]"]);
        assert!(Raw::new("1,", Vec::new()).is_err() && Raw::new("]", Vec::new()).is_err());
    });
}

#[test]
fn sleep_and_spawn_local_run_beside_other_events() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async move |socket: Socket| {
                let inner = log.clone();
                fanfare::time::spawn_local(async move {
                    inner.add("spawned");
                    fanfare::time::sleep(Duration::from_millis(5)).await;
                    inner.add("slept");
                    socket.emit("slept", socket.is_connected());
                });
                log.add("handler");
            });
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        client.expect(&["42[\"slept\",true]"]);
        events.expect(&["spawned", "handler", "slept"]);
    });
}

#[test]
fn handlers_that_are_registered_while_the_server_runs_count_from_then_on() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        client.send("42[\"late\"]");
        client.expect_quiet();
        server.io.of("/").on("late", async |socket: Socket| socket.emit("heard", ()));
        server.io.of("/new");
        client.send("42[\"late\"]");
        client.expect(&["42[\"heard\"]"]);
        client.join("/new");
    });
}

#[test]
fn options_that_make_no_sense_are_errors_that_name_them() {
    let cases = [
        (options(0), "shards"),
        (options(100_000), "shards"),
        (options(1).path("live"), "path"),
        (options(1).ping_interval(Duration::ZERO), "ping_interval"),
        (options(1).ping_timeout(Duration::ZERO), "ping_timeout"),
        (options(1).transports(Vec::<Transport>::new()), "transports"),
        (options(1).max_http_buffer_size(0), "max_http_buffer_size"),
        (options(1).limits(|limits| limits.json_depth = 129), "limits"),
        (options(1).limits(|limits| limits.receive_buffers = 3), "limits"),
        (options(1).limits(|limits| limits.mailbox_commands = 0), "limits"),
    ];
    for (builder, option) in cases {
        match builder.build() {
            Err(Error::Option(named, _)) => assert_eq!(named, option),
            other => panic!("{option}: {other:?}"),
        }
    }
    let folder = options(1).serve_client(true).client_folder("/no/such/folder").build();
    assert!(matches!(folder, Err(Error::ClientBundle(..))));
}

#[test]
fn b28_22_a_server_starts_once_and_on_an_address_that_is_free() {
    let server = Fixture::start(1, |_| {});
    assert_eq!(server.io.address(), Some(server.address));
    assert!(matches!(server.io.spawn("127.0.0.1:0"), Err(Error::Started)));
    let second = options(1).build().unwrap();
    assert!(matches!(second.spawn(server.address), Err(Error::Listen(..))));
    let third = Server::builder().build().unwrap();
    assert!(matches!(third.spawn("no address"), Err(Error::Address(..))));
    let _client = server.client();
}

#[test]
fn the_counters_of_a_server_count() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("x", async |socket: Socket| socket.emit("y", ()));
        });
        assert_eq!(block_on(server.io.stats()).len(), shards);
        let mut client = server.client();
        client.send("42[\"x\"]");
        client.expect(&["42[\"y\"]"]);
        // The open packet is not one of ours, the reply to CONNECT and the event are.
        assert_eq!(server.count(|stats| stats.packets_queued), 2);
        assert_eq!(server.count(|stats| stats.packets_received), 2);
        assert_eq!(server.count(|stats| stats.sessions_opened), 1);
        assert_eq!(server.count(|stats| stats.connections_accepted), 1);
        drop(client);
        server.await_count(1, |stats| stats.sessions_closed);
        let idle = options(shards).build().unwrap();
        assert!(block_on(idle.stats()).is_empty());
    });
}

#[test]
#[should_panic(expected = "must not hold a comma")]
fn the_name_of_a_namespace_holds_no_comma() {
    options(1).build().unwrap().of("/a,b");
}
