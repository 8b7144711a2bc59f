//! The end of sockets and sessions: protocol.md §9, §14.7 and §17.2, every reason provoked.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use fanfare::{Data, DisconnectReason, Emitted, Server, Socket};

use crate::client::{DEADLINE, Received};
use crate::fixture::{Events, Fixture, each, log, options};

/// Starts a server, and has `provoke` end a session of it for a reason.
fn provoke(reason: &str, provoke: impl Fn(&Fixture, &Events)) {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards).max_http_buffer_size(10_000);
        let server = Fixture::with(options, |io| {
            log.log_disconnects(io);
            io.of("/other");
        });
        provoke(&server, &events);
        events.expect(&[&format!("gone: {reason}")]);
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn p17_2_transport_close_when_the_client_closes_the_connection_or_the_session() {
    provoke("transport close", |server, _| drop(server.client()));
    provoke("transport close", |server, _| {
        let mut client = server.client();
        client.close();
        assert_eq!(client.receive(), Received::Closed(None));
    });
    provoke("transport close", |server, _| {
        let mut client = server.client();
        client.send("1");
        client.expect_closed();
    });
    provoke("transport close", |server, _| server.polling().post("1"));
}

#[test]
fn p17_2_transport_error_when_a_websocket_breaks_a_rule() {
    // A reserved opcode, a frame without a mask, a message beyond the limit.
    let frames: [(&[u8], u16); 3] = [
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x01, b'3'], 1002),
        (&[0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0], 1009),
    ];
    for (frame, code) in frames {
        provoke("transport error", |server, _| {
            let mut client = server.client();
            client.stream().write_all(frame).unwrap();
            assert_eq!(client.receive(), Received::Closed(Some(code)));
        });
    }
}

#[test]
fn p17_2_transport_error_when_heartbeats_go_the_wrong_way() {
    provoke("transport error", |server, _| {
        let mut client = server.client();
        client.send("2");
        client.expect_closed();
    });
    provoke("transport error", |server, _| {
        server.polling().request("POST", "2").finish();
    });
}

#[test]
fn p17_2_transport_error_when_polls_overlap_or_break_off() {
    provoke("transport error", |server, _| {
        let polling = server.polling();
        let (first, second) = (polling.start_get(), polling.start_get());
        let mut status = [first.finish().0, second.finish().0];
        status.sort_unstable();
        assert_eq!(status, [200, 400]);
    });
    provoke("transport error", |server, _| drop(server.polling().start_get()));
}

#[test]
fn p17_2_ping_timeout_when_a_client_does_not_answer() {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards)
            .ping_interval(Duration::from_millis(20))
            .ping_timeout(Duration::from_millis(40));
        let server = Fixture::with(options, |io| log.log_disconnects(io));
        let mut client = server.client();
        client.answers_pings = false;
        client.expect_closed();
        events.expect(&["gone: ping timeout"]);
        let _silent = server.polling();
        events.expect(&["gone: ping timeout"]);
    });
}

#[test]
fn p17_2_parse_error_when_an_engine_packet_cannot_be_decoded() {
    provoke("parse error", |server, _| {
        let mut client = server.client();
        client.send("9");
        client.expect_closed();
    });
    provoke("parse error", |server, _| {
        server.polling().request("POST", "9").finish();
    });
}

#[test]
fn p17_2_forced_close_when_a_packet_cannot_be_decoded_or_does_not_fit() {
    for text in ["4x", "42/other,[\"x\"]", "40"] {
        provoke("forced close", |server, _| {
            let mut client = server.client();
            client.send(text);
            client.expect_closed();
        });
    }
    provoke("forced close", |server, _| server.polling().post("4x"));
}

#[test]
fn p17_2_forced_server_close_when_no_poll_is_there_to_tell_of_a_packet_that_does_not_fit() {
    provoke("forced server close", |server, events| {
        let polling = server.polling();
        polling.post("42/other,[\"x\"]");
        events.expect(&["gone: forced server close"]);
        assert_eq!(polling.get(), "6\u{1e}1");
        // The next one, to end as `provoke` wants.
        server.polling().post("41/other,");
    });
}

#[test]
fn p14_7_p17_2_client_namespace_disconnect_has_no_answer_and_other_namespaces_go_on() {
    provoke("client namespace disconnect", |server, _| {
        let mut client = server.client();
        client.join("/other");
        client.send("41");
        client.expect_quiet();
        server.io.of("/other").emit("x", ());
        client.expect(&["42/other,[\"x\"]"]);
    });
}

/// A server on which the event `bye` disconnects the socket, after one emit and before another.
fn says_bye(io: &Server, log: &crate::fixture::Log) {
    log.log_disconnects(io);
    io.of("/other");
    let log = log.clone();
    io.of("/").on("bye", async move |socket: Socket, Data(close): Data<bool>| {
        socket.emit("before", ());
        assert!(socket.disconnect(close));
        assert!(!socket.disconnect(close) && !socket.is_connected());
        log.add(format!("{:?}", socket.emit("after", ())));
    });
}

#[test]
fn p14_7_p17_2_disconnect_tells_the_client_and_leaves_its_session_open() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| says_bye(io, &log));
        let mut client = server.client();
        client.join("/other");
        client.send("42[\"bye\",false]");
        client.expect(&["42[\"before\"]", "41"]);
        events.expect(&["Closed", "gone: server namespace disconnect"]);
        server.io.of("/other").emit("x", ());
        client.expect(&["42/other,[\"x\"]"]);
        client.join("/");
    });
}

