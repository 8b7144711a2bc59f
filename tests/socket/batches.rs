//! Broadcasts to the same sockets are queued together. Nothing of that may show: each client gets
//! what it should, in the order in which it was emitted.

use fanfare::{Data, Server, Socket};

use crate::client::Polling;
use crate::fixture::{Fixture, each};

/// A server whose event `burst` makes broadcasts of a number, and all that may come between two of
/// them: a packet for one client, changes of rooms, another selection, an ack, a namespace.
fn bursts(io: &Server) {
    let everybody = io.clone();
    io.of("/").on("burst", async move |socket: Socket| {
        let all = |number: u8| _ = everybody.emit("n", number);
        let room = |number: u8| _ = everybody.to("room").emit("n", number);
        all(1);
        all(2);
        socket.emit("own", ());
        all(3);
        room(4);
        socket.join("room");
        room(5);
        room(6);
        everybody.to("room").emit("with", "another event");
        socket.leave("room");
        room(7);
        all(8);
        everybody.of("/other").emitter().emit("n", 9);
        all(10);
    });
    io.of("/other").on("x", async |_: Socket| {});
}

const OF_THE_SENDER: [&str; 9] = [
    "42[\"n\",1]",
    "42[\"n\",2]",
    "42[\"own\"]",
    "42[\"n\",3]",
    "42[\"n\",5]",
    "42[\"n\",6]",
    "42[\"with\",\"another event\"]",
    "42[\"n\",8]",
    "42[\"n\",10]",
];

const OF_OTHERS: [&str; 5] =
    ["42[\"n\",1]", "42[\"n\",2]", "42[\"n\",3]", "42[\"n\",8]", "42[\"n\",10]"];

#[test]
fn a_burst_of_broadcasts_keeps_its_order_for_the_sender_and_for_others() {
    each(|shards| {
        let server = Fixture::start(shards, bursts);
        let mut clients = server.client_on_each();
        clients.extend(server.client_on_each());
        clients[0].0.send("42[\"burst\"]");
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            match index {
                0 => client.expect(&OF_THE_SENDER),
                _ => client.expect(&OF_OTHERS),
            }
        }
        server.io.emit("end", ());
        clients.iter_mut().for_each(|(client, _)| client.expect(&["42[\"end\"]"]));
    });
}

#[test]
fn a_polling_client_gets_a_burst_of_broadcasts_as_separate_packets() {
    each(|shards| {
        let server = Fixture::start(shards, bursts);
        let polling = Polling::joined(server.address);
        polling.post("42[\"burst\"]");
        assert_eq!(polling.get().split('\x1e').collect::<Vec<_>>(), OF_THE_SENDER);
    });
}

#[test]
fn who_connects_or_leaves_between_two_broadcasts_gets_those_of_its_time() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let everybody = io.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                // In its namespace already: it hears of itself, and others of it.
                everybody.emit("came", ());
                everybody.emit("is here", ());
                socket.emit("hello", ());
            });
            let everybody = io.clone();
            io.of("/").on("leave", async move |socket: Socket| {
                everybody.emit("leaves", ());
                socket.disconnect(false);
                everybody.emit("left", ());
                everybody.emit("gone", ());
            });
        });
        let mut stays = server.client();
        stays.expect(&["42[\"came\"]", "42[\"is here\"]", "42[\"hello\"]"]);
        let mut leaves = server.client();
        leaves.expect(&["42[\"came\"]", "42[\"is here\"]", "42[\"hello\"]"]);
        stays.expect(&["42[\"came\"]", "42[\"is here\"]"]);
        leaves.send("42[\"leave\"]");
        leaves.expect(&["42[\"leaves\"]", "41"]);
        stays.expect(&["42[\"leaves\"]", "42[\"left\"]", "42[\"gone\"]"]);
        leaves.send("40");
        assert!(leaves.text().starts_with("40{"), "nothing came after the disconnection");
    });
}

#[test]
fn many_large_broadcasts_of_a_turn_arrive_whole_and_in_order() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let everybody = io.clone();
            io.of("/").on("many", async move |Data(bytes): Data<usize>| {
                for number in 0..40 {
                    everybody.emit("n", (number, "x".repeat(bytes)));
                }
            });
        });
        let mut clients = server.client_on_each();
        for bytes in [10, 3_000, 70_000] {
            clients[0].0.send(&format!("42[\"many\",{bytes}]"));
            for (client, _) in &mut clients {
                for number in 0..40 {
                    let text = format!("42[\"n\",{number},\"{}\"]", "x".repeat(bytes));
                    assert!(client.text() == text, "packet {number} of {bytes} bytes");
                }
            }
        }
    });
}
