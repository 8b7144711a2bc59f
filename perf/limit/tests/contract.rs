//! Every server, as a process of its own, keeps the contract of the plain WebSocket application.
//! The peer is an implementation of WebSocket that is not ours.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket};

/// After this a test fails instead of waiting on.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = WebSocket<TcpStream>;

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_limit"))
            .args([name, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Server { process, address }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{}/", self.address);
        let mut client = tungstenite::client(url, stream).unwrap().0;
        // Open for what everybody gets: the turn of the response has ended.
        say(&mut client, "Ehello");
        expect(&mut client, "Ehello");
        client
    }

    fn connect_many(&self, count: usize) -> Vec<Client> {
        (0..count).map(|_| self.connect()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).unwrap();
}

#[track_caller]
fn expect(client: &mut Client, text: &str) {
    match client.read().unwrap() {
        Message::Text(received) if received.as_str() == text => {}
        other => panic!("{other:.60} came instead of {text:.60}"),
    }
}

fn an_echo_comes_back_whatever_its_length(server: &Server) {
    let mut client = server.connect();
    for length in [0, 1, 64, 124, 125, 1000, 65_534, 65_535, 200_000] {
        let text = format!("E{}", "x".repeat(length));
        say(&mut client, &text);
        expect(&mut client, &text);
    }
}

fn many_echoes_under_way_come_back_in_order(server: &Server) {
    let mut client = server.connect();
    for round in 0..20 {
        (0..64).for_each(|number| say(&mut client, &format!("E{round} {number}")));
        (0..64).for_each(|number| expect(&mut client, &format!("E{round} {number}")));
    }
}

fn sixteen_publishes_in_a_row_reach_all_in_order(server: &Server) {
    let mut clients = server.connect_many(50);
    for round in 0..5 {
        let filler = "x".repeat(round * 100);
        (0..16).for_each(|number| say(&mut clients[round], &format!("P{number} {filler}")));
        for client in &mut clients {
            (0..16).for_each(|number| expect(client, &format!("B{number} {filler}")));
        }
    }
}

fn an_echo_among_publishes_keeps_its_place(server: &Server) {
    let mut clients = server.connect_many(3);
    for text in ["Pa", "Eb", "Pc", "Pd", "Ee"] {
        say(&mut clients[1], text);
    }
    for text in ["Ba", "Eb", "Bc", "Bd", "Ee"] {
        expect(&mut clients[1], text);
    }
    for text in ["Ba", "Bc", "Bd"] {
        expect(&mut clients[0], text);
        expect(&mut clients[2], text);
    }
}

fn a_room_reaches_its_members_alone(server: &Server) {
    let mut clients = server.connect_many(4);
    for (index, room) in [(0, "even"), (2, "even"), (1, "odd"), (3, "odd"), (0, "odd")] {
        say(&mut clients[index], &format!("J{room}"));
        expect(&mut clients[index], "J");
    }
    say(&mut clients[1], "Reven\nto even");
    say(&mut clients[1], "Rodd\nto odd");
    say(&mut clients[1], "Rnobody\nto nobody");
    say(&mut clients[1], "Pto all");
    expect(&mut clients[0], "Bto even");
    expect(&mut clients[2], "Bto even");
    for index in [0, 1, 3] {
        expect(&mut clients[index], "Bto odd");
    }
    for client in &mut clients {
        expect(client, "Bto all");
    }
}

/// More than sockets hold: what does not fit waits in the server, behind what was sent in part.
fn a_client_that_does_not_read_for_a_while_loses_nothing(server: &Server) {
    const MESSAGES: usize = 1500;
    let mut clients = server.connect_many(3);
    let text = |number: usize| format!("{number} {}", "x".repeat(10_000 + number % 7));
    for number in 0..MESSAGES {
        say(&mut clients[0], &format!("P{}", text(number)));
        expect(&mut clients[0], &format!("B{}", text(number)));
        expect(&mut clients[1], &format!("B{}", text(number)));
    }
    // Behind all that, also what is due to it alone.
    say(&mut clients[2], "Eat last");
    (0..MESSAGES).for_each(|number| expect(&mut clients[2], &format!("B{}", text(number))));
    expect(&mut clients[2], "Eat last");
    // And from then on all is as it was before.
    say(&mut clients[2], "Pagain");
    for client in &mut clients {
        expect(client, "Bagain");
    }
}

fn clients_that_leave_in_any_way_are_forgotten(server: &Server) {
    let mut stays = server.connect();
    for round in 0..30 {
        let mut leaves = server.connect_many(3);
        // Whoever was in the room before left nothing behind, not even to who has its place now.
        say(&mut stays, "Rroom\nto nobody");
        say(&mut stays, "Pto all");
        leaves.iter_mut().for_each(|client| expect(client, "Bto all"));
        expect(&mut stays, "Bto all");
        for client in &mut leaves {
            say(client, "Jroom");
            expect(client, "J");
        }
        let mut polite = leaves.pop().unwrap();
        polite.close(None).unwrap();
        // The server answers and closes.
        while polite.read().is_ok() {}
        // The others vanish, one of them with bytes that it never read.
        say(&mut stays, "Punread");
        expect(&mut stays, "Bunread");
        drop(leaves);
        say(&mut stays, &format!("P{round}"));
        expect(&mut stays, &format!("B{round}"));
    }
}

fn something_else_than_a_websocket_is_refused(server: &Server) {
    use std::io::Write;
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

fn sigterm_ends_it_with_success(server: &mut Server) {
    let _client = server.connect();
    let pid = Pid::from_child(&server.process);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

macro_rules! contract {
    ($($server:ident),*) => { $(
        mod $server {
            use super::*;
            contract!(@tests $server:
                an_echo_comes_back_whatever_its_length
                many_echoes_under_way_come_back_in_order
                sixteen_publishes_in_a_row_reach_all_in_order
                an_echo_among_publishes_keeps_its_place
                a_room_reaches_its_members_alone
                a_client_that_does_not_read_for_a_while_loses_nothing
                clients_that_leave_in_any_way_are_forgotten
                something_else_than_a_websocket_is_refused
            );
            #[test]
            fn sigterm_ends_it_with_success() {
                super::sigterm_ends_it_with_success(&mut Server::start(stringify!($server)));
            }
        }
    )* };
    (@tests $server:ident: $($test:ident)*) => { $(
        #[test]
        fn $test() {
            super::$test(&Server::start(stringify!($server)));
        }
    )* };
}

contract!(send, ring);
#[cfg(feature = "tokio")]
contract!(tokio);
#[cfg(feature = "monoio")]
contract!(monoio);
#[cfg(feature = "glommio")]
contract!(glommio);

#[test]
fn wrong_usage_and_a_start_that_fails_are_told_apart() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code) in [
        (["send", "--listen", "nowhere"], 2),
        (["other", "--listen", "127.0.0.1:0"], 2),
        (["send", "--port", "1"], 2),
        (["send", "--listen", &taken], 3),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_limit")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"limit: "));
    }
}
