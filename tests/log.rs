//! What servers log: the events of the reference, under its scopes, without secrets, and in lines
//! that no client can forge. A program of its own, since a subscriber is for the whole process.

#[path = "support/client.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod client;
#[path = "support/fixture.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod fixture;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use fanfare::{Refuse, Socket};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use client::{Client, DEADLINE, Polling};
use fixture::{Fixture, options};

static WRITTEN: Mutex<String> = Mutex::new(String::new());

fn written() -> MutexGuard<'static, String> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        written().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Has everything written down that servers log, at all levels.
fn subscribe() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Sink);
        let all = Targets::new().with_default(LevelFilter::TRACE);
        tracing_subscriber::registry().with(lines).with(all).init();
    });
}

/// Waits for a line that has all of these in it.
#[track_caller]
fn await_line(parts: &[&str]) {
    let until = Instant::now() + DEADLINE;
    while !written().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(Instant::now() < until, "no line has {parts:?}:\n{}", written());
        std::thread::yield_now();
    }
}

#[test]
fn the_life_of_a_client_is_logged_under_the_scopes_of_the_reference() {
    subscribe();
    let server = Fixture::start(1, |io| {
        io.of("/").on_connect(async |socket: Socket| {
            socket.join("the room");
        });
        io.of("/refused").middleware(async |_: &Socket| Err(Refuse::new("not you")));
        io.of("/").on("panic", async || panic!("a handler"));
        io.of_pattern("^/child").expect("a pattern");
    });
    await_line(&["INFO", "engine:", "the shards are on"]);
    await_line(&["socket.io:server", "listening"]);
    let polling = Polling::open(server.address);
    await_line(&["engine:", "handshaking client", "Polling"]);
    let mut upgraded = Client::probe(server.address, &format!("&sid={}", polling.sid));
    await_line(&["engine:", "upgrading existing transport"]);
    upgraded.expect(&["3probe"]);
    upgraded.send("5");
    await_line(&["engine:socket", "upgraded to websocket"]);
    upgraded.send("40");
    await_line(&["socket.io:client", "connecting to namespace", "\"/\""]);
    await_line(&["socket.io:namespace", "socket connected"]);
    await_line(&["socket.io:socket", "join rooms", "the room"]);
    upgraded.send("40/refused,");
    await_line(&["socket.io:namespace", "refused by a middleware", "\"not you\""]);
    upgraded.send("40/child,");
    await_line(&["socket.io:parent-namespace", "creating child namespace", "\"/child\""]);
    upgraded.send("42[\"panic\"]");
    await_line(&["WARN", "socket.io:server", "a handler has panicked"]);
    upgraded.send("42no packet");
    await_line(&["socket.io-parser", "no packet"]);
    await_line(&["socket.io:client", "broke a rule", "Decode"]);
    await_line(&["socket.io:socket", "closing socket", "forced close"]);
    let short = Duration::from_millis(40);
    let quick = Fixture::with(options(1).ping_interval(short).ping_timeout(short), |_| {});
    let _silent = quick.open();
    await_line(&["engine:socket", "closed", "ping timeout"]);
    let (status, _) = Polling::open(server.address).request("PATCH", "").finish();
    assert_eq!(status, 400);
    await_line(&["engine:", "refused request", "Bad"]);
    let mut last = server.client();
    last.close();
    await_line(&["engine:ws", "got a close frame"]);
    server.io.close();
    await_line(&["engine:", "closing all open clients"]);
}

#[test]
fn no_secret_is_logged_and_no_client_forges_a_line() {
    subscribe();
    let server = Fixture::start(1, |io| {
        io.of("/").on_connect(async |socket: Socket| {
            socket.join("a\nWARN forged: by a room");
        });
    });
    let mut client = server.open();
    let id = client.join("/");
    await_line(&["join rooms", "by a room"]);
    client.send("40/a\r\nWARN forged: by a namespace\u{1b}[31m,");
    await_line(&["there is no such namespace", "by a namespace"]);
    let polling = Polling::open(server.address);
    client.close();
    await_line(&["closed"]);
    let text = written();
    for secret in [&client.session, &polling.sid, &id] {
        assert!(!text.contains(secret.as_str()), "{secret} was logged");
    }
    let forged: Vec<&str> = text.lines().filter(|line| line.starts_with("WARN forged")).collect();
    assert!(forged.is_empty() && !text.contains('\u{1b}'), "{forged:?}");
}
