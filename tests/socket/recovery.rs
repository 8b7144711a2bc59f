//! Connection state recovery (protocol.md §15): who comes back has what it had, and every event
//! once, on whichever shard.

use std::time::Duration;

use fanfare::base::offset::Offset;
use fanfare::{Auth, Builder, ConnectionStateRecovery, Data, Server, Socket};
use serde_json::Value;

use crate::client::{Client, Received};
use crate::fixture::{Events, Fixture, each, log, options};

/// What a client knows of itself.
pub struct Known {
    pub sid: String,
    pub pid: String,
    /// The last event that it has received.
    pub offset: Option<String>,
}

impl Known {
    /// What a client sends to have its socket back.
    pub fn claim(&self) -> String {
        match &self.offset {
            Some(offset) => format!("40{{\"pid\":\"{}\",\"offset\":\"{offset}\"}}", self.pid),
            None => format!("40{{\"pid\":\"{}\"}}", self.pid),
        }
    }

    /// Notes an event of one argument that has come, and gives its name and the argument.
    #[track_caller]
    pub fn event(&mut self, client: &mut Client) -> (String, Value) {
        let text = client.text();
        let event: Vec<Value> = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
        let [name, argument, Value::String(offset)] = &event[..] else { panic!("{text}") };
        self.offset = Some(offset.clone());
        (name.as_str().unwrap().to_owned(), argument.clone())
    }

    #[track_caller]
    pub fn expect(&mut self, client: &mut Client, names: &[&str]) {
        for name in names {
            assert_eq!(self.event(client).0, *name);
        }
    }
}

#[track_caller]
pub fn connected(client: &mut Client) -> Known {
    let text = client.text();
    let reply: Value = serde_json::from_str(text.strip_prefix("40").expect(&text)).unwrap();
    let field = |name: &str| reply[name].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    Known { sid: field("sid"), pid: field("pid"), offset: None }
}

pub fn join(client: &mut Client) -> Known {
    client.send("40");
    connected(client)
}

fn recovery() -> ConnectionStateRecovery {
    ConnectionStateRecovery::default()
}

fn start(shards: usize, recovery: ConnectionStateRecovery) -> (Fixture, Events) {
    serve(options(shards).connection_state_recovery(recovery))
}

/// A server whose handlers tell who connects, with what, and who goes.
pub fn serve(options: Builder) -> (Fixture, Events) {
    let (log, events) = log();
    let server = Fixture::with(options, |io| {
        io.of("/other");
        let told = log.clone();
        io.of("/").on_connect(async move |socket: Socket| {
            let data: Option<u64> = socket.data().get();
            let rooms = socket.rooms()[1..].to_vec();
            told.add(format!("connected {} {rooms:?} {data:?}", socket.recovered()));
        });
        io.of("/").on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(&room);
            socket.data().set(7_u64);
        });
        log.log_disconnects(io);
    });
    (server, events)
}

/// Runs a test in which a client goes on the first shard and comes back on each.
pub fn each_way(test: impl Fn(usize, u16)) {
    test(1, 0);
    test(2, 0);
    test(2, 1);
}

/// A client in a room, that has received one event.
pub fn in_a_room(server: &Fixture, events: &Events) -> (Client, Known) {
    let mut client = server.open_on(0);
    let mut known = join(&mut client);
    events.expect(&["connected false [] None"]);
    client.send("42[\"join\",\"room\"]");
    client.expect_quiet();
    server.io.emit("first", 1);
    known.expect(&mut client, &["first"]);
    (client, known)
}

/// Such a client, which has gone.
pub fn gone_from(server: &Fixture, events: &Events) -> Known {
    let (client, known) = in_a_room(server, events);
    drop(client);
    events.expect(&["gone: transport close"]);
    known
}

#[test]
fn b22_1_b22_2_b39_18_b39_19_missed_events_come_first_and_then_the_old_ids_with_rooms_and_data() {
    each_way(|shards, back_on| {
        let (server, events) = start(shards, recovery());
        let mut known = gone_from(&server, &events);
        server.io.emit("to all", 1);
        server.io.to("room").emit("to the room", 2);
        server.io.to("other room").emit("to others", 3);
        server.io.to(&known.sid).emit("to it", 4);
        server.io.except("room").emit("to all but the room", 5);
        server.io.to("room").volatile().emit("volatile", 6);
        server.io.of("/other").emit("to another namespace", 7);
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["to all", "to the room", "to it"]);
        let back = connected(&mut client);
        assert_eq!((&back.sid, &back.pid), (&known.sid, &known.pid));
        events.expect(&["connected true [\"room\"] Some(7)"]);
        server.io.to("room").emit("to the room", 8);
        server.io.to(&known.sid).emit("to it", 9);
        known.expect(&mut client, &["to the room", "to it"]);
        client.expect_quiet();
    });
}

