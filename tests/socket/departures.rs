//! What is known of why a client has gone, besides the reason.

use std::net::Shutdown;
use std::time::Duration;

use fanfare::{Builder, DisconnectDetail, DisconnectReason, Server, Session, Socket};

use crate::client::Client;
use crate::fixture::{Events, Fixture, each, log, options};

/// A server that logs why sockets of `/` have gone.
fn telling(options: Builder) -> (Fixture, Events) {
    let (log, events) = log();
    let server = Fixture::with(options, |io| {
        io.of("/").on_disconnect(async move |reason: DisconnectReason, why: DisconnectDetail| {
            log.add(format!("{reason}: {:?}, {:?}, {:?}", why.by, why.limit, why.close_code));
        });
        io.of("/").on("leave", async |socket: Socket| {
            socket.disconnect(true);
        });
        io.of("/").on("fill", async |socket: Socket| {
            socket.emit("much", "x".repeat(200_000));
        });
    });
    (server, events)
}

/// A server that logs why sessions have gone.
fn telling_of_sessions(options: Builder) -> (Fixture, Events) {
    let (log, events) = log();
    let server = Fixture::with(options, |io: &Server| {
        io.engine().on_connection(async move |conn: Session| {
            let log = log.clone();
            conn.on_close(async move |reason: DisconnectReason, why: DisconnectDetail| {
                log.add(format!("{reason}: {:?}, {:?}", why.by, why.limit));
            });
        });
    });
    (server, events)
}

#[test]
fn a_client_that_closes_is_told_apart_from_a_connection_that_breaks() {
    each(|shards| {
        let (server, events) = telling(options(shards));
        let mut client = server.client();
        client.close_with(4001);
        events.expect(&["transport close: Peer, None, Some(4001)"]);
        let mut client = server.client();
        client.close();
        events.expect(&["transport close: Peer, None, None"]);
        let mut client = server.client();
        client.send("1");
        events.expect(&["transport close: Peer, None, None"]);
        let mut client = server.client();
        client.send("41");
        events.expect(&["client namespace disconnect: Peer, None, None"]);
        let mut client = server.client();
        client.stream().shutdown(Shutdown::Both).expect("it is connected");
        events.expect(&["transport close: Network, None, None"]);
        let polling = server.polling();
        drop(polling.start_get());
        events.expect(&["transport error: Network, None, None"]);
    });
}

#[test]
fn what_the_server_closes_was_closed_by_the_server() {
    each(|shards| {
        let (server, events) = telling(options(shards));
        server.client().send("42[\"leave\"]");
        events.expect(&["server namespace disconnect: Server, None, None"]);
        server.client().send("4no packet");
        events.expect(&["forced close: Server, None, None"]);
        server.client().send("no packet");
        events.expect(&["parse error: Server, None, None"]);
        let _client = server.client();
        server.io.close();
        events.expect(&["server shutting down: Server, None, None"]);
    });
}

#[test]
fn a_client_that_takes_nothing_was_beyond_the_limit_of_its_queue() {
    each(|shards| {
        let few = options(shards).limits(|limits| limits.send_queue_bytes = 100_000);
        let (server, events) = telling(few);
        let mut client = server.client();
        client.send("42[\"fill\"]");
        events.expect(&["transport error: Server, Some(SendQueueBytes), None"]);
    });
}

#[test]
fn a_client_that_falls_silent_has_answered_no_ping() {
    each(|shards| {
        let short = Duration::from_millis(50);
        let (server, events) = telling(options(shards).ping_interval(short).ping_timeout(short));
        let _client = server.client();
        events.expect(&["ping timeout: Network, Some(PingTimeout), None"]);
    });
}

#[test]
fn a_client_that_does_not_finish_what_it_begins_was_too_late() {
    each(|shards| {
        let short = Duration::from_millis(50);
        let late = options(shards).limits(|limits| limits.attachments_timeout = short);
        let (server, events) = telling(late);
        let mut client = server.client();
        client.send("451-[\"x\",{\"_placeholder\":true,\"num\":0}]");
        events.expect(&["parse error: Server, Some(AttachmentsTimeout), None"]);
    });
}

#[test]
fn a_session_that_joins_nothing_is_beyond_the_limits_of_those() {
    each(|shards| {
        let short = options(shards).connect_timeout(Duration::from_millis(50));
        let (server, events) = telling_of_sessions(short);
        let _client = Client::open(server.address);
        events.expect(&["forced close: Server, Some(ConnectTimeout)"]);
        let few = options(shards).limits(|limits| limits.bytes_before_connect = 100);
        let (server, events) = telling_of_sessions(few);
        let mut client = Client::open(server.address);
        client.send(&format!("40/{}", "x".repeat(200)));
        events.expect(&["forced close: Server, Some(BytesBeforeConnect)"]);
    });
}

#[test]
fn the_last_round_trip_is_known_once_a_ping_was_answered() {
    each(|shards| {
        let (log, events) = log();
        let quick = options(shards).ping_interval(Duration::from_millis(50));
        let server = Fixture::with(quick, |io| {
            let (beats, gone) = (log.clone(), log.clone());
            io.of("/").on_connect(async move |conn: Session| {
                let log = beats.clone();
                conn.on_packet_create(async move || log.add("ping"));
                let log = beats.clone();
                conn.on_heartbeat(async move || log.add("pong"));
            });
            io.of("/").on_disconnect(async move |why: DisconnectDetail| {
                gone.add(format!("{:?}", why.round_trip.map(|time| time > Duration::ZERO)));
            });
        });
        let mut client = server.client();
        events.expect(&["ping"]);
        client.send("3");
        events.expect(&["pong"]);
        client.send("41");
        // Another ping may have come before.
        let round_trip = std::iter::repeat_with(|| events.next()).find(|line| line != "ping");
        assert_eq!(round_trip.as_deref(), Some("Some(true)"));
    });
}
