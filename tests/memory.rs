//! Many clients: what an idle one costs the server, and that a crowd gets every message.
//!
//! `idle_clients_…` measure the `fanfare` binary as a child process, so that only the server's
//! memory counts. Run time: about 20 seconds. Each process needs a descriptor for each of 10,000
//! connections (`ulimit -Hn`).
#![cfg(feature = "binary")]

#[path = "support/peer.rs"]
mod peer;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::Server;

use peer::{Polling, WebSocket};

/// One test at a time: both want most of the descriptors.
static CROWDED: Mutex<()> = Mutex::new(());

/// Clients that connect at the same time.
const BATCH: usize = 200;

/// The binary in a process of its own. It is killed when this is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(environment: &[(&str, &str)]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["--listen", "127.0.0.1:0", "--shards", "1"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Process { child, address }
    }

    /// Its resident memory.
    fn resident_bytes(&self) -> usize {
        self.status("VmRSS:")
    }

    /// Its resident memory, less the pages of its program and libraries.
    fn anonymous_bytes(&self) -> usize {
        self.status("RssAnon:")
    }

    /// Opens sessions by long-polling, all on one connection, and does not come back to them.
    fn shakes_hands(&self, sessions: usize) {
        let request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = TcpStream::connect(self.address).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        for first in (0..sessions).step_by(BATCH) {
            let batch = BATCH.min(sessions - first);
            stream.write_all(&request.repeat(batch)).unwrap();
            for _ in 0..batch {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    assert!(answers.read_until(b'\n', &mut head).unwrap() > 0, "it has closed");
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let length = head.split_once("Content-Length: ").unwrap().1;
                let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
                let mut body = vec![0; length];
                answers.read_exact(&mut body).unwrap();
                assert!(body.starts_with(b"0{\"sid\":\""), "{}", body.escape_ascii());
            }
        }
    }

    /// The descriptors that it has open.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; either way nothing of it stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds WebSocket clients that have joined `/`.
fn crowd(address: SocketAddr, clients: usize, into: &mut Vec<WebSocket>) {
    for first in (0..clients).step_by(BATCH) {
        let batch = BATCH.min(clients - first);
        let start = into.len();
        into.extend((0..batch).map(|_| WebSocket::ask(address)));
        into[start..].iter_mut().for_each(WebSocket::join);
    }
}

/// Connects idle clients to the binary; gives the resident memory that each costs it.
fn bytes_each_idle_client(environment: &[(&str, &str)]) -> usize {
    const CLIENTS: usize = 10_000;
    let _crowded = CROWDED.lock().unwrap_or_else(PoisonError::into_inner);
    fanfare::driver::sys::raise_descriptor_limit().unwrap();
    let server = Process::start(environment);
    // What every server needs once is not what a client costs.
    let mut clients = Vec::with_capacity(CLIENTS + 1);
    crowd(server.address, 1, &mut clients);
    let before = server.resident_bytes();
    crowd(server.address, CLIENTS, &mut clients);
    let after = server.resident_bytes();
    let each = (after - before) / CLIENTS;
    println!("{CLIENTS} idle clients: {before} -> {after} bytes, {each} each");
    assert!(each >= 200, "{each} bytes cannot be: was anybody connected?");
    // They are still there, and served: the first one to come and the last.
    for client in [0, CLIENTS] {
        clients[client].send("421[\"ping-time\"]");
        assert_eq!(clients[client].message(), "431[]");
    }
    each
}

#[test]
fn idle_clients_cost_the_server_at_most_2_kib_each() {
    let each = bytes_each_idle_client(&[]);
    assert!(each <= 2 * 1024, "an idle client costs {each} bytes");
}

/// Without what the allocator keeps of freed memory, which differs from run to run.
#[test]
fn idle_clients_hold_at_most_1536_bytes_each() {
    let each = bytes_each_idle_client(&[("MIMALLOC_PURGE_DELAY", "0")]);
    assert!(each <= 1_536, "an idle client holds {each} bytes");
}

/// Opens connections that say nothing; gives the resident memory that each costs the server. There
/// is none on a machine that has so much else to do that the first of them time out meanwhile.
fn bytes_each_silent_connection() -> Option<usize> {
    const SILENT: usize = 2_000;
    let server = Process::start(&[]);
    let mut connections = Vec::with_capacity(SILENT);
    let mut open = |count: usize| {
        for _ in (0..count).step_by(BATCH) {
            connections.extend((0..BATCH).map(|_| TcpStream::connect(server.address).unwrap()));
            // Connections are accepted in the order in which they come.
            server.shakes_hands(1);
        }
    };
    open(BATCH);
    let (before, open_before) = (server.resident_bytes(), server.descriptors());
    open(SILENT);
    let (after, open_after) = (server.resident_bytes(), server.descriptors());
    let each = after.saturating_sub(before) / SILENT;
    println!("{SILENT} silent connections: {before} -> {after} bytes, {each} each");
    (open_after >= open_before + SILENT).then_some(each)
}