#[test]
fn b22_3_b22_4_middlewares_are_asked_once_more_only_if_that_is_wanted() {
    for skip_middlewares in [true, false] {
        let (log, events) = log();
        let recovery = ConnectionStateRecovery { skip_middlewares, ..recovery() };
        let server = Fixture::with(options(1).connection_state_recovery(recovery), |io| {
            let asked = log.clone();
            io.of("/").middleware(async move |socket: &Socket| -> Result<(), fanfare::Refuse> {
                asked.add(format!("asked {}", socket.recovered()));
                Ok(())
            });
            log.log_disconnects(io);
        });
        let mut client = server.open();
        let known = join(&mut client);
        drop(client);
        events.expect(&["asked false", "gone: transport close"]);
        let mut client = server.open();
        client.send(&known.claim());
        assert_eq!(connected(&mut client).sid, known.sid);
        let asked: &[&str] = if skip_middlewares { &[] } else { &["asked true"] };
        assert_eq!(events.rest(), asked);
    }
}

#[test]
fn b22_5_b39_20_b39_21_m44_who_claims_what_is_not_its_own_or_makes_no_sense_is_a_new_client() {
    each(|shards| {
        let (server, events) = start(shards, recovery());
        let known = gone_from(&server, &events);
        let forged =
            format!("{}{}", &known.pid[..19], if known.pid.ends_with('A') { 'B' } else { 'A' });
        let claims = [
            "{\"pid\":\"AAAAAAAAAAAAAAAAAAAA\"}".to_owned(),
            format!("{{\"pid\":\"{forged}\"}}"),
            format!("{{\"pid\":\"{}\"}}", known.sid),
            format!("{{\"pid\":[\"{}\"]}}", known.pid),
            format!("{{\"pid\":\"{}\",\"offset\":7}}", known.pid),
            format!("{{\"pid\":\"{}\",\"offset\":\"__proto__\"}}", known.pid),
            "{\"pid\":\"__proto__\",\"offset\":\"__proto__\"}".to_owned(),
        ];
        let received = Offset::parse(known.offset.as_ref().unwrap().as_bytes()).unwrap();
        let unknown = Offset::new(received.emitter(), received.sequence() + 1);
        let unknown = String::from_utf8(unknown.text().to_vec()).unwrap();
        let unknown = format!("{{\"pid\":\"{}\",\"offset\":\"{unknown}\"}}", known.pid);
        let mut clients = Vec::new();
        for claim in claims.into_iter().chain([unknown]) {
            let mut client = server.open();
            client.send(&format!("40{claim}"));
            let fresh = connected(&mut client);
            assert_ne!(fresh.sid, known.sid, "{claim}");
            assert_ne!(fresh.pid, known.pid, "{claim}");
            events.expect(&["connected false [] None"]);
            client.expect_quiet();
            clients.push(client);
        }
        let mut client = server.open();
        client.send(&known.claim().replacen("40", "40/other,", 1));
        let text = client.text();
        assert!(text.starts_with("40/other,{\"sid\":\"") && !text.contains(&known.sid), "{text}");
        // What nobody could claim is still there for whom it belongs to.
        let mut client = server.open();
        client.send(&known.claim());
        assert_eq!(connected(&mut client).sid, known.sid);
    });
}

#[test]
fn m44_a_claim_that_is_replayed_ends_the_first_one_and_shows_nothing_of_others() {
    each_way(|shards, back_on| {
        let (server, events) = start(shards, recovery());
        let known = gone_from(&server, &events);
        let mut other = server.open_on(0);
        let of_other = join(&mut other);
        events.expect(&["connected false [] None"]);
        server.io.to("room").emit("missed", 1);
        server.io.to(&of_other.sid).emit("for another", 2);
        let mut client = server.open_on(0);
        client.send(&known.claim());
        assert!(client.text().starts_with("42[\"missed\",1,"));
        assert_eq!(connected(&mut client).sid, known.sid);
        events.expect(&["connected true [\"room\"] Some(7)"]);
        let mut replayed = server.open_on(back_on);
        replayed.send(&known.claim());
        assert!(replayed.text().starts_with("42[\"missed\",1,"));
        assert_eq!(connected(&mut replayed).sid, known.sid);
        events.expect(&["gone: transport close", "connected true [\"room\"] Some(7)"]);
        assert!(matches!(client.receive(), Received::Lost | Received::Closed(_)));
        replayed.expect_quiet();
        assert!(other.text().starts_with("42[\"for another\",2,"));
    });
}

