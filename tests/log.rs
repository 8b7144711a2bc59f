//! What servers log: the events of the reference, under its scopes, without secrets, and in lines
//! that no client can forge. A program of its own, since a subscriber is for the whole process.

#[path = "support/client.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod client;
#[path = "support/fixture.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod fixture;

use std::io::Write;
use std::net::TcpStream;
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
fn m71_no_secret_is_logged_and_no_client_forges_a_line() {
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

#[test]
fn m71_what_a_client_calls_things_is_cut_and_escaped() {
    subscribe();
    let server = Fixture::start(1, |io| {
        io.of_pattern("long").expect("a pattern").on_connect(async |socket: Socket| {
            socket.join(["room\u{1b}[2J".repeat(1_000), "another".to_owned()]);
        });
    });
    let name = format!("/long{}\r\nERROR forged", "\u{1b}".repeat(300));
    let evil = [("Origin", "http://evil\u{1b}\"ERROR forged"), ("User-Agent", "ERROR forged")];
    let mut client = server.open();
    client.send(&format!("40{name},"));
    await_line(&["connecting to namespace", "/long"]);
    await_line(&["join rooms", "room"]);
    client.send(&format!("42{name},[\"\\u001b\\nERROR forged\"]"));
    client.send(&format!("44{name},\"ERROR forged\""));
    await_line(&["broke a rule"]);
    drop(client);
    let mut wrong = TcpStream::connect(server.address).expect("the server listens");
    let [origin, agent] = evil.map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = "GET /socket.io/?EIO=4&transport=ERROR%0Aforged HTTP/1.1\r\nHost: a\r\n";
    write!(wrong, "{head}{agent}{origin}\r\n").expect("the server takes it");
    await_line(&["faulty request"]);
    let text = written();
    let longest = text.lines().map(str::len).max();
    assert!(longest < Some(3_000), "{longest:?}");
    assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("ERROR")));
}

#[test]
fn m71_handlers_that_panic_fill_no_log() {
    const PANICS: u64 = 500;
    subscribe();
    // Standard error need not be filled either.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"one of many") {
            hook(panic);
        }
    }));
    let server = Fixture::start(1, |io| {
        io.of("/").on("panic", async || panic!("one of many"));
    });
    let lines = || written().matches("a handler has panicked").count() as u64;
    let (before, begun) = (lines(), Instant::now());
    let mut client = server.client();
    (0..PANICS).for_each(|_| client.send("42[\"panic\"]"));
    client.expect_quiet();
    assert_eq!(server.count(|stats| stats.handlers_panicked), PANICS);
    // In parts of the first and of the last second, too; another test has one.
    let most = 10 * (begun.elapsed().as_secs() + 2) + 1;
    assert!((1..=most.min(PANICS - 1)).contains(&(lines() - before)), "{} lines", lines() - before);
    let until = Instant::now() + DEADLINE;
    while !written().contains("a handler has panicked, and others") {
        assert!(Instant::now() < until, "nobody tells of those that were left out");
        let mut client = server.client();
        client.send("42[\"panic\"]");
        client.expect_quiet();
    }
}
