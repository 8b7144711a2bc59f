//! When what was sent is out: who waits for that is told once, and who only listens each time.

use fanfare::{DrainError, Packet, Server, Session, Socket};

use crate::client::Client;
use crate::fixture::{Events, Fixture, Log, block_on, each, log, options};

/// More than the buffers of both ends of a connection in the kernel hold.
const CHUNKS: usize = 24;
const CHUNK_BYTES: usize = 1_000_000;

/// A server whose clients can have packets queued, of which each is waited for, be told that it
/// still answers, and be closed.
fn prepare(io: &Server, log: &Log) {
    let (sent, filled, asked) = (log.clone(), log.clone(), log.clone());
    io.of("/").on("send", async move |socket: Socket, conn: Session| {
        for number in 1..=3 {
            socket.emit("y", number);
            wait(conn, number.to_string(), &sent);
        }
        sent.add("queued");
    });
    io.of("/").on("fill", async move |socket: Socket, conn: Session| {
        for _ in 0..CHUNKS {
            socket.emit("y", "x".repeat(CHUNK_BYTES));
        }
        wait(conn, "all".to_owned(), &filled);
        filled.add(format!("{}", conn.queued_bytes() > Some(CHUNKS * CHUNK_BYTES)));
    });
    io.of("/").on("ask", async move || asked.add("asked"));
    io.of("/").on("close", async |conn: Session| {
        conn.close();
    });
}

/// Has the end of what is queued logged: how it came, and how much waited then.
fn wait(conn: Session, name: String, log: &Log) {
    let (drained, log) = (conn.drained(), log.clone());
    fanfare::time::spawn_local(async move {
        let result = drained.await;
        log.add(format!("{name} {result:?} {:?}", conn.queued_bytes()));
    });
}

fn start(shards: usize) -> (Fixture, Events) {
    let (log, events) = log();
    let limits = options(shards).limits(|limits| limits.send_queue_bytes = 64 * 1024 * 1024);
    (Fixture::with(limits, |io| prepare(io, &log)), events)
}

/// Every packet of three has been waited for, and was told once.
#[track_caller]
fn expect_each(events: &Events) {
    events.expect(&["1 Ok(()) Some(0)", "2 Ok(()) Some(0)", "3 Ok(()) Some(0)"]);
    assert!(events.rest().is_empty(), "each is told once");
}

#[test]
fn b6_7_b6_12_b6_10_each_packet_that_was_waited_for_is_told_once_when_a_poll_has_taken_it() {
    each(|shards| {
        let (server, events) = start(shards);
        let client = server.polling();
        client.post("42[\"send\"]");
        events.expect(&["queued"]);
        client.post("42[\"ask\"]");
        events.expect(&["asked"]);
        assert!(events.rest().is_empty(), "nothing was polled");
        assert_eq!(client.get(), "42[\"y\",1]\u{1e}42[\"y\",2]\u{1e}42[\"y\",3]");
        expect_each(&events);
        // A poll that is held is answered at once.
        let held = client.start_get();
        client.post("42[\"send\"]");
        events.expect(&["queued"]);
        assert_eq!(held.finish().0, 200);
        expect_each(&events);
    });
}

#[test]
fn b6_9_b6_11_b6_10_each_packet_that_was_waited_for_is_told_once_when_a_websocket_has_taken_it() {
    each(|shards| {
        let (server, events) = start(shards);
        let mut client = server.client();
        client.send("42[\"send\"]");
        events.expect(&["queued"]);
        expect_each(&events);
        client.expect(&["42[\"y\",1]", "42[\"y\",2]", "42[\"y\",3]"]);
        client.send("42[\"ask\"]");
        events.expect(&["asked"]);
        assert!(events.rest().is_empty(), "each was told once");
    });
}

#[test]
fn b6_9_who_waits_for_a_client_that_does_not_read_waits_until_it_does() {
    each(|shards| {
        let (server, events) = start(shards);
        let mut client = server.client();
        client.send("42[\"fill\"]");
        events.expect(&["true"]);
        client.send("42[\"ask\"]");
        events.expect(&["asked"]);
        assert!(events.rest().is_empty(), "the kernel does not hold that much");
        for _ in 0..CHUNKS {
            assert_eq!(client.text().len(), CHUNK_BYTES + "42[\"y\",\"\"]".len());
        }
        events.expect(&["all Ok(()) Some(0)"]);
    });
}

#[test]
fn b6_8_what_was_queued_for_a_poll_is_told_when_the_websocket_has_taken_it() {
    each(|shards| {
        let (server, events) = start(shards);
        let polling = server.polling();
        polling.post("42[\"send\"]");
        events.expect(&["queued"]);
        let mut websocket = Client::probe(server.address, &format!("&sid={}", polling.sid));
        websocket.expect(&["3probe"]);
        polling.post("42[\"ask\"]");
        events.expect(&["asked"]);
        assert!(events.rest().is_empty(), "what a probe is sent is nothing of it");
        websocket.send("5");
        expect_each(&events);
        websocket.expect(&["42[\"y\",1]", "42[\"y\",2]", "42[\"y\",3]"]);
        websocket.send("42[\"send\"]");
        events.expect(&["queued"]);
        expect_each(&events);
    });
}