#[test]
fn b22_6_b22_7_without_recovery_nobody_gets_a_pid_and_none_is_looked_at() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        let mut client = server.open();
        client.send("40{\"pid\":\"AAAAAAAAAAAAAAAAAAAA\",\"offset\":\"AAAAAAAAAAAA\"}");
        let text = client.text();
        assert!(text.starts_with("40{\"sid\":\"") && !text.contains("pid"), "{text}");
        server.io.emit("hello", 1);
        client.expect(&["42[\"hello\",1]"]);
    });
}

#[test]
fn p15_packets_that_want_an_answer_and_volatile_ones_have_no_offset_and_are_not_sent_again() {
    each(|shards| {
        let (server, events) = start(shards, recovery());
        let mut client = server.open_on(0);
        let known = join(&mut client);
        events.expect(&["connected false [] None"]);
        server.io.to("nobody").emit("x", 1);
        let _answers = server.io.of("/").emitter().emit_with_ack::<u64, _>("question", 1);
        client.expect(&["420[\"question\",1]"]);
        drop(client);
        events.expect(&["gone: transport close"]);
        server.io.of("/").emitter().volatile().emit("volatile", 1);
        let mut client = server.open_on(0);
        client.send(&known.claim());
        assert_eq!(connected(&mut client).sid, known.sid, "nothing was missed");
    });
}

#[test]
fn p15_a_client_that_never_received_an_event_comes_back_with_its_pid_alone() {
    each_way(|shards, back_on| {
        let (server, events) = start(shards, recovery());
        let mut client = server.open_on(0);
        let mut known = join(&mut client);
        events.expect(&["connected false [] None"]);
        drop(client);
        events.expect(&["gone: transport close"]);
        server.io.emit("missed", 1);
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["missed"]);
        assert_eq!(connected(&mut client).sid, known.sid);
    });
}

#[test]
fn m44_p15_a_client_that_comes_back_before_its_old_connection_was_given_up_is_the_same_one() {
    each_way(|shards, back_on| {
        let (server, events) = start(shards, recovery());
        let mut old = server.open_on(0);
        let mut known = join(&mut old);
        events.expect(&["connected false [] None"]);
        old.send("42[\"join\",\"room\"]");
        old.expect_quiet();
        server.io.emit("not received", 1);
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["not received"]);
        assert_eq!(connected(&mut client).sid, known.sid);
        events.expect(&["gone: transport close", "connected true [\"room\"] Some(7)"]);
        // The event may have been on its way to the old connection when that was given up.
        let mut last = old.receive();
        while matches!(last, Received::Text(_)) {
            last = old.receive();
        }
        assert!(matches!(last, Received::Lost | Received::Closed(_)));
        server.io.to("room").emit("later", 2);
        known.expect(&mut client, &["later"]);
        client.expect_quiet();
    });
}

#[test]
fn p15_a_client_comes_back_as_often_as_it_likes_and_with_the_event_it_has_received_last() {
    each_way(|shards, back_on| {
        let (server, events) = start(shards, recovery());
        let mut known = gone_from(&server, &events);
        for round in 0..6 {
            for number in 0..3 {
                server.io.to("room").emit("missed", number);
            }
            let shard = if round % 2 == 0 { back_on } else { 0 };
            let mut client = server.open_on(shard);
            client.send(&known.claim());
            // It receives two of them, and goes again; the third one comes with the next round.
            let due = if round == 0 { 3 } else { 4 };
            known.expect(&mut client, &vec!["missed"; due - 1]);
            assert_eq!(client.text().split(',').next(), Some("42[\"missed\""));
            assert_eq!(connected(&mut client).sid, known.sid);
            drop(client);
            events.expect(&["connected true [\"room\"] Some(7)", "gone: transport close"]);
        }
    });
}

