//! Emits to many: groups 24 and 26 of the inventory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::{Ack, Data, Emitter, Server, Socket};
use serde::{Serialize, Serializer};

use crate::client::Client;
use crate::fixture::{Fixture, each, log, options};
use crate::rooms::moves;

type Clients = Vec<(Client, String)>;

/// A server on which `cast` sends `got` to others: in rooms, but not in others.
fn casts(io: &Server) {
    for name in ["/", "/other"] {
        moves(io, name);
        type Rooms = Data<(Vec<String>, Vec<String>)>;
        io.of(name).on("cast", async |socket: Socket, Data((to, except)): Rooms, ack: Ack| {
            socket.to(to).except(except).emit("got", ());
            ack.send(());
        });
    }
}

/// Three clients: `a` is in the rooms a and both, `b` in b and both, the last one in none. They are
/// on different shards if there are.
fn three(server: &Fixture) -> Clients {
    let mut clients = server.client_on_each();
    while clients.len() < 3 {
        clients.extend(server.client_on_each());
    }
    clients.truncate(3);
    for (index, room) in ["a", "b"].iter().enumerate() {
        let client = &mut clients[index].0;
        client.send(&format!("421[\"join\",[\"{room}\",\"both\"]]"));
        assert!(client.text().starts_with("431["));
    }
    clients
}

/// Who gets one copy of `text`; nobody gets more, and the others get none.
#[track_caller]
fn expect_at(server: &Fixture, clients: &mut Clients, text: &str, indexes: &[usize]) {
    server.io.emit("end", ());
    for (index, (client, _)) in clients.iter_mut().enumerate() {
        if indexes.contains(&index) {
            client.expect(&[text]);
        }
        client.expect(&["42[\"end\"]"]);
    }
}

/// Counts how often it is encoded.
struct Counted<'a>(&'a AtomicUsize);

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.fetch_add(1, Ordering::Relaxed) as u64)
    }
}

#[test]
fn b39_6_what_many_are_sent_is_encoded_once() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let polling = server.polling();
        let encoded = AtomicUsize::new(0);
        server.io.emit("got", (Counted(&encoded),));
        assert_eq!(polling.get(), "42[\"got\",0]");
        expect_at(&server, &mut clients, "42[\"got\",0]", &[0, 1, 2]);
        assert_eq!(encoded.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn b24_1_b24_4_b24_5_b24_12_b24_13_the_server_emits_to_whom_it_means() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let id = |index: usize| clients[index].1.clone();
        let all = server.io.of("/").emitter();
        let cases: [(Emitter, &[usize]); 12] = [
            (all.clone(), &[0, 1, 2]),
            (all.clone().to("a"), &[0]),
            (all.clone().in_("a").to("b"), &[0, 1]),
            (all.clone().to(["both", "a", "b"]), &[0, 1]),
            (all.clone().to("nobody"), &[]),
            (all.clone().except(id(0)), &[1, 2]),
            (all.clone().except(id(0)).except(id(2)), &[1]),
            (all.clone().except("both"), &[2]),
            (all.clone().to("both").except("a"), &[1]),
            (all.clone().to(id(2)).to("a"), &[0, 2]),
            (all.clone().to(id(2)).except(id(2)), &[]),
            (all.local(), &[0, 1, 2]),
        ];
        for (emitter, indexes) in cases {
            assert!(emitter.emit("got", ()).is_queued());
            expect_at(&server, &mut clients, "42[\"got\"]", indexes);
        }
    });
}

#[test]
fn b24_3_b24_6_b26_25_b26_27_a_socket_emits_to_others() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let id = clients[2].1.clone();
        let cases: [(usize, String, &[usize]); 8] = [
            (0, "[],[]".to_owned(), &[1, 2]),
            (2, "[],[]".to_owned(), &[0, 1]),
            (0, "[\"both\"],[]".to_owned(), &[1]),
            (0, "[\"a\"],[]".to_owned(), &[]),
            (2, "[\"a\",\"b\",\"both\"],[]".to_owned(), &[0, 1]),
            (0, format!("[],[\"{id}\"]"), &[1]),
            (2, "[],[\"b\"]".to_owned(), &[0]),
            (0, format!("[\"both\",\"{id}\"],[\"b\"]"), &[2]),
        ];
        for (caster, rooms, indexes) in cases {
            let client = &mut clients[caster].0;
            client.send(&format!("421[\"cast\",{rooms}]"));
            client.expect(&["431[]"]);
            expect_at(&server, &mut clients, "42[\"got\"]", indexes);
        }
    });
}

#[test]
fn modifiers_of_a_socket_may_come_before_those_whom_it_means() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            io.of("/").on("go", async move |socket: Socket| {
                socket.volatile().broadcast().emit("volatile", ());
                socket.volatile().to(socket.nsp().name()).emit("nobody", ());
                socket.compress(false).except("nobody").emit("got", ());
                let others = socket.timeout(Duration::from_millis(30)).local();
                let answers = others.emit_with_ack::<u32, _>("q", ()).await;
                log.add(answers.map_err(|incomplete| incomplete.missing.len()).unwrap_err());
            });
        });
        // No request of it waits: what is volatile is not for it.
        let other = server.polling();
        server.client().send("42[\"go\"]");
        events.expect(&["1"]);
        let packets = other.get();
        let (got, question) = packets.split_once('\u{1e}').unwrap();
        assert_eq!(got, "42[\"got\"]");
        assert!(question.ends_with("[\"q\"]"), "{question}");
    });
}

