//! Connections that the application has accepted, and hands over with what it has read.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use fanfare::{Builder, HandOverReason, Running, Server, Socket};

use crate::raw::{Client, WEBSOCKET_HEADERS, post, request, text};
use crate::site::{shard_of, sid_of};

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

fn options(shards: usize) -> Builder {
    Server::builder().shards(shards).pin_shards(false).serve_client(false)
}

/// A server that nobody can connect to.
fn deaf(shards: usize) -> (Server, Running) {
    let io = options(shards).build().unwrap();
    let running = io.start().unwrap();
    assert!(running.addresses().is_empty() && running.address().is_none());
    (io, running)
}

/// Both ends of a connection of TCP, and of one that is not.
fn connections() -> [(OwnedFd, OwnedFd); 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let served = listener.accept().unwrap().0;
    // As a runtime leaves it.
    served.set_nonblocking(true).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    [(client.into(), served.into()), (near.into(), far.into())]
}

/// A client whose request for a session was read by nobody.
fn client(io: &Server, read: &[u8]) -> Client {
    let [(client, served), _] = connections();
    io.handle_connection(served, read).unwrap();
    Client::on(client)
}

#[test]
fn b14_8_b28_16_a_server_that_listens_nowhere_serves_what_it_is_given() {
    for shards in [1, 2] {
        let (io, _running) = deaf(shards);
        for (client, served) in connections() {
            io.handle_connection(served, []).unwrap();
            let mut client = Client::on(client);
            let target = format!("{OPEN}&sid={}", sid_of(client.get(OPEN).text()));
            assert_eq!(client.post(&target, "40").text(), "ok");
            assert!(client.get(&target).text().starts_with("40{\"sid\""));
        }
    }
}

#[test]
fn it_goes_on_wherever_the_application_has_stopped_to_read() {
    let line = "GET /socket.io/?EIO=4&transport=websocket";
    let bytes = [request(line, WEBSOCKET_HEADERS).as_bytes(), &text("40")].concat();
    for shards in [1, 2] {
        let (io, _running) = deaf(shards);
        for end in 0..=bytes.len() {
            for (client, served) in connections() {
                let (read, rest) = bytes.split_at(end);
                io.handle_connection(served, read).unwrap();
                let mut client = Client::on(client);
                client.send(rest);
                assert_eq!(client.response().status, 101);
                assert!(client.text().starts_with("0{"));
                assert!(client.text().starts_with("40{"), "{end}");
            }
        }
    }
}

#[test]
fn requests_that_were_read_together_are_answered_in_order() {
    let (io, _running) = deaf(1);
    let open =
        sid_of(client(&io, request(&format!("GET {OPEN}"), "").as_bytes()).response().text());
    let target = format!("{OPEN}&sid={open}");
    let poll = request(&format!("GET {target}"), "");
    let mut client = client(&io, &[&post(&target, b"40"), poll.as_bytes()].concat());
    assert_eq!(client.response().text(), "ok");
    assert!(client.response().text().starts_with("40{"));
}

#[test]
fn the_shards_are_given_connections_by_turns_and_sessions_stay_where_they_are() {
    let (io, _running) = deaf(2);
    let sids: Vec<String> = (0..4).map(|_| sid_of(client(&io, b"").get(OPEN).text())).collect();
    let shards: Vec<u16> = sids.iter().map(|sid| shard_of(sid)).collect();
    assert_eq!(shards, [0, 1, 0, 1]);
    for sid in sids {
        let target = format!("{OPEN}&sid={sid}");
        for _ in 0..2 {
            let head = post(&target, b"40/none,");
            assert_eq!(client(&io, &head).response().status, 200);
        }
    }
}

#[test]
fn any_thread_may_hand_connections_over_that_of_a_shard_too() {
    for shards in [1, 2] {
        let (io, _running) = deaf(shards);
        let server = io.clone();
        let (gave, given) = std::sync::mpsc::channel();
        io.of("/").on_connect(async move |_: Socket| {
            let [(client, served), _] = connections();
            server.handle_connection(served, []).unwrap();
            gave.send(client).unwrap();
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let io = io.clone();
                thread::spawn(move || {
                    let mut client = client(&io, b"");
                    let target = format!("{OPEN}&sid={}", sid_of(client.get(OPEN).text()));
                    assert_eq!(client.post(&target, "40").text(), "ok");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for connection in given.iter().take(4) {
            assert_eq!(Client::on(connection).get(OPEN).status, 200);
        }
    }
}

/// Nobody has taken the connection, and it still works.
#[track_caller]
fn is_given_back(io: &Server, is_reason: impl Fn(&HandOverReason) -> bool) {
    for (client, served) in connections() {
        let error = io.handle_connection(served, *b"what was read").unwrap_err();
        assert!(is_reason(&error.reason), "{error}");
        assert_eq!(error.read, b"what was read");
        let (mut client, mut served) = (File::from(client), File::from(error.stream));
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}

#[test]
fn a_server_that_does_not_run_gives_the_connection_back() {
    for shards in [1, 2] {
        let io = options(shards).build().unwrap();
        let is_closed = |reason: &HandOverReason| matches!(reason, HandOverReason::Closed);
        is_given_back(&io, is_closed);
        let running = io.start().unwrap();
        io.close();
        running.join().unwrap();
        is_given_back(&io, is_closed);
    }
}

#[test]
fn a_server_that_closes_tells_the_clients_it_is_given() {
    for shards in [1, 2] {
        let (io, _running) = deaf(shards);
        let mut waiting = client(&io, b"");
        let target = format!("{OPEN}&sid={}", sid_of(waiting.get(OPEN).text()));
        io.close();
        assert_eq!(client(&io, b"").get(&target).text(), "1");
    }
}

#[test]
fn more_than_a_request_may_have_is_given_back() {
    let io = options(1).max_http_buffer_size(1).build().unwrap();
    let _running = io.start().unwrap();
    let [(_client, served), _] = connections();
    let most = 1 + 16 * 1024 + 64 * 1024;
    let error = io.handle_connection(served, vec![b'a'; most + 1]).unwrap_err();
    assert!(matches!(error.reason, HandOverReason::TooLong), "{error}");
    assert_eq!(error.read.len(), most + 1);
    io.handle_connection(error.stream, vec![b'a'; most]).unwrap();
}

#[test]
fn what_is_no_connection_is_given_back() {
    let (io, _running) = deaf(1);
    let listener: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let file: OwnedFd = File::open("/").unwrap().into();
    for descriptor in [listener, file] {
        let error = io.handle_connection(descriptor, []).unwrap_err();
        assert!(matches!(error.reason, HandOverReason::Stream(_)), "{error}");
    }
}

#[test]
fn beyond_the_limit_of_connections_one_is_closed_and_counted() {
    let io = options(1).limits(|limits| limits.connections = 2).build().unwrap();
    let _running = io.start().unwrap();
    let mut clients: Vec<Client> = (0..2).map(|_| client(&io, b"")).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get(OPEN).status, 200));
    client(&io, b"").expect_end();
    clients.iter_mut().for_each(|client| assert_eq!(client.get(OPEN).status, 200));
    drop(clients.pop());
    // Its end may come later than the next connection.
    while {
        let mut next = client(&io, b"");
        next.send(request(&format!("GET {OPEN}"), "Connection: close\r\n"));
        next.rest().is_empty()
    } {}
}
