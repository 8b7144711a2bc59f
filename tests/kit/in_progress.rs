//! A client whose events are not handled as fast as it sends them is made to wait, and nothing of
//! it is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::internal::{Shortage, run_short_of_memory};
use fanfare::test::App;
use fanfare::{Data, Limits, Server, Transport};

const SECOND: Duration = Duration::from_secs(1);

/// What handlers have done.
#[derive(Clone, Default)]
struct Seen {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    done: Arc<Mutex<Vec<usize>>>,
}

/// A server whose events take a second each.
fn start(transport: Transport, change: impl FnOnce(&mut Limits)) -> (App, Seen) {
    let server = Server::builder().serve_client(false).limits(|limits| {
        limits.receive_buffer_bytes = 512;
        change(limits);
    });
    let server = server.build().unwrap();
    let seen = Seen::default();
    let handlers = seen.clone();
    server.of("/").on("work", async move |Data((number, _)): Data<(usize, String)>| {
        let now = 1 + handlers.now.fetch_add(1, Ordering::Relaxed);
        handlers.most.fetch_max(now, Ordering::Relaxed);
        fanfare::time::sleep(SECOND).await;
        handlers.now.fetch_sub(1, Ordering::Relaxed);
        handlers.done.lock().unwrap().push(number);
    });
    server.of("/").on("quick", async |Data(number): Data<usize>, ack: fanfare::Ack| {
        ack.send(number);
    });
    (App::builder().shards(1).transport(transport).start(server), seen)
}

fn count(app: &App, counter: fn(&fanfare::Stats) -> u64) -> u64 {
    app.run(app.server().stats()).iter().map(counter).sum()
}

#[test]
fn a_client_with_many_events_in_progress_is_not_read_until_half_of_them_are_done() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let (app, seen) = start(transport, |limits| limits.events_in_progress = 20);
        let (alice, bob) = (app.connect("/"), app.connect("/"));
        (0..200).for_each(|number| alice.emit("work", (number, "x".repeat(2_000))));
        app.settle();
        assert_eq!(count(&app, |stats| stats.clients_held), 1, "{transport:?}");
        let asked = bob.emit_with_ack::<usize, _>("quick", 7);
        app.settle();
        assert_eq!(asked.expect(), 7, "others are read");
        app.advance(200 * SECOND);
        // On a WebSocket a few more are in what had been received.
        let most = seen.most.load(Ordering::Relaxed);
        assert!((20..60).contains(&most), "{most} at once, {transport:?}");
        assert!(seen.done.lock().unwrap().iter().copied().eq(0..200), "each once, in order");
        assert!(alice.is_connected());
        let asked = alice.emit_with_ack::<usize, _>("quick", 8);
        app.settle();
        assert_eq!(asked.expect(), 8, "it is read again");
    }
}

#[test]
fn the_bytes_of_events_in_progress_are_bounded_too() {
    let (app, seen) = start(Transport::WebSocket, |limits| limits.bytes_in_progress = 10_000);
    let alice = app.connect("/");
    (0..50).for_each(|number| alice.emit("work", (number, "x".repeat(2_000))));
    app.advance(50 * SECOND);
    assert!(seen.most.load(Ordering::Relaxed) < 45, "{:?}", seen.most);
    assert!(seen.done.lock().unwrap().iter().copied().eq(0..50), "each once, in order");
}

#[test]
fn a_client_that_is_not_read_is_not_taken_for_dead() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let (app, _) = start(transport, |limits| limits.events_in_progress = 1);
        app.server().of("/").on("forever", async || std::future::pending::<()>().await);
        let alice = app.connect("/");
        alice.emit("forever", ());
        app.advance(3_600 * SECOND);
        assert!(alice.is_connected() && count(&app, |stats| stats.clients_held) == 1);
    }
}

/// How many handlers there are that have not ended.
#[derive(Clone, Default)]
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A server whose events take an hour each.
fn start_slow(transport: Transport, change: impl FnOnce(&mut Limits)) -> (App, Waiting) {
    let (app, _) = start(transport, change);
    let waiting = Waiting::default();
    let handlers = waiting.clone();
    app.server().of("/").on("slow", async move |Data(_): Data<String>| {
        handlers.0.fetch_add(1, Ordering::Relaxed);
        fanfare::time::sleep(3_600 * SECOND).await;
        handlers.0.fetch_sub(1, Ordering::Relaxed);
    });
    (app, waiting)
}

#[test]
fn what_clients_that_have_gone_have_left_to_do_is_bounded_and_then_nobody_new_comes() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let (app, waiting) = start_slow(transport, |limits| limits.bytes_left_behind = 100_000);
        let comes_and_goes = || {
            let Ok(client) = app.client().connect("/") else { return false };
            (0..5).for_each(|_| client.emit("slow", "x".repeat(4_000)));
            app.settle();
            client.close();
            app.settle();
            true
        };
        let came = (0..40).take_while(|_| comes_and_goes()).count();
        assert!((4..=6).contains(&came), "{came} came, {transport:?}");
        assert_eq!(waiting.count(), 5 * came, "those of all go on");
        assert_eq!(count(&app, |stats| stats.sessions_refused), 1);
        app.advance(3_601 * SECOND);
        assert_eq!(waiting.count(), 0);
        assert!(comes_and_goes(), "there is room again, {transport:?}");
    }
}

#[test]
fn m53_when_memory_runs_short_events_in_progress_count_for_their_client() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let (app, _) = start_slow(transport, |_| {});
        let (alice, bob) = (app.connect("/"), app.connect("/"));
        (0..30).for_each(|_| alice.emit("slow", "x".repeat(4_000)));
        bob.emit("slow", "y".to_owned());
        app.settle();
        run_short_of_memory(app.server(), Shortage::Critical, 100_000);
        app.settle();
        assert!(!alice.is_connected() && bob.is_connected(), "{transport:?}");
        assert_eq!(count(&app, |stats| stats.clients_relieved), 1);
        // And at once who adds to as much.
        (0..30).for_each(|_| bob.emit("slow", "x".repeat(4_000)));
        app.settle();
        assert!(!bob.is_connected(), "{transport:?}");
    }
}