#[test]
fn b6_13_who_waits_is_released_by_the_end_of_the_session() {
    each(|shards| {
        let (server, events) = start(shards);
        let mut client = server.client();
        client.send("42[\"fill\"]");
        events.expect(&["true"]);
        drop(client);
        events.expect(&["all Err(Disconnected) None"]);
        let mut closing = server.client();
        closing.send("42[\"fill\"]");
        events.expect(&["true"]);
        closing.send("42[\"close\"]");
        events.expect(&["all Err(Disconnected) None"]);
        let polling = server.polling();
        polling.post("42[\"send\"]");
        events.expect(&["queued"]);
        server.io.close();
        // What was queued is lost, and nobody polls any more.
        let gone = ["1", "2", "3"].map(|name| format!("{name} Err(Disconnected) None"));
        events.expect(&gone.each_ref().map(String::as_str));
    });
}

#[test]
fn b6_14_what_was_never_polled_is_never_told_to_be_sent() {
    each(|shards| {
        let (server, events) = start(shards);
        let client = server.polling();
        client.post("42[\"send\"]");
        events.expect(&["queued"]);
        client.post("1");
        for name in ["1", "2", "3"] {
            events.expect(&[&format!("{name} Err(Disconnected) None")]);
        }
        assert!(events.rest().is_empty());
    });
}

#[test]
fn b6_14_what_is_polled_from_a_session_that_closes_is_told_to_be_sent() {
    each(|shards| {
        let (server, events) = start(shards);
        let client = server.polling();
        client.post("42[\"send\"]");
        events.expect(&["queued"]);
        client.post("42[\"close\"]");
        client.get();
        expect_each(&events);
    });
}

#[test]
fn a_queue_is_waited_for_on_any_thread_and_that_of_a_client_that_has_gone_is_not() {
    each(|shards| {
        let (sender, sessions) = std::sync::mpsc::channel();
        let server = Fixture::start(shards, |io| {
            io.of("/").on_connect(async move |conn: Session| {
                let _ = sender.send(conn);
            });
        });
        let mut client = server.client();
        let conn = sessions.recv().expect("one session");
        assert_eq!(block_on(conn.drained()), Ok(()));
        server.io.emit("y", 1);
        assert_eq!(block_on(conn.drained()), Ok(()));
        client.expect(&["42[\"y\",1]"]);
        conn.close();
        client.expect_closed();
        assert_eq!(block_on(conn.drained()), Err(DrainError::Disconnected));
        drop((client, server));
        assert_eq!(block_on(conn.drained()), Err(DrainError::Disconnected));
    });
}

#[test]
fn so_many_wait_for_one_client_and_no_more() {
    each(|shards| {
        let (log, events) = log();
        let limits = options(shards).limits(|limits| limits.drain_waiters = 2);
        let server = Fixture::with(limits, |io| prepare(io, &log));
        let client = server.polling();
        client.post("42[\"send\"]");
        let [refused, queued] = [events.next(), events.next()];
        assert!(refused.starts_with("3 Err(TooMany) Some("), "{refused}");
        assert_eq!(queued, "queued");
        client.get();
        events.expect(&["1 Ok(()) Some(0)", "2 Ok(()) Some(0)"]);
        client.post("42[\"ask\"]");
        events.expect(&["asked"]);
    });
}

#[test]
fn b5_18_packets_are_told_before_they_are_sent_and_that_nothing_waits_once_behind_them() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let (asked, sent) = (log.clone(), log.clone());
            io.of("/").on("listen", async move |conn: Session| {
                let (created, drained) = (sent.clone(), sent.clone());
                conn.on_packet_create(async move |packet: Packet| {
                    created.add(format!("created {:?}", packet.data));
                });
                conn.on_drain(async move |conn: Session| {
                    drained.add(format!("drained {:?}", conn.queued_bytes()));
                });
            });
            io.of("/").on("two", async |socket: Socket| {
                socket.emit("y", 1);
                socket.emit("y", 2);
            });
            io.of("/").on("ask", async move || asked.add("asked"));
        });
        let created = [r#"created Text("2[\"y\",1]")"#, r#"created Text("2[\"y\",2]")"#];
        let mut client = server.client();
        client.send("42[\"listen\"]");
        client.send("42[\"two\"]");
        events.expect(&created);
        events.expect(&["drained Some(0)"]);
        client.expect(&["42[\"y\",1]", "42[\"y\",2]"]);

        let polling = server.polling();
        polling.post("42[\"listen\"]\u{1e}42[\"two\"]");
        events.expect(&created);
        let mut websocket = Client::probe(server.address, &format!("&sid={}", polling.sid));
        websocket.expect(&["3probe"]);
        polling.post("42[\"ask\"]");
        events.expect(&["asked"]);
        polling.get();
        events.expect(&["drained Some(0)"]);
        polling.post("42[\"ask\"]");
        events.expect(&["asked"]);
    });
}