#[test]
fn b32_62_p14_7_disconnect_true_leaves_every_namespace_in_order_and_closes() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            says_bye(io, &log);
            let log = log.clone();
            io.of("/other").on_disconnect(async move |reason: DisconnectReason| {
                log.add(format!("other gone: {reason}"));
            });
        });
        let mut client = server.open();
        client.join("/other");
        client.join("/");
        client.send("42[\"bye\",true]");
        client.expect(&["42[\"before\"]", "41/other,", "41"]);
        client.expect_closed();
        let reason = "server namespace disconnect";
        events.expect(&["Closed", &format!("other gone: {reason}"), &format!("gone: {reason}")]);
        let polling = server.polling();
        polling.post("40/other,");
        polling.get();
        polling.post("42[\"bye\",true]");
        assert_eq!(polling.get(), "42[\"before\"]\u{1e}41\u{1e}41/other,");
        assert_eq!(polling.get(), "6\u{1e}1");
        assert_eq!(polling.start_get().finish().0, 400);
    });
}

#[test]
fn b21_1_b21_2_p14_7_close_ends_its_clients_without_disconnect_packets_and_frees_the_port() {
    each(|shards| {
        let (log, events) = log();
        let mut server = Fixture::start(shards, |io| log.log_disconnects(io));
        let mut clients = [server.client(), server.client(), server.client()];
        let polling = server.polling();
        let held = polling.start_get();
        server.io.emit("queued before", ());
        for client in &mut clients {
            client.expect(&["42[\"queued before\"]"]);
        }
        assert_eq!(held.finish(), (200, "42[\"queued before\"]".to_owned()));
        server.io.close();
        for client in &mut clients {
            client.expect_closed();
            assert_eq!(client.receive(), Received::Lost);
        }
        events.expect(&["gone: server shutting down"; 4]);
        // The server waits a while for its clients to close, too.
        drop(clients);
        server.running.take().unwrap().join().unwrap();
        assert_eq!(events.rest(), [""; 0]);
        TcpListener::bind(server.address).expect("the port is free");
        server.io.close();
        assert_eq!(server.io.emit("nobody", ()), Emitted::Closed);
    });
}

#[test]
fn p14_7_close_answers_a_held_poll() {
    let (log, events) = log();
    let server = Fixture::start(1, |io| log.log_disconnects(io));
    let polling = server.polling();
    let held = polling.start_get();
    // Its end shows that the one shard has read the GET, which was sent before.
    drop(server.client());
    events.expect(&["gone: transport close"]);
    server.io.close();
    assert_eq!(held.finish(), (200, "1".to_owned()));
    events.expect(&["gone: server shutting down"]);
}

#[test]
fn b21_3_b21_4_closing_a_server_that_never_listened_does_nothing() {
    let io = options(1).build().unwrap();
    io.close();
    io.close();
    assert_eq!(io.address(), None);
}

#[test]
fn handlers_that_sleep_when_the_server_closes_end_in_their_time() {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards).limits(|limits| limits.shutdown_timeout = DEADLINE * 10);
        let mut server = Fixture::with(options, |io| {
            let log = log.clone();
            io.of("/").on_disconnect(async move || {
                for _ in 0..3 {
                    fanfare::time::sleep(Duration::from_millis(5)).await;
                }
                log.add("slept");
            });
        });
        drop(server.client());
        drop(server.client());
        server.io.close();
        let running = server.running.take().unwrap();
        let joined = std::thread::spawn(move || log.add(running.join().is_ok()));
        events.expect(&["slept", "slept", "true"]);
        joined.join().unwrap();
    });
}

#[test]
fn dropping_a_running_server_closes_it() {
    each(|shards| {
        let (log, events) = log();
        let mut server = Fixture::start(shards, |io| log.log_disconnects(io));
        let client = server.client();
        let running = server.running.take().unwrap();
        let dropped = std::thread::spawn(move || drop(running));
        events.expect(&["gone: server shutting down"]);
        drop(client);
        dropped.join().unwrap();
    });
}

#[test]
fn p9_packets_to_a_session_that_is_closing_are_ignored() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            says_bye(io, &log);
            let log = log.clone();
            io.of("/other").on("x", async move || log.add("x"));
        });
        let polling = server.polling();
        polling.post("40/other,");
        polling.post("42[\"bye\",true]");
        polling.post("42/other,[\"x\"]");
        events.expect(&["Closed", "gone: server namespace disconnect"]);
        assert!(polling.get().ends_with("41\u{1e}41/other,"));
        assert_eq!(polling.get(), "6\u{1e}1");
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn the_data_and_the_handshake_of_a_socket_outlive_it_until_its_last_handler_ends() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async |socket: Socket| {
                assert!(socket.data().set("kept".to_owned()));
            });
            let (quick, slow) = (log.clone(), log.clone());
            let see = |socket: &Socket| {
                let query = socket.handshake().and_then(|handshake| handshake.query("EIO"));
                format!("{:?} {query:?}", socket.data().get::<String>())
            };
            io.of("/").on_disconnect(async move |socket: Socket| quick.add(see(&socket)));
            io.of("/").on_disconnect(async move |socket: Socket| {
                fanfare::time::sleep(Duration::from_millis(20)).await;
                slow.add(see(&socket));
            });
        });
        drop(server.client());
        events.expect(&["Some(\"kept\") Some(\"4\")"; 2]);
        let mut leaves = server.client();
        leaves.send("41");
        events.expect(&["Some(\"kept\") Some(\"4\")"; 2]);
    });
}
