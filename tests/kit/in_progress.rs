//! A client whose events are not handled as fast as it sends them is made to wait, and nothing of
//! it is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    (App::builder().transport(transport).start(server), seen)
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
