//! A server that drains: who goes when, and what they still get.

use std::time::Duration;

use fanfare::test::{App, Client};
use fanfare::{Ack, Data, DisconnectReason, Server, Socket, Transport};

const SECOND: Duration = Duration::from_secs(1);
const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Polling];

/// Acknowledges after so many seconds.
fn patient(builder: fanfare::Builder) -> Server {
    let io = builder.build().unwrap();
    io.of("/").on("wait", async |Data(seconds): Data<u64>, ack: Ack| {
        fanfare::time::sleep(Duration::from_secs(seconds)).await;
        ack.send(seconds);
    });
    io.of("/").on("gate", async |_: Socket, ack: Ack| ack.send("open"));
    io.of("/gated").packet_middleware(async |_: &Socket| {
        fanfare::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    });
    io.of("/gated").on("gate", async |ack: Ack| ack.send("open"));
    io
}

fn connected(clients: &[Client]) -> usize {
    clients.iter().filter(|client| client.is_connected()).count()
}

#[test]
fn m63_clients_are_sent_away_at_a_thousand_a_second() {
    let app = App::start(patient(Server::builder()));
    let clients: Vec<Client> = (0..400).map(|_| app.connect("/")).collect();
    app.server().drain();
    app.advance(Duration::from_millis(100));
    // Each shard paces as if the other had as many, and looks about every 10 ms.
    let left = connected(&clients);
    assert!((200..=360).contains(&left), "{left} are left after a quarter of the time");
    app.advance(Duration::from_millis(500));
    assert_eq!(connected(&clients), 0);
    assert!(clients.iter().all(|client| client.disconnect_reason() == Some("transport close")));
}

#[test]
fn m63_a_drain_that_must_hurry_takes_the_time_it_has() {
    let app = App::start(patient(Server::builder().drain_timeout(Duration::from_millis(50))));
    let clients: Vec<Client> = (0..400).map(|_| app.connect("/")).collect();
    app.server().drain();
    app.advance(Duration::from_millis(60));
    assert_eq!(connected(&clients), 0);
}

#[test]
fn m63_an_event_that_was_received_is_acknowledged_before_its_client_goes() {
    for transport in TRANSPORTS {
        let app = App::builder().transport(transport).start(patient(Server::builder()));
        let (busy, idle, gated) = (app.connect("/"), app.connect("/"), app.connect("/gated"));
        let reply = busy.emit_with_ack::<u64, _>("wait", 5);
        let passed = gated.emit_with_ack::<String, _>("gate", ());
        app.settle();
        app.server().drain();
        app.advance(SECOND);
        assert_eq!(idle.expect_disconnect(), "transport close");
        assert!(busy.is_connected() && gated.is_connected());
        app.advance(2 * SECOND);
        assert_eq!(passed.expect(), "open");
        assert!(busy.is_connected());
        app.advance(3 * SECOND);
        assert_eq!(reply.expect(), 5);
        assert_eq!(busy.expect_disconnect(), "transport close");
    }
}

#[test]
fn m63_nobody_is_waited_for_beyond_the_time_of_a_drain() {
    let app = App::start(patient(Server::builder().drain_timeout(10 * SECOND)));
    let busy = app.connect("/");
    let reply = busy.emit_with_ack::<u64, _>("wait", 3600);
    app.settle();
    app.server().drain();
    app.advance(9 * SECOND);
    assert!(busy.is_connected());
    app.advance(2 * SECOND);
    assert_eq!(busy.expect_disconnect(), "transport close");
    assert_eq!(reply.received(), None);
}

#[test]
fn m63_what_was_queued_comes_before_the_end_and_handlers_hear_why() {
    for transport in TRANSPORTS {
        let (sender, reasons) = std::sync::mpsc::channel();
        let io = Server::builder().build().unwrap();
        io.of("/").on_disconnect(async move |reason: DisconnectReason| {
            sender.send(reason.to_string()).unwrap();
        });
        let app = App::builder().transport(transport).start(io);
        let client = app.connect("/");
        app.server().emit("last words", 1);
        app.server().drain();
        app.advance(2 * SECOND);
        assert_eq!(client.expect::<u8>("last words"), 1);
        assert_eq!(client.expect_disconnect(), "transport close");
        assert_eq!(reasons.try_recv().unwrap(), "server shutting down");
    }
}

#[test]
fn m63_a_server_that_drains_can_be_closed_at_once() {
    let app = App::start(patient(Server::builder()));
    let busy = app.connect("/");
    let _never = busy.emit_with_ack::<u64, _>("wait", 3600);
    app.settle();
    app.server().drain();
    app.advance(SECOND);
    assert!(busy.is_connected());
    app.server().close();
    assert_eq!(busy.expect_disconnect(), "transport close");
}
