//! Deadlines: what a client owes and does not give ends its connection when it should, not before,
//! and not more than a tenth of a second later.

use std::time::Duration;

use fanfare::Server;
use fanfare::base::clock::Time;
use fanfare::driver::sim::{Client, Faults};

use crate::guest::Guest;
use crate::seeds;
use crate::wire;
use crate::world::{Handlers, Plan, World};

/// How late an end may be.
const LATE: Duration = Duration::from_millis(100);

/// How long a head, and a body, may take at first.
const REQUEST: Duration = Duration::from_secs(10);

/// How long a WebSocket waits for the close frame of the peer, and a connection for its end.
const CLOSE: Duration = Duration::from_secs(5);

/// How long a client may take nothing of what there is for it.
const STALL: Duration = Duration::from_secs(10);

/// How long a connection is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move || seen.with(|seen| seen.connected += 1));
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || seen.with(|seen| seen.disconnected += 1));
}

/// Anything goes wrong, but what is late is late by a millisecond.
fn world(seed: u64) -> World {
    let faults =
        Faults { delay_max: Duration::from_millis(1), accepts_refused: 0, ..Faults::all(seed) };
    let faults = faults.without_resets().without_stalls();
    World::new(seed, Plan { faults, ..Plan::new(seed) }, register)
}

/// Says nothing.
fn silent(_: &mut Client) {}

#[track_caller]
fn assert_in_time(begun: Time, limit: Duration, ended: Time) {
    let taken = ended.since(begun);
    assert!(taken >= limit && taken <= limit + LATE, "{taken:?} instead of {limit:?}");
}

#[test]
fn m3_a_connection_that_sends_nothing_ends_after_ten_seconds() {
    seeds::for_each("m3", 8, |seed| {
        let mut world = world(seed);
        let (begun, mut guest) = (world.now(), Guest::connect(&world));
        let ended = guest.read_until(&mut world, silent, Guest::is_over);
        assert_in_time(begun, REQUEST, ended);
        drop(guest);
        world.finish();
    });
}

#[test]
fn m2_a_head_that_trickles_ends_ten_seconds_after_its_first_byte() {
    seeds::for_each("m2", 8, |seed| {
        let mut world = world(seed);
        let mut guest = Guest::connect(&world);
        let silence = Duration::from_millis(world.random.range(0..=8_000) as u64);
        world.run_for(silence);
        let begun = world.now();
        guest.client.write(b"GET / HTTP/1.1\r\nX: ");
        let trickle = |client: &mut Client| client.write(b"x");
        let ended = guest.read_until(&mut world, trickle, Guest::is_over);
        assert_in_time(begun, REQUEST, ended);
        assert_eq!(wire::take_response(&mut guest.heard).map(|it| it.status), Some(408));
        // Who goes on does not have the connection for ever.
        let closed = guest.read_until(&mut world, trickle, Guest::is_closed);
        assert!(closed.since(ended) <= CLOSE + LATE, "{:?}", closed.since(ended));
        drop(guest);
        world.finish();
    });
}

#[test]
fn a_connection_that_is_kept_alive_ends_five_seconds_after_its_answer() {
    seeds::for_each("a_connection_that_is_kept_alive", 8, |seed| {
        let mut world = world(seed);
        let mut guest = Guest::connect(&world);
        guest.join_by_polling(&mut world, 4);
        let asked = world.now();
        let open = guest.ask(&mut world, &wire::request("GET", "transport=polling", None));
        assert!(open.status == 200 && open.keep_alive);
        let answered = world.now();
        let ended = guest.read_until(&mut world, silent, Guest::is_over);
        assert!(ended.since(asked) >= KEEP_ALIVE, "{:?}", ended.since(asked));
        assert!(ended.since(answered) <= KEEP_ALIVE + LATE, "{:?}", ended.since(answered));
        assert!(guest.heard.is_empty(), "there was no question");
        drop(guest);
        world.finish();
    });
}

#[test]
fn m51_an_answer_to_a_poll_has_ten_seconds_for_each_piece_that_its_client_takes() {
    for pieces in [0, 1, 100] {
        let faults = Faults { socket_buffer_bytes: 4_096, ..Faults::none() };
        let mut world = World::new(1, Plan { shards: 1, faults, ..Plan::new(1) }, register);
        let query = Guest::connect(&world).join_by_polling(&mut world, 4);
        // The first answer is for who has joined.
        let mut guest = Guest::connect(&world);
        guest.ask(&mut world, &wire::request("GET", &query, None));
        world.server.emit("news", "x".repeat(40_000));
        guest.client.write(&wire::request("GET", &query, None));
        let mut taken = world.now();
        for _ in 0..pieces {
            world.run_for(Duration::from_millis(500));
            guest.heard.extend(guest.client.read_at_most(2_048));
            taken = world.now();
            if let Some(response) = wire::take_response(&mut guest.heard) {
                assert!(response.status == 200 && response.body.len() > 40_000);
                break;
            }
        }
        let is_heard = pieces == 100;
        let limit = if is_heard { KEEP_ALIVE } else { STALL };
        world.run_until("it is closed", 2 * STALL, |_| guest.is_closed());
        assert!(world.now().since(taken) <= limit + LATE, "{:?}", world.now().since(taken));
        assert!(is_heard || world.now().since(taken) >= limit);
        assert!(!is_heard || guest.heard.is_empty(), "it was not heard to the end");
        drop(guest);
        world.close();
    }
}