#[test]
fn b24_1_b26_26_an_emit_stays_in_its_namespace() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let ids: Vec<String> =
            clients.iter_mut().map(|(client, _)| client.join("/other")).collect();
        server.io.of("/other").emit("got", ());
        expect_at(&server, &mut clients, "42/other,[\"got\"]", &[0, 1, 2]);
        server.io.of("/other").to("both").emit("got", ());
        expect_at(&server, &mut clients, "", &[]);
        server.io.of("/other").except(&ids[1]).emit("got", ());
        expect_at(&server, &mut clients, "42/other,[\"got\"]", &[0, 2]);
        // The id of a socket of one namespace says nothing in another.
        server.io.of("/other").except(&clients[1].1).emit("got", ());
        expect_at(&server, &mut clients, "42/other,[\"got\"]", &[0, 1, 2]);
        server.io.to(&ids[1]).emit("got", ());
        expect_at(&server, &mut clients, "", &[]);
        clients[0].0.send("42/other,1[\"cast\",[],[]]");
        clients[0].0.expect(&["43/other,1[]"]);
        expect_at(&server, &mut clients, "42/other,[\"got\"]", &[1, 2]);
    });
}

#[test]
fn b24_2_b24_7_b24_20_binary_broadcasts_reach_both_transports_whole() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let polling = server.polling();
        let place = "{\"_placeholder\":true,\"num\":0}";
        for emitter in [server.io.of("/").emitter(), server.io.to("both")] {
            emitter.emit("got", (1, Bytes::from_static(b"\x00\xff")));
            server.io.emit("end", ());
        }
        let header = format!("451-[\"got\",1,{place}]");
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            for is_in in [true, index < 2] {
                if is_in {
                    client.expect(&[&header]);
                    client.expect_binary(b"\x00\xff");
                }
                client.expect(&["42[\"end\"]"]);
            }
        }
        let mut packets = String::new();
        while packets.matches("42[\"end\"]").count() < 2 {
            packets = format!("{packets}{}\u{1e}", polling.get());
        }
        let end = "42[\"end\"]\u{1e}";
        assert_eq!(packets, format!("{header}\u{1e}bAP8=\u{1e}{end}{end}"));
    });
}

#[test]
fn b24_14_b26_3_chained_targets_do_not_change_what_they_were_made_from() {
    each(|shards| {
        let server = Fixture::start(shards, casts);
        let mut clients = three(&server);
        let all = server.io.of("/").emitter();
        let a = all.clone().to("a");
        let both = a.clone().to("b");
        let none = both.clone().except("both");
        let volatile = a.clone().volatile();
        drop((both, none, volatile));
        a.emit("got", 1);
        expect_at(&server, &mut clients, "42[\"got\",1]", &[0]);
        all.emit("got", 2);
        expect_at(&server, &mut clients, "42[\"got\",2]", &[0, 1, 2]);
        a.emit("got", 3);
        expect_at(&server, &mut clients, "42[\"got\",3]", &[0]);
    });
}

#[test]
fn a_broadcast_and_what_follows_it_keep_their_order_on_each_shard() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            io.of("/").on("go", async |socket: Socket| {
                for n in 0..100 {
                    socket.broadcast().emit("n", n);
                }
            });
        });
        let mut clients = server.client_on_each();
        let mut caster = server.client();
        caster.send("42[\"go\"]");
        for (client, _) in &mut clients {
            (0..100).for_each(|n| client.expect(&[&format!("42[\"n\",{n}]")]));
        }
    });
}

#[test]
fn a_slow_reader_is_disconnected_at_the_queue_limit_and_costs_nobody_else_anything() {
    each(|shards| {
        let (log, events) = log();
        let options = options(shards).limits(|limits| limits.send_queue_bytes = 64 * 1024);
        let server = Fixture::with(options, |io| log.log_disconnects(io));
        let mut slow = server.client();
        let (mut neighbour, _) = server.client_on(0);
        events.rest();
        let text = "x".repeat(32 * 1024);
        let expected = format!("42[\"flood\",\"{text}\"]");
        // The kernel's buffers take some megabytes first.
        let mut rounds = 0;
        while server.count(|stats| stats.slow_clients) == 0 {
            rounds += 1;
            assert!(rounds < 2_000, "a client that reads nothing is still there");
            let before = Instant::now();
            server.io.emit("flood", &text);
            assert_eq!(neighbour.text(), expected);
            assert!(before.elapsed() < Duration::from_secs(5));
        }
        while events.next() != "gone: transport error" {}
        server.io.emit("end", ());
        while neighbour.text() != "42[\"end\"]" {}
        neighbour.expect_quiet();
        assert_eq!(server.count(|stats| stats.slow_clients), 1);
        // What it reads now ends in the middle.
        while let crate::client::Received::Text(_) = slow.receive() {}
    });
}

#[test]
fn a_reader_that_takes_nothing_at_all_is_disconnected_after_the_stall_timeout() {
    let (log, events) = log();
    let options = options(1).limits(|limits| {
        limits.send_queue_bytes = 64 * 1024 * 1024;
        limits.send_stall_timeout = Duration::from_millis(100);
    });
    let server = Fixture::with(options, |io| log.log_disconnects(io));
    let _slow = server.client();
    let text = "x".repeat(1024 * 1024);
    (0..32).for_each(|_| assert!(server.io.emit("flood", &text).is_queued()));
    events.expect(&["gone: transport error"]);
    assert_eq!(server.count(|stats| stats.slow_clients), 1);
}
