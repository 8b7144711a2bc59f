//! The server and its handles on threads that no shard runs on.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use fanfare::{AckError, Emitted, Server, Socket};

use crate::client::{Client, DEADLINE};
use crate::fixture::{Fixture, Log, block_on, each, log};

/// Sends the handle of every new socket of `/` to the test.
fn hands_out(io: &Server, handles: Sender<Socket>) {
    io.of("/").on_connect(async move |socket: Socket| handles.send(socket).ok());
}

/// A server, a client of each shard, and the handles of their sockets.
fn setup(shards: usize, log: &Log) -> (Fixture, Vec<(Client, Socket)>) {
    let (sender, handles) = channel();
    let server = Fixture::start(shards, |io| {
        hands_out(io, sender);
        log.log_disconnects(io);
    });
    let clients = server.client_on_each();
    let mut found: Vec<Socket> = Vec::new();
    let pair = |(client, id): (Client, String)| {
        while !found.iter().any(|socket| socket.id().to_string() == id) {
            found.push(handles.recv_timeout(DEADLINE).unwrap());
        }
        (client, *found.iter().find(|socket| socket.id().to_string() == id).unwrap())
    };
    let clients = clients.into_iter().map(pair).collect();
    (server, clients)
}

#[test]
fn a_handle_works_on_any_thread() {
    each(|shards| {
        let (log, events) = log();
        let (server, mut clients) = setup(shards, &log);
        for (client, socket) in &mut clients {
            let socket = *socket;
            let used = thread::spawn(move || {
                assert_eq!(socket.emit("x", 1), Emitted::Queued);
                assert_eq!(socket.send("text"), Emitted::Queued);
                assert!(socket.join(["a", "b"]));
                assert!(socket.in_("a").emit("not to itself", ()).is_queued());
                assert!(socket.leave("b"));
                assert_eq!(socket.volatile().emit("volatile", ()), Emitted::Queued);
                // Only its shard knows these.
                assert!(!socket.is_connected() && socket.rooms().is_empty());
                assert!(socket.handshake().is_none() && socket.transport().is_none());
                assert!(!socket.data().set(1) && socket.data().get::<i32>().is_none());
                assert_eq!(socket.namespace(), "/");
                block_on(socket.emit_with_ack::<u8, _>("q", ()))
            });
            client.expect(&["42[\"x\",1]", "42[\"message\",\"text\"]"]);
            let mut text = client.text();
            if text == "42[\"volatile\"]" {
                text = client.text();
            }
            let id = text.strip_prefix("42").and_then(|rest| rest.strip_suffix("[\"q\"]"));
            client.send(&format!("43{}[5]", id.unwrap()));
            assert_eq!(used.join().unwrap().unwrap(), 5);
            server.io.to("b").emit("b", ());
            server.io.to("a").emit("a", ());
            client.expect(&["42[\"a\"]"]);
            assert!(socket.leave("a"));
            thread::spawn(move || assert!(socket.disconnect(true))).join().unwrap();
            client.expect(&["41"]);
            client.expect_closed();
            // Those that the fixture tried before it had one on each shard go, too.
            while events.next() != "gone: server namespace disconnect" {}
        }
    });
}

#[test]
fn a_handle_whose_socket_is_gone_answers_so_and_never_panics() {
    each(|shards| {
        let (log, events) = log();
        let (sender, handles) = channel();
        let server = Fixture::start(shards, |io| {
            hands_out(io, sender);
            log.log_disconnects(io);
        });
        let mut client = server.client();
        let gone = handles.recv_timeout(DEADLINE).unwrap();
        client.send("41");
        events.expect(&["gone: client namespace disconnect"]);
        // A new socket in the same place must not be taken for it.
        client.join("/");
        // A thread cannot know; it is told when it asks for an answer.
        assert_eq!(gone.emit("x", ()), Emitted::Queued);
        assert!(matches!(
            block_on(gone.emit_with_ack::<(), _>("q", ())),
            Err(AckError::Disconnected)
        ));
        gone.join("room");
        gone.leave("room");
        gone.disconnect(true);
        server.io.to("room").emit("room", ());
        server.io.of("/").on("use", async move || {
            let answers = [
                gone.emit("x", ()),
                gone.volatile().emit("x", ()),
                gone.send(1),
                gone.timeout(Duration::ZERO).emit("x", ()),
            ];
            // On the socket's own shard it is known at once, elsewhere when the command arrives.
            let known = answers == [Emitted::Closed; 4] && !gone.join("r") && !gone.leave("r");
            let unknown = answers == [Emitted::Queued; 4];
            let nothing = gone.rooms().is_empty()
                && !gone.is_connected()
                && gone.handshake().is_none()
                && gone.transport().is_none()
                && !gone.data().set(1)
                && gone.data().take::<i32>().is_none();
            let late = gone.emit_with_ack::<(), _>("q", ()).await;
            let late = matches!(late, Err(AckError::Disconnected));
            log.add(format!("{} {nothing} {late}", known || unknown));
        });
        client.send("42[\"use\"]");
        events.expect(&["true true true"]);
        client.expect_quiet();
        assert_eq!(events.rest(), [""; 0]);
    });
}

