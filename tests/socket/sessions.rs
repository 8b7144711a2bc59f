//! What applications hear of the sessions below their sockets.

use std::time::Duration;

use fanfare::engine::Message;
use fanfare::{
    DisconnectDetail, DisconnectReason, Packet, PacketKind, ReadyState, Server, Session, Socket,
};

use crate::client::{Client, Polling};
use crate::fixture::{Fixture, Log, each, log, options};

fn shown(packet: &Packet) -> String {
    match &packet.data {
        Message::Text(text) => format!("{:?} {text}", packet.kind),
        Message::Binary(data) => format!("{:?} {data:?}", packet.kind),
    }
}

/// Has the packets of a session that come, and those that it is sent, logged.
fn log_packets(conn: Session, log: &Log) {
    let (came, created) = (log.clone(), log.clone());
    let came = conn.on_packet(async move |packet: Packet| {
        came.add(format!("came {}", shown(&packet)));
    });
    let created = conn.on_packet_create(async move |packet: Packet| {
        created.add(format!("created {}", shown(&packet)));
    });
    assert!(came.is_some() && created.is_some());
}

#[test]
fn b8_1_every_packet_that_comes_is_told_before_its_handlers_run() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (of_session, handler) = (log.clone(), log.clone());
            io.of("/").on_connect(async move |conn: Session| {
                let log = of_session.clone();
                conn.on_packet(async move |packet: Packet| log.add(shown(&packet)));
            });
            io.of("/").on("x", async move || handler.add("handled"));
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        client.send("451-[\"x\",{\"_placeholder\":true,\"num\":0}]");
        client.send_binary(b"\x01");
        client.send("6");
        events.expect(&["Message 2[\"x\"]", "handled"]);
        events.expect(&["Message 51-[\"x\",{\"_placeholder\":true,\"num\":0}]"]);
        events.expect(&["Message b\"\\x01\"", "handled", "Noop "]);
        let other = server.polling();
        other.post("42[\"x\"]");
        events.expect(&["Message 2[\"x\"]", "handled"]);
        other.post("451-[\"x\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQ==");
        events.expect(&["Message 51-[\"x\",{\"_placeholder\":true,\"num\":0}]"]);
        events.expect(&["Message b\"\\x01\"", "handled"]);
    });
}

#[test]
fn b8_2_b8_4_a_ping_is_told_before_it_is_sent_and_so_is_its_pong() {
    each(|shards| {
        let (log, events) = log();
        let quick = options(shards).ping_interval(Duration::from_millis(50));
        let server = Fixture::with(quick, |io| {
            let log = log.clone();
            io.of("/").on_connect(async move |conn: Session| {
                log_packets(conn, &log);
                let log = log.clone();
                conn.on_heartbeat(async move || log.add("heartbeat"));
            });
        });
        let mut client = server.client();
        events.expect(&["created Ping "]);
        client.send("3");
        events.expect(&["came Pong ", "heartbeat", "created Ping "]);
        drop(client);
        let polling = server.polling();
        events.expect(&["created Ping "]);
        polling.post("3");
        events.expect(&["came Pong ", "heartbeat"]);
    });
}

#[test]
fn b8_3_a_message_is_told_before_it_is_sent() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (of_session, drained) = (log.clone(), log.clone());
            io.of("/").on_connect(async move |conn: Session| {
                log_packets(conn, &of_session);
                let log = drained.clone();
                conn.on_drain(async move || log.add("drained"));
            });
            io.of("/").on("x", async |socket: Socket| {
                socket.emit("y", 1);
            });
        });
        let mut client = server.client();
        // What was queued before somebody listened is sent then.
        events.expect(&["drained"]);
        client.send("42[\"x\"]");
        events.expect(&["came Message 2[\"x\"]", "created Message 2[\"y\",1]", "drained"]);
        client.expect(&["42[\"y\",1]"]);
        server.io.emit("z", bytes::Bytes::from_static(b"\x02"));
        let placeholder = r#"created Message 51-["z",{"_placeholder":true,"num":0}]"#;
        events.expect(&[placeholder, "created Message b\"\\x02\"", "drained"]);
        client.expect(&[r#"451-["z",{"_placeholder":true,"num":0}]"#]);
        client.expect_binary(b"\x02");
    });
}

/// A server on which `fill` queues something and logs how much waits, and drains are logged, too.
fn filling(shards: usize, log: &Log) -> Fixture {
    let log = log.clone();
    Fixture::start(shards, |io| {
        io.of("/").on("fill", async move |socket: Socket| {
            let conn = socket.conn().expect("it is here");
            let drained = log.clone();
            conn.on_drain(async move |conn: Session| {
                drained.add(format!("drained {:?}", conn.queued_bytes()));
            });
            socket.emit("y", "x".repeat(100));
            log.add(format!("full {}", conn.queued_bytes() > Some(100)));
        });
    })
}

#[test]
fn b6_1_nothing_waits_when_a_polling_session_has_drained() {
    each(|shards| {
        let (log, events) = log();
        let server = filling(shards, &log);
        let client = server.polling();
        client.post("42[\"fill\"]");
        events.expect(&["full true"]);
        assert!(client.get().starts_with("42[\"y\""));
        events.expect(&["drained Some(0)"]);
    });
}

