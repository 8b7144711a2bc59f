//! One bad handler loses one event: row 59 of the matrix.

use std::panic;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use fanfare::{Ack, Data, EventParts, FromEvent, Rejection, Server, Socket};

use crate::client::Client;
use crate::fixture::{Fixture, each, log};

/// Keeps what these tests provoke out of the output; other threads still tell of theirs.
pub fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let name = thread::current().name().map(str::to_owned);
            if !name.is_some_and(|name| name.starts_with("fanfare-")) {
                hook(info);
            }
        }));
    });
}

/// Panics while it holds something, which must not be lost.
fn fail(token: &Arc<()>) {
    let _held = Arc::clone(token);
    panic!("as the test wants");
}

/// Panics when it is dropped.
struct Bomb(Arc<()>);

impl Drop for Bomb {
    fn drop(&mut self) {
        fail(&self.0);
    }
}

/// Panics when it is serialized.
struct Poison(Arc<()>);

impl serde::Serialize for Poison {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fail(&self.0);
        serializer.serialize_unit()
    }
}

/// Panics when it is taken from an event.
struct Trap;

impl FromEvent for Trap {
    fn from_event(_: &mut EventParts<'_, '_>) -> Result<Trap, Rejection> {
        panic!("as the test wants");
    }
}

/// Handlers that panic, each in its own way.
fn prepare(io: &Server, token: &Arc<()>) {
    let tokens = || Arc::clone(token);
    io.of("/").on("echo", async |socket: Socket, Data(n): Data<u64>| socket.emit("echo", n));
    let bad = io.of("/bad");
    let held = tokens();
    bad.on_connect(async move |socket: Socket| {
        socket.data().set(Bomb(Arc::clone(&held)));
        socket.join("room");
        fail(&held);
    });
    let held = tokens();
    bad.on_disconnect(async move || fail(&held));
    let held = tokens();
    bad.on("event", async move || fail(&held));
    let held = tokens();
    bad.on("waits", async move || {
        let local = Arc::clone(&held);
        fanfare::time::sleep(Duration::ZERO).await;
        fail(&local);
    });
    let held = tokens();
    bad.on("spawns", async move || {
        let local = Arc::clone(&held);
        fanfare::time::spawn_local(async move {
            fanfare::time::sleep(Duration::ZERO).await;
            fail(&local);
        });
    });
    let held = tokens();
    bad.on("ack", async move |socket: Socket, ack: Ack| {
        drop(socket.emit_with_ack::<(), _>("q", ()));
        ack.send(Poison(Arc::clone(&held)));
    });
    bad.on("trap", async |_: Trap| {});
    let held = tokens();
    bad.on("asks", async move |socket: Socket| {
        drop(socket.emit_with_ack::<u8, _>("q", ()).await);
        fail(&held);
    });
    for (name, wait) in [("/refuses", None), ("/refuses late", Some(Duration::ZERO))] {
        let held = tokens();
        io.of(name).middleware(async move |socket: &Socket| {
            socket.data().set(Arc::clone(&held));
            if let Some(wait) = wait {
                fanfare::time::sleep(wait).await;
            }
            fail(&held);
            Ok(())
        });
    }
}

/// The neighbour is served, whatever happened to others.
#[track_caller]
fn serve(neighbour: &mut Client, n: u64) {
    neighbour.send(&format!("42[\"echo\",{n}]"));
    neighbour.expect(&[&format!("42[\"echo\",{n}]")]);
}

/// Joins and leaves: the handlers of both panic, and so does the drop of the socket's data.
fn lives(server: &Fixture, neighbour: &mut Client, times: u64) -> u64 {
    let mut client = server.open();
    for n in 0..times {
        client.join("/bad");
        client.send("41/bad,");
        serve(neighbour, n);
    }
    3 * times
}