#[test]
fn a_handle_outlives_its_server() {
    each(|shards| {
        let (log, _events) = log();
        let (server, clients) = setup(shards, &log);
        let (clients, sockets): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        drop(clients);
        drop(server);
        for socket in sockets {
            assert_eq!(socket.emit("x", ()), Emitted::Closed);
            assert!(!socket.join("a") && !socket.leave("a") && !socket.disconnect(true));
            assert!(matches!(
                block_on(socket.emit_with_ack::<(), _>("q", ())),
                Err(AckError::Disconnected)
            ));
            assert_eq!(socket.namespace(), "");
        }
    });
}

#[test]
fn emits_of_many_threads_all_arrive_each_threads_in_order() {
    each(|shards| {
        let (threads, emits) = (4_usize, 500_usize);
        let server = Fixture::start(shards, |_| {});
        let mut clients = server.client_on_each();
        let emitting: Vec<_> = (0..threads)
            .map(|number| {
                let io = server.io.clone();
                thread::spawn(move || {
                    (0..emits).for_each(|n| assert!(io.emit("n", (number, n)).is_queued()));
                })
            })
            .collect();
        for (client, _) in &mut clients {
            let mut next = vec![0; threads];
            for _ in 0..threads * emits {
                let text = client.text();
                let args = text.trim_start_matches("42[\"n\",").trim_end_matches(']');
                let (number, n) = args.split_once(',').unwrap();
                let number: usize = number.parse().unwrap();
                assert_eq!(n.parse::<usize>().unwrap(), next[number]);
                next[number] += 1;
            }
        }
        emitting.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_handler_on_one_shard_reaches_sockets_of_the_other() {
    let (sender, handles) = channel();
    let server = Fixture::start(2, |io| {
        hands_out(io, sender);
        io.of("/").on("relay", async |socket: Socket, fanfare::Data(to): fanfare::Data<String>| {
            socket.to(&to).emit("private", socket.id().to_string());
        });
    });
    let (mut here, here_id) = server.client_on(0);
    let (mut there, there_id) = server.client_on(1);
    for _ in 0..20 {
        here.send(&format!("42[\"relay\",\"{there_id}\"]"));
        there.expect(&[&format!("42[\"private\",\"{here_id}\"]")]);
        there.send(&format!("42[\"relay\",\"{here_id}\"]"));
        here.expect(&[&format!("42[\"private\",\"{there_id}\"]")]);
    }
    let foreign = handles.try_iter().find(|socket| socket.id().to_string() == there_id).unwrap();
    server.io.of("/").on("kick", async move |socket: Socket| {
        let answer = foreign.emit_with_ack::<u8, _>("q", ());
        socket.emit("answered", answer.await.unwrap());
        foreign.disconnect(false);
    });
    here.send("42[\"kick\"]");
    there.expect(&["420[\"q\"]"]);
    there.send("430[3]");
    here.expect(&["42[\"answered\",3]"]);
    there.expect(&["41"]);
}

#[test]
fn close_in_the_middle_of_emits_and_asks_ends_all_of_them() {
    each(|shards| {
        let (log, _events) = log();
        let (mut server, clients) = setup(shards, &log);
        let io = server.io.clone();
        let emits = thread::spawn(move || {
            let asked = io.of("/").emitter().emit_with_ack::<(), _>("q", ());
            for n in 0..1000 {
                io.emit("n", n);
            }
            block_on(asked)
        });
        server.io.close();
        for (mut client, _) in clients {
            while let crate::client::Received::Text(_) = client.receive() {}
        }
        server.running.take().unwrap().join().unwrap();
        // Whether it was asked before the end or after: it does not wait for ever.
        let _: Result<Vec<()>, _> = emits.join().unwrap();
    });
}