/// They are as cheap for whoever opens them as connections can be.
#[test]
fn m03_a_connection_that_says_nothing_costs_the_server_at_most_1_kib() {
    let _crowded = CROWDED.lock().unwrap_or_else(PoisonError::into_inner);
    fanfare::driver::sys::raise_descriptor_limit().unwrap();
    let each = (0..10).find_map(|_| bytes_each_silent_connection()).expect("a faster machine");
    assert!(each <= 1024, "a silent connection costs {each} bytes");
}

/// Whoever opens them needs one connection for all of them.
#[test]
fn m21_a_session_that_never_polls_costs_the_server_at_most_2_kib() {
    const SESSIONS: usize = 100_000;
    let _crowded = CROWDED.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Process::start(&[]);
    server.shakes_hands(BATCH);
    let before = server.resident_bytes();
    server.shakes_hands(SESSIONS);
    let after = server.resident_bytes();
    let each = after.saturating_sub(before) / SESSIONS;
    println!("{SESSIONS} sessions without a poll: {before} -> {after} bytes, {each} each");
    assert!(each >= 100, "{each} bytes cannot be: was there a session?");
    assert!(each <= 2 * 1024, "a session that never polls costs {each} bytes");
}

/// Within a tenth of the resident memory of a server that has seen nobody yet. The pages of its
/// program that are read for the first time do not count: they are not held for clients.
#[test]
fn what_a_crowd_took_comes_back_within_ten_seconds_after_it_has_left() {
    const CLIENTS: usize = 5_000;
    let _crowded = CROWDED.lock().unwrap_or_else(PoisonError::into_inner);
    fanfare::driver::sys::raise_descriptor_limit().unwrap();
    let server = Process::start(&[]);
    let before = server.anonymous_bytes();
    let most = before + server.resident_bytes() / 10;
    for _ in 0..2 {
        let mut clients = Vec::with_capacity(CLIENTS);
        crowd(server.address, CLIENTS, &mut clients);
        let during = server.anonymous_bytes();
        drop(clients);
        let left = Instant::now();
        while server.anonymous_bytes() > most && left.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        let after = server.anonymous_bytes();
        println!("{before} -> {during} with {CLIENTS} clients -> {after} bytes, {most} at most");
        assert!(during > 2 * most, "{during} bytes cannot be: was anybody connected?");
        assert!(after <= most, "{} bytes are held for nobody", after - before);
    }
}

#[test]
fn the_application_is_told_once_when_everybody_has_left() {
    let (tell, told) = channel();
    let builder = Server::builder().shards(1).on_crowd_left(move || tell.send(()).unwrap());
    let io = builder.build().unwrap();
    let running = io.spawn("127.0.0.1:0").unwrap();
    let mut clients = Vec::new();
    crowd(running.address().unwrap(), 3, &mut clients);
    assert!(told.try_recv().is_err());
    drop(clients);
    told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(told.recv_timeout(Duration::from_millis(1_500)).is_err(), "nobody else has left");
}

#[test]
fn a_crowd_on_both_transports_gets_every_message_once_in_order_while_others_come_and_go() {
    const WEBSOCKETS: usize = 1_900;
    const POLLING: usize = 100;
    const PASSING: usize = 200;
    const MESSAGES: usize = 20;
    let _crowded = CROWDED.lock().unwrap_or_else(PoisonError::into_inner);
    let io = Server::builder().shards(2).build().unwrap();
    let running = io.spawn("127.0.0.1:0").unwrap();
    let address = running.address().unwrap();
    let mut websockets = Vec::new();
    crowd(address, WEBSOCKETS, &mut websockets);
    let mut polling: Vec<Polling> = (0..POLLING).map(|_| Polling::join(address)).collect();

    let (pass, passed) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..PASSING {
                let mut client = WebSocket::ask(address);
                client.join();
                drop(client);
                pass.send(()).unwrap();
            }
        });
        // One message for every ten clients that have come and gone.
        for number in 0..MESSAGES {
            (0..PASSING / MESSAGES).for_each(|_| passed.recv().unwrap());
            assert!(io.emit("number", number).is_queued());
        }
    });
    // What comes behind the last message shows that nothing came twice.
    assert!(io.emit("end", ()).is_queued());

    let expected: Vec<String> = (0..MESSAGES)
        .map(|number| format!("42[\"number\",{number}]"))
        .chain(["42[\"end\"]".to_owned()])
        .collect();
    let everybody = websockets.iter_mut().map(|client| client as &mut dyn Receive);
    let everybody = everybody.chain(polling.iter_mut().map(|client| client as &mut dyn Receive));
    for (index, client) in everybody.enumerate() {
        let received: Vec<String> = expected.iter().map(|_| client.next()).collect();
        assert_eq!(received, expected, "client {index}");
    }
    io.close();
    running.join().unwrap();
}

trait Receive {
    fn next(&mut self) -> String;
}

impl Receive for WebSocket {
    fn next(&mut self) -> String {
        self.message()
    }
}

impl Receive for Polling {
    fn next(&mut self) -> String {
        self.message()
    }
}