fn events(server: &Fixture, neighbour: &mut Client, times: u64) -> u64 {
    let mut client = server.open();
    client.join("/bad");
    for n in 0..times {
        client.send_all(&[
            "42/bad,[\"event\"]",
            "42/bad,[\"waits\"]",
            "42/bad,[\"spawns\"]",
            "42/bad,1[\"ack\"]",
            "42/bad,[\"trap\"]",
        ]);
        let question = client.text();
        assert!(question.starts_with("42/bad,") && question.ends_with("[\"q\"]"), "{question}");
        serve(neighbour, n);
    }
    client.send("41/bad,");
    client.expect_quiet();
    5 * times + 3
}

fn answers(server: &Fixture, neighbour: &mut Client, times: u64) -> u64 {
    let mut client = server.open();
    client.join("/bad");
    for n in 0..times {
        client.send("42/bad,[\"asks\"]");
        let id = client.text().replace("42/bad,", "").replace("[\"q\"]", "");
        client.send(&format!("43/bad,{id}[1]"));
        serve(neighbour, n);
    }
    client.send("41/bad,");
    client.expect_quiet();
    times + 3
}

fn refusals(server: &Fixture, neighbour: &mut Client, sessions: u64) -> u64 {
    let names = ["/refuses", "/refuses late"];
    for n in 0..sessions {
        let mut client = server.open();
        for _ in 0..50 {
            for name in names {
                client.send(&format!("40{name},"));
                let refused = format!("44{name},{{\"message\":\"Internal server error\"}}");
                client.expect(&[&refused]);
            }
        }
        serve(neighbour, n);
    }
    100 * sessions
}

#[test]
fn m59_ten_thousand_panics_of_handlers_are_counted_and_harm_nobody_else() {
    quiet();
    each(|shards| {
        let token = Arc::new(());
        let server = Fixture::start(shards, |io| prepare(io, &token));
        let registered = Arc::strong_count(&token);
        let mut neighbour = server.client();
        let mut panics = lives(&server, &mut neighbour, 600);
        panics += events(&server, &mut neighbour, 1400);
        panics += answers(&server, &mut neighbour, 494);
        panics += refusals(&server, &mut neighbour, 7);
        assert_eq!(panics, 10_000);
        server.await_count(panics, |stats| stats.handlers_panicked);
        server.io.of("/bad").to("room").emit("nobody is left", ());
        serve(&mut neighbour, 1);
        assert_eq!(Arc::strong_count(&token), registered, "nothing is held any more");
        assert_eq!(server.count(|stats| stats.events_rejected), 0);
        drop((neighbour, server));
        assert_eq!(Arc::strong_count(&token), 1, "the handlers have gone with their server");
    });
}

#[test]
fn m59_a_handler_that_panics_does_not_keep_the_others_of_the_event_from_running() {
    quiet();
    each(|shards| {
        let (log, events) = log();
        let token = Arc::new(());
        let server = Fixture::start(shards, |io| {
            for n in 0..3 {
                let (log, token) = (log.clone(), Arc::clone(&token));
                io.of("/").on("x", async move |ack: Ack| {
                    log.add(n);
                    if n < 2 {
                        fail(&token);
                    }
                    ack.send("third");
                });
            }
        });
        let mut client = server.client();
        client.send("421[\"x\"]");
        client.expect(&["431[\"third\"]"]);
        events.expect(&["0", "1", "2"]);
        assert_eq!(server.count(|stats| stats.handlers_panicked), 2);
    });
}

#[test]
fn m59_a_panic_while_arguments_are_written_on_another_thread_stays_there() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.client();
        let io = server.io.clone();
        let emits = thread::Builder::new().name("fanfare-emits".to_owned());
        quiet();
        let thread = emits.spawn(move || io.emit("x", Poison(Arc::new(())))).unwrap();
        assert!(thread.join().is_err());
        server.io.emit("y", ());
        client.expect(&["42[\"y\"]"]);
        assert_eq!(server.count(|stats| stats.handlers_panicked), 0);
    });
}