#[test]
fn b6_2_nothing_waits_when_a_websocket_has_drained() {
    each(|shards| {
        let (log, events) = log();
        let server = filling(shards, &log);
        let mut client = server.client();
        client.send("42[\"fill\"]");
        events.expect(&["full true", "drained Some(0)"]);
        assert!(client.text().starts_with("42[\"y\""));
    });
}

#[test]
fn an_upgrade_is_told_when_the_websocket_is_the_transport() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.engine().on_connection(async move |conn: Session| {
                log.add(format!("{:?} {:?}", conn.transport(), conn.ready_state()));
                let log = log.clone();
                conn.on_upgrade(async move |conn: Session| {
                    log.add(format!("{:?} {:?}", conn.transport(), conn.ready_state()));
                });
            });
        });
        let polling = Polling::open(server.address);
        events.expect(&["Some(\"polling\") Some(Open)"]);
        let query = format!("&sid={}", polling.sid);
        let mut websocket = Client::probe(server.address, &query);
        websocket.expect(&["3probe"]);
        assert!(events.rest().is_empty(), "it is only probed");
        websocket.send("5");
        events.expect(&["Some(\"websocket\") Some(Open)"]);
    });
}

#[test]
fn the_end_of_a_session_is_told_once_behind_that_of_its_sockets() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let disconnected = log.clone();
            io.engine().on_connection(async move |conn: Session| {
                let log = log.clone();
                conn.on_close(async move |reason: DisconnectReason, detail: DisconnectDetail| {
                    let state = conn.ready_state();
                    log.add(format!("{reason} {:?} {state:?}", detail.by));
                });
            });
            io.of("/").on_disconnect(async move || disconnected.add("disconnected"));
        });
        let mut client = server.client();
        client.close();
        events.expect(&["disconnected", "transport close Peer Some(Closed)"]);
        let polling = server.polling();
        polling.post("1");
        events.expect(&["disconnected", "transport close Peer Some(Closed)"]);
        drop(Client::open(server.address));
        events.expect(&["transport close Network Some(Closed)"]);
        let mut last = server.client();
        server.io.close();
        events.expect(&["disconnected", "forced close Server Some(Closed)"]);
        last.expect_closed();
        assert!(events.rest().is_empty());
    });
}

#[test]
fn a_session_has_the_id_that_its_client_has_whoever_made_it() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.engine().generate_id(async |request| {
                let query = request.uri().query().unwrap_or_default();
                query
                    .split('&')
                    .find(|pair| pair.starts_with("own="))
                    .map(str::to_owned)
                    .ok_or("none")
            });
            io.engine().on_connection(async move |conn: Session| {
                log.add(format!("{:?}", conn.sid()));
            });
        });
        let _client = Client::open_with(server.address, "&own=7", &[]);
        events.expect(&["Some(\"own=7\")"]);
    });
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.engine().on_connection(async move |conn: Session| {
                log.add(conn.sid().unwrap_or_default());
            });
        });
        let client = server.client();
        events.expect(&[&client.session]);
    });
}

#[test]
fn a_session_is_closed_from_any_thread_and_listened_to_on_its_own() {
    each(|shards| {
        let (log, events) = log();
        let (sender, sessions) = std::sync::mpsc::channel();
        let server = Fixture::start(shards, |io| {
            log.log_disconnects(io);
            io.engine().on_connection(async move |conn: Session| {
                let _ = sender.send((conn, conn.id()));
            });
        });
        let mut client = server.client();
        let (conn, id) = sessions.recv().expect("one session");
        let id = id.expect("it is told on its shard").text();
        assert_eq!(id, client.session.as_bytes());
        assert!(!format!("{conn:?} {:?}", conn.id()).contains(&client.session));
        assert!(conn.id().is_none() && conn.ready_state().is_none());
        assert!(conn.on_drain(async || {}).is_none());
        conn.close();
        client.expect_closed();
        events.expect(&["gone: forced close"]);
    });
}

#[test]
fn a_listener_that_was_taken_off_or_panics_disturbs_nobody() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let heard = log.clone();
            io.of("/").on_connect(async move |conn: Session| {
                let log = heard.clone();
                let listener = conn.on_packet(async move || log.add("not to be heard"));
                let listener = listener.expect("it is here");
                assert!(conn.off(listener) && !conn.off(listener));
                conn.on_packet(async || panic!("a listener"));
                let log = heard.clone();
                conn.on_packet(async move |packet: Packet| {
                    assert_eq!(packet.kind, PacketKind::Message);
                    log.add("heard");
                });
            });
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        events.expect(&["heard"]);
        server.await_count(1, |stats| stats.handlers_panicked);
        client.expect_quiet();
        events.expect(&["heard"]);
        assert!(events.rest().is_empty());
    });
}

#[test]
fn a_session_that_nobody_listens_to_any_more_is_like_any_other() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io: &Server| {
            io.of("/").on("x", async move |socket: Socket| {
                let conn = socket.conn().expect("it is here");
                let heard = log.clone();
                let listener = conn.on_packet_create(async move || heard.add("created"));
                socket.emit("y", 1);
                let was_there = listener.is_some_and(|listener| conn.off(listener));
                log.add(format!("{was_there} {}", conn.ready_state() == Some(ReadyState::Open)));
                socket.emit("z", 2);
            });
        });
        let mut client = server.client();
        client.send("42[\"x\"]");
        client.expect(&["42[\"y\",1]", "42[\"z\",2]"]);
        // It was there when the first was queued, and is told of that one alone.
        events.expect(&["true true", "created"]);
        assert!(events.rest().is_empty());
    });
}
