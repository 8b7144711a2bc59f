//! What the documentation of the Socket.IO server names, for those who look for it: the short ways
//! to what other tests prove.

use std::time::Duration;

use fanfare::{Acknowledgements, Listener, Server, Socket};

use crate::client::Client;
use crate::fixture::{Fixture, block_on, each, log, options};

/// One client on each shard answers what it is asked with its number.
fn answer(clients: &mut [(Client, String)], question: &str, prefix: &str, count: usize) {
    for (index, (client, _)) in clients.iter_mut().enumerate() {
        client.expect(&[&format!("42{prefix}{count}[\"{question}\"]")]);
        client.send(&format!("43{prefix}{count}[{index}]"));
    }
}

fn sorted(answers: Acknowledgements<usize>) -> Vec<usize> {
    let mut answers = block_on(answers).expect("everybody has answered");
    answers.sort_unstable();
    answers
}

#[test]
fn server_and_namespace_ask_all_of_their_clients() {
    each(|shards| {
        let server = Fixture::start(shards, |io| drop(io.of("/chat")));
        let mut clients = server.client_on_each();
        let answers = server.io.emit_with_ack("q", ());
        answer(&mut clients, "q", "", 0);
        assert_eq!(sorted(answers), (0..shards).collect::<Vec<_>>());
        for (client, _) in &mut clients {
            client.join("/chat");
        }
        let answers = server.io.of("/chat").emit_with_ack("q", ());
        answer(&mut clients, "q", "/chat,", 0);
        assert_eq!(sorted(answers), (0..shards).collect::<Vec<_>>());
    });
}

#[test]
fn a_socket_that_was_fetched_is_sent_to_joins_leaves_and_is_disconnected() {
    each(|shards| {
        let server = Fixture::start(shards, |_| {});
        for (mut client, id) in server.client_on_each() {
            let found = block_on(server.io.to(&id).fetch_sockets());
            let [found] = found.as_slice() else { panic!("{} sockets", found.len()) };
            found.emit("hello", 1);
            client.expect(&["42[\"hello\",1]"]);

            let answer = found.timeout(Duration::from_secs(60)).emit_with_ack("q", ());
            let question = client.text();
            client.send(&question.replacen("42", "43", 1).replace("\"q\"", "7"));
            assert_eq!(block_on(answer).ok(), Some(7));

            assert!(found.join(["a", "b"]));
            assert!(found.leave("a"));
            server.io.to("a").emit("a", ());
            server.io.to("b").emit("b", ());
            client.expect(&["42[\"b\"]"]);

            assert!(found.disconnect(false));
            client.expect(&["41"]);
        }
    });
}

#[test]
fn a_socket_tells_what_it_listens_to() {
    each(|shards| {
        let (log, events) = log();
        let server = Fixture::start(shards, |io| {
            let told = log.clone();
            io.of("/").on_connect(async move |socket: Socket| {
                told.add(format!("{:?} {:?}", socket.event_names(), socket.listeners_any()));
                socket.on("b", async || {});
                socket.once("a", async || {});
                socket.on("b", async || {});
                let last = socket.on_any(async || {});
                let first = socket.prepend_any(async || {});
                let outgoing = socket.on_any_outgoing(async || {});
                told.add(format!("{:?}", socket.event_names()));
                let any: Vec<Option<Listener>> = vec![first, last];
                let listened = socket.listeners_any().into_iter().map(Some);
                told.add(listened.eq(any));
                told.add(socket.listeners_any_outgoing().into_iter().map(Some).eq([outgoing]));
                for listener in socket.listeners_any() {
                    socket.off(listener);
                }
                told.add(socket.listeners_any().len());
            });
        });
        let _client = server.client();
        events.expect(&["[] []", "[\"b\", \"a\"]", "true", "true", "0"]);
    });
}

#[test]
fn a_socket_leads_to_its_namespace() {
    each(|shards| {
        let server = Fixture::start(shards, |io| {
            let children = io.of_pattern("^/room-[0-9]$").expect("a pattern");
            children.on("ping", async |socket: Socket| {
                socket.nsp().emit("pong", socket.nsp().name());
            });
        });
        let mut clients: Vec<Client> = (0..3).map(|_| server.open()).collect();
        for (client, room) in clients.iter_mut().zip(["/room-1", "/room-1", "/room-2"]) {
            client.join(room);
        }
        clients[0].send("42/room-1,[\"ping\"]");
        clients[0].expect(&["42/room-1,[\"pong\",\"/room-1\"]"]);
        clients[1].expect(&["42/room-1,[\"pong\",\"/room-1\"]"]);
        clients[2].expect_quiet();
    });
}

#[test]
fn a_server_tells_its_path() {
    let path = |server: fanfare::Result<Server>| server.expect("a path").path().to_owned();
    assert_eq!(path(Server::builder().build()), "/socket.io/");
    assert_eq!(path(options(1).path("/live/").build()), "/live/");
    assert_eq!(path(options(1).path("/live").add_trailing_slash(false).build()), "/live");
}
