//! Time, and the order of things: both are the test's.

use std::time::Duration;

use fanfare::test::{App, Client};
use fanfare::{AckError, Data, Server, Socket, Transport};

const MOMENT: Duration = Duration::from_millis(1);

/// Says how long it slept.
fn sleeper(io: &Server) {
    io.of("/").on("sleep", async |socket: Socket, Data(seconds): Data<u64>| {
        fanfare::time::sleep(Duration::from_secs(seconds)).await;
        socket.emit("woken", seconds);
    });
}

#[test]
fn no_time_passes_but_what_the_test_lets_pass() {
    let app = App::new(sleeper);
    let alice = app.connect("/");
    for seconds in [3600, 60] {
        alice.emit("sleep", seconds);
    }
    app.settle();
    assert_eq!(app.elapsed(), Duration::ZERO);
    app.advance(Duration::from_secs(60) - MOMENT);
    alice.expect_nothing();
    app.advance(MOMENT);
    assert_eq!(alice.received::<u64>("woken"), [60]);
    // An hour of heartbeats, which the client answers.
    app.advance(Duration::from_secs(3600));
    assert_eq!(alice.received::<u64>("woken"), [3600]);
    assert!(alice.is_connected());
    assert_eq!(app.elapsed(), Duration::from_secs(3660));
}

#[test]
fn a_client_that_answers_no_ping_is_gone_when_its_time_has_come() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let server = Server::builder()
            .ping_interval(Duration::from_secs(10))
            .ping_timeout(Duration::from_secs(5))
            .build();
        let app = App::builder().transport(transport).start(server.unwrap());
        let alice = app.connect("/");
        alice.fall_silent();
        app.advance(Duration::from_secs(15) - MOMENT);
        assert!(alice.is_connected());
        app.advance(MOMENT);
        assert_eq!(alice.expect_disconnect(), "transport close");
    }
}

#[test]
fn an_acknowledgement_that_is_awaited_is_late_when_its_time_has_come() {
    let app = App::new(|_| {});
    let alice = app.connect("/");
    let asking = app.server().of("/").emitter().timeout(Duration::from_secs(5));
    let asked = asking.emit_with_ack::<u8, _>("question", ());
    app.advance(Duration::from_secs(5));
    assert_eq!(app.run(asked).unwrap_err().missing.len(), 1);
    let (_, late) = alice.expect_with_ack::<(), _>("question");
    late.send(1);
    let asked = asking.emit_with_ack::<u8, _>("question", ());
    alice.expect_with_ack::<(), _>("question").1.send(2);
    assert_eq!(app.run(asked).unwrap(), [2]);
}

#[test]
fn a_socket_is_asked_from_the_thread_of_the_test() {
    let app = App::new(|_| {});
    let alice = app.connect("/");
    let sockets = app.run(app.server().fetch_sockets());
    let socket = sockets.first().unwrap().socket();
    assert_eq!(socket.id().to_string(), alice.id());
    let asked = socket.timeout(Duration::from_secs(1)).emit_with_ack::<u8, _>("question", ());
    app.advance(Duration::from_secs(1));
    assert!(matches!(app.run(asked), Err(AckError::Timeout)));
}

#[test]
fn a_middleware_may_take_its_time() {
    let app = App::new(|io| {
        io.of("/slow").middleware(async |_: &Socket| {
            fanfare::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        });
    });
    let alice = app.client().begin("/slow");
    app.advance(Duration::from_secs(1));
    assert!(!alice.is_connected() && alice.connect_error().is_none());
    app.advance(Duration::from_secs(1));
    assert!(alice.is_connected());
}

/// What came of the same story, told with a seed.
fn story(seed: u64) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let server = Server::builder().serve_client(false).build().unwrap();
    let everyone = server.clone();
    server.of("/").on("say", async move |Data(word): Data<usize>| {
        everyone.emit("said", word);
    });
    let app = App::builder().seed(seed).shards(3).start(server);
    let clients: Vec<Client> = (0..6).map(|_| app.connect("/")).collect();
    for (word, client) in clients.iter().enumerate() {
        client.emit("say", word);
    }
    let heard = clients[0].events().into_iter();
    let heard = heard.map(|(name, raw)| (name, raw.args().to_vec())).collect();
    (clients.iter().map(Client::id).collect(), heard)
}

#[test]
fn a_seed_names_what_happens() {
    for seed in 0..5 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
    let orders: std::collections::HashSet<_> = (0..20).map(|seed| story(seed).1).collect();
    assert!(orders.len() > 1, "events of different clients come in different orders");
    assert!(orders.iter().all(|heard| heard.len() == 6), "and none is lost");
}