#[test]
fn p15_handles_of_a_socket_mean_it_wherever_it_is_and_while_it_is_away() {
    each_way(|shards, back_on| {
        let (log, events) = log();
        let options = options(shards).connection_state_recovery(recovery());
        let handles = std::sync::Arc::new(std::sync::Mutex::new(Vec::<Socket>::new()));
        let kept = std::sync::Arc::clone(&handles);
        let server = Fixture::with(options, |io| {
            io.of("/").on_connect(async move |socket: Socket| kept.lock().unwrap().push(socket));
            io.of("/").on("echo", async |socket: Socket, Data(text): Data<String>| {
                socket.emit("own", &text);
                socket.join("late");
            });
            log.log_disconnects(io);
        });
        let mut client = server.open_on(0);
        let mut known = join(&mut client);
        server.io.emit("first", 0);
        known.expect(&mut client, &["first"]);
        let handle = handles.lock().unwrap()[0];
        drop(client);
        events.expect(&["gone: transport close"]);
        assert!(handle.emit("while away", 1).is_queued());
        let mut client = server.open_on(back_on);
        client.send(&known.claim());
        known.expect(&mut client, &["while away"]);
        assert_eq!(connected(&mut client).sid, known.sid);
        assert!(handle.emit("from outside", 2).is_queued());
        known.expect(&mut client, &["from outside"]);
        client.send("42[\"echo\",\"x\"]");
        known.expect(&mut client, &["own"]);
        server.io.to("late").emit("to the room", 3);
        known.expect(&mut client, &["to the room"]);
        assert_eq!(*handles.lock().unwrap(), [handle, handle], "the same socket");
        handle.disconnect(true);
        client.expect(&["41"]);
        events.expect(&["gone: server namespace disconnect"]);
        let mut client = server.open_on(0);
        client.send(&known.claim());
        assert_ne!(connected(&mut client).sid, known.sid, "it was sent away");
    });
}

#[test]
fn p15_who_leaves_or_is_sent_away_does_not_come_back() {
    each(|shards| {
        let (server, events) = start(shards, recovery());
        let mut client = server.open_on(0);
        let known = join(&mut client);
        client.send("41");
        events.expect(&["connected false [] None", "gone: client namespace disconnect"]);
        client.send(&known.claim());
        assert_ne!(connected(&mut client).sid, known.sid);
    });
}

#[test]
fn p15_who_was_away_for_too_long_is_a_new_client_and_the_application_is_told() {
    each(|shards| {
        let recovery = ConnectionStateRecovery {
            max_disconnection_duration: Duration::from_millis(30),
            ..recovery()
        };
        let (server, events) = start(shards, recovery);
        let (log, expired) = log();
        server.io.on_session_expired(move |session| {
            log.add(format!("{} {} {:?}", session.id, session.namespace, session.rooms));
        });
        let known = gone_from(&server, &events);
        assert_eq!(expired.next(), format!("{} / [\"room\"]", known.sid));
        let mut client = server.open_on(0);
        client.send(&known.claim());
        assert_ne!(connected(&mut client).sid, known.sid);
    });
}

#[test]
fn m44_a_shard_keeps_only_so_many_sockets_and_events() {
    each(|shards| {
        let few = options(shards).connection_state_recovery(recovery()).limits(|limits| {
            limits.recovery_sessions = 2;
            limits.recovery_log_events = 10;
        });
        let (log, events) = log();
        let server = Fixture::with(few, |io| log.log_disconnects(io));
        let mut gone: Vec<Known> = Vec::new();
        for _ in 0..3 {
            let mut client = server.open_on(0);
            let mut known = join(&mut client);
            server.io.emit("hello", 1);
            known.expect(&mut client, &["hello"]);
            drop(client);
            events.expect(&["gone: transport close"]);
            gone.push(known);
        }
        let mut clients = Vec::new();
        let mut comes_back = |known: &Known| {
            let mut client = server.open_on(0);
            client.send(&known.claim());
            loop {
                let text = client.text();
                if let Some(reply) = text.strip_prefix("40") {
                    // Who would go now, would be kept as well.
                    clients.push(client);
                    return reply.contains(&known.sid);
                }
            }
        };
        assert!(!comes_back(&gone[0]), "there was no place for three");
        assert!(comes_back(&gone[1]));
        for number in 0..11 {
            server.io.emit("flood", number);
        }
        assert!(!comes_back(&gone[2]), "nobody knows what it has missed");
    });
}

#[test]
fn p15_a_claim_can_come_with_other_credentials() {
    let (log, events) = log();
    let server = Fixture::with(options(1).connection_state_recovery(recovery()), |io: &Server| {
        let told = log.clone();
        io.of("/").on_connect(async move |Auth(auth): Auth<Value>| {
            told.add(auth["token"].as_str().unwrap_or("none"));
        });
        log.log_disconnects(io);
    });
    let mut client = server.open();
    client.send("40{\"token\":\"abc\"}");
    let known = connected(&mut client);
    drop(client);
    events.expect(&["abc", "gone: transport close"]);
    let mut client = server.open();
    client.send(&known.claim().replace("{\"pid\"", "{\"token\":\"def\",\"pid\""));
    assert_eq!(connected(&mut client).sid, known.sid);
    events.expect(&["def"]);
}