/// A body that comes at so many bytes a second: when it was given up, or what it was answered.
fn post_at(bytes_per_second: u64, length: u64) -> (Duration, u16) {
    let plan = Plan { shards: 1, faults: Faults::none(), ..Plan::new(1) };
    let mut world = World::new(1, plan, register);
    let query = Guest::connect(&world).join_by_polling(&mut world, 4);
    let mut guest = Guest::connect(&world);
    let head = wire::request("POST", &query, Some(""));
    let head = String::from_utf8(head).expect("a head is text");
    let head = head.replace("Content-Length: 0", &format!("Content-Length: {length}"));
    guest.client.write(head.as_bytes());
    let (network, begun, mut sent) = (world.network.clone(), world.now(), 0);
    let trickle = |client: &mut Client| {
        let micros = network.now().since(begun).as_micros() as u64;
        let earned = (micros * bytes_per_second / 1_000_000).min(length);
        client.write(&vec![b'6'; (earned - sent) as usize]);
        sent = earned;
    };
    let ended = guest.read_until(&mut world, trickle, |guest| !guest.heard.is_empty());
    let response = wire::take_response(&mut guest.heard).expect("it is answered");
    assert_eq!(response.keep_alive, response.status == 200);
    drop(guest);
    // The session is as it was.
    let packet = wire::request("POST", &query, Some("6"));
    assert_eq!(Guest::connect(&world).ask(&mut world, &packet).status, 200);
    world.close();
    (ended.since(begun), response.status)
}

#[test]
fn m8_a_body_may_take_ten_seconds_and_then_as_long_as_its_bytes_earn_but_not_thirty() {
    for (rate, length, seconds, status) in [
        (0, 100_000, 10.0..=10.1, 408),
        (200, 100_000, 16.0..=16.7, 408),
        (400, 100_000, 30.0..=30.1, 408),
        (600, 100_000, 30.0..=30.1, 408),
        (600, 9_000, 15.0..=16.0, 200),
        (600, 17_400, 29.0..=30.0, 200),
    ] {
        let (taken, answered) = post_at(rate, length);
        assert_eq!(answered, status, "{length} bytes at {rate} a second, after {taken:?}");
        assert!(seconds.contains(&taken.as_secs_f64()), "{rate} a second: {taken:?}");
    }
}

/// Who closes a WebSocket first, and what the peer does then instead of what it should.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// The server; the peer says nothing.
    Unanswered,
    /// The server; the peer goes on as before.
    Ignored,
    /// The server; the peer has much to read, and reads nothing.
    Unread,
    /// The peer, which then keeps its connection.
    ByPeer,
    /// The peer, which has much to read, and reads nothing.
    ByPeerUnread,
    /// Both.
    Crossing,
}

#[test]
fn m32_a_websocket_that_closes_is_gone_after_five_seconds_whatever_its_peer_does() {
    let ways = [
        Closing::Unanswered,
        Closing::Ignored,
        Closing::Unread,
        Closing::ByPeer,
        Closing::ByPeerUnread,
        Closing::Crossing,
    ];
    seeds::for_each("m32", 4, |seed| {
        for way in ways {
            a_websocket_closes(seed, way);
        }
    });
}

fn a_websocket_closes(seed: u64, way: Closing) {
    let mut world = world(seed);
    let mut guest = Guest::connect(&world);
    guest.upgrade(&mut world);
    let connect = wire::frame(&mut world.random, 1, b"40");
    guest.client.write(&connect);
    world.run_until("it joins", Duration::from_secs(5), |world| {
        world.handlers.with(|seen| seen.connected == 1)
    });
    let close = wire::frame(&mut world.random, 8, &1_000_u16.to_be_bytes());
    let ping = wire::frame(&mut world.random, 9, b"?");
    let is_unread = matches!(way, Closing::Unread | Closing::ByPeerUnread);
    if is_unread {
        for _ in 0..100 {
            world.server.emit("news", "x".repeat(1_000));
        }
    }
    let begun = world.now();
    if let Closing::ByPeer | Closing::ByPeerUnread | Closing::Crossing = way {
        guest.client.write(&close);
    }
    if !matches!(way, Closing::ByPeer | Closing::ByPeerUnread) {
        world.server.disconnect_sockets(true);
    }
    let act = |client: &mut Client| {
        if let Closing::Ignored = way {
            client.write(&ping);
        }
    };
    if is_unread {
        world.run_until("it is given up", 2 * CLOSE, |_| guest.is_closed());
    }
    let closed = guest.read_until(&mut world, act, Guest::is_closed);
    let taken = closed.since(begun);
    assert!(taken <= CLOSE + LATE, "{way:?}: {taken:?}");
    let waits = matches!(way, Closing::Unanswered | Closing::Ignored | Closing::Unread);
    assert!(!waits || taken >= CLOSE, "{way:?}: the peer had {taken:?} to answer");
    drop(guest);
    world.finish();
}
