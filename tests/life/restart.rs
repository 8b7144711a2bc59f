//! One process takes the place of another (matrix 64 and 65).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::child::{BINARY, Child};
use crate::raw::{DEADLINE, WEBSOCKET_HEADERS, request};

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("fanfare-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Somebody who connects again and again, each time until there is a session.
struct Visitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Visitor {
    fn start(address: SocketAddr) -> Visitor {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut visits = 0;
            while !stopped.load(Ordering::Acquire) {
                visit(TcpStream::connect(address).expect("nobody is refused"));
                visits += 1;
            }
            visits
        });
        Visitor { stop, thread }
    }

    /// How often it came, without ever being turned away.
    fn leave(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it was never turned away")
    }
}

/// Opens a WebSocket, and hears of its session.
fn visit(mut stream: TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let line = "GET /socket.io/?EIO=4&transport=websocket";
    stream.write_all(request(line, WEBSOCKET_HEADERS).as_bytes()).unwrap();
    let mut response = Vec::new();
    while !response.windows(7).any(|part| part == b"{\"sid\":") {
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes).expect("nobody is reset");
        assert_ne!(length, 0, "nobody is turned away: {}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&bytes[..length]);
    }
}

#[test]
fn m64_a_process_that_takes_over_loses_no_connection() {
    let folder = Folder::new("take-over");
    let start = |listen: &str, more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["--listen", listen, "--hand-over"]).arg(folder.path("next")).args(more);
        Child::of(&mut command)
    };
    let mut old = start("127.0.0.1:0", &["--shards", "2"]);
    let address = old.address;
    let visitors: Vec<Visitor> = (0..4).map(|_| Visitor::start(address)).collect();
    let more: [&[&str]; 4] = [
        &["--shards", "2"],
        &["--shards", "1"],
        &["--shards", "3", "--driver", "epoll"],
        &["--shards", "2"],
    ];
    for more in more {
        let mut clients: Vec<_> = (0..20).map(|_| old.join()).collect();
        let new = start(&address.to_string(), more);
        clients.iter_mut().for_each(|client| client.expect_close(None));
        drop(clients);
        assert_eq!(old.wait().code(), Some(0));
        drop(new.join());
        old = new;
    }
    let visits: usize = visitors.into_iter().map(Visitor::leave).sum();
    assert!(visits > 100, "{visits}");
    old.signal("TERM");
    assert_eq!(old.wait().code(), Some(0));
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert!(!folder.path("next").exists());
}

#[test]
fn m64_with_a_state_file_clients_are_recovered_by_the_next_process() {
    let folder = Folder::new("take-over-state");
    let (next, state) = (folder.path("next"), folder.path("clients.state"));
    let mut old = Child::successor("127.0.0.1:0", &next, &state);
    let address = old.address;
    let visitor = Visitor::start(address);
    for _ in 0..2 {
        let mut client = old.websocket();
        client.say("40");
        let joined = client.text();
        let (sid, pid) = (nth(&joined, 3), nth(&joined, 7));
        let new = Child::successor(&address.to_string(), &next, &state);
        client.expect_close(None);
        drop(client);
        assert_eq!(old.wait().code(), Some(0));
        let mut client = new.websocket();
        client.say(&format!("40{{\"pid\":\"{pid}\"}}"));
        assert_eq!(nth(&client.text(), 3), sid, "it has its id again");
        old = new;
    }
    assert!(visitor.leave() > 10);
}

#[test]
fn m64_a_process_that_was_told_to_end_hurries_when_the_next_one_comes() {
    let folder = Folder::new("take-over-late");
    let (next, state) = (folder.path("next"), folder.path("clients.state"));
    let mut old = Child::successor("127.0.0.1:0", &next, &state);
    let mut client = old.websocket();
    client.say("40");
    let joined = client.text();
    let (sid, pid) = (nth(&joined, 3), nth(&joined, 7));
    // Whoever is owed an answer goes last, when all the time of the drain is up.
    client.say(r#"421["wait"]"#);
    client.say(r#"422["block",0]"#);
    assert_eq!(client.text(), "432[]", "the one before has begun");
    old.signal("TERM");
    while TcpStream::connect(old.address).is_ok() {
        thread::yield_now();
    }
    let new = Child::successor(&old.address.to_string(), &next, &state);
    client.expect_close(None);
    assert_eq!(old.wait().code(), Some(0));
    let mut client = new.websocket();
    client.say(&format!("40{{\"pid\":\"{pid}\"}}"));
    assert_eq!(nth(&client.text(), 3), sid, "it has its id again");
}

/// What is between two quotes.
fn nth(packet: &str, index: usize) -> String {
    packet.split('"').nth(index).unwrap_or_else(|| panic!("{packet}")).to_owned()
}

#[test]
fn m64_a_unix_socket_is_handed_over_with_its_file() {
    let folder = Folder::new("take-over-unix");
    let (next, listen) = (folder.path("next"), folder.path("clients.sock"));
    let start = || {
        let mut command = Command::new(BINARY);
        command.current_dir(&folder.0);
        command.args(["--listen", "127.0.0.1:0", "--listen", "unix:clients.sock", "--hand-over"]);
        Child::of(command.arg(&next))
    };
    let mut old = start();
    let new = start();
    assert_eq!(old.wait().code(), Some(0));
    assert_eq!(new.address, old.address, "port 0 is the port there was");
    let mut stream = UnixStream::connect(&listen).expect("the file is still there");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn m64_a_process_that_cannot_serve_changes_nothing() {
    let folder = Folder::new("take-over-in-vain");
    let (file, taken) = (folder.path("clients.sock"), TcpListener::bind("127.0.0.1:0").unwrap());
    let unix = format!("unix:{}", file.display());
    let command = |listen: &str| {
        let mut command = Command::new(BINARY);
        command.args(["--listen", listen, "--listen", &unix, "--hand-over"]);
        command.arg(folder.path("next"));
        command
    };
    let state = folder.path("clients.state");
    let mut old = Child::of(command("127.0.0.1:0").arg("--state").arg(&state));
    let mut client = old.join();
    let taken = taken.local_addr().unwrap().to_string();
    let reasons = [
        ["--listen", &*taken, "another program does already"],
        // It is an address for documents, of no machine.
        ["--metrics", "192.0.2.1:9", "cannot listen on 192.0.2.1:9"],
    ];
    for [option, address, reason] in reasons {
        for with_state in [true, false] {
            let mut new = command(&old.address.to_string());
            new.args([option, address]);
            let new = if with_state { new.arg("--state").arg(&state) } else { &mut new };
            let output = new.output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(reason), "{said}");
        }
    }
    UnixStream::connect(file).expect("the file is still there");
    drop(old.join());
    old.signal("TERM");
    client.expect_close(None);
    drop(client);
    assert_eq!(old.wait().code(), Some(0));
}

#[test]
fn m64_the_first_signal_to_a_process_that_has_handed_over_cuts_nobody_off() {
    let folder = Folder::new("take-over-signal");
    let start = |listen: &str| {
        let mut command = Command::new(BINARY);
        Child::of(command.args(["--listen", listen, "--hand-over"]).arg(folder.path("next")))
    };
    let mut old = start("127.0.0.1:0");
    let mut clients: Vec<_> = (0..2_000).map(|_| old.join()).collect();
    let _new = start(&old.address.to_string());
    // Two seconds of clients are to be sent away.
    old.signal("TERM");
    clients.iter_mut().for_each(|client| client.expect_close(None));
    assert_eq!(old.wait().code(), Some(0));
}

#[test]
fn m64_what_a_stranger_has_is_waited_for_by_a_process_that_serves() {
    let folder = Folder::new("take-over-stranger");
    let start = |listen: &str, more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["--listen", listen, "--hand-over"]).arg(folder.path("next")).args(more);
        Child::of(&mut command)
    };
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let watched_at = stranger.local_addr().unwrap();
    let mut old = start("127.0.0.1:0", &[]);
    let new = start(&old.address.to_string(), &["--metrics", &watched_at.to_string()]);
    assert_eq!(old.wait().code(), Some(0));
    drop(new.join());
    new.expect_error("it has taken over, and lacks");
    drop(stranger);
    let response = ask(|| TcpStream::connect(watched_at), b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn m64_a_path_that_is_not_given_up_is_waited_for_by_a_process_that_serves() {
    let folder = Folder::new("take-over-path");
    let next = folder.path("next");
    let start = |listen: &str| {
        Child::of(Command::new(BINARY).args(["--listen", listen, "--hand-over"]).arg(&next))
    };
    let listener = UnixListener::bind(&next).unwrap();
    let old = thread::spawn(move || {
        let mut stream = predecessor(&listener);
        hear_ready(&mut stream);
        tell(&mut stream, "yours");
        listener
    });
    let mut new = start("127.0.0.1:0");
    drop(new.join());
    new.expect_error("it has taken over, and lacks");
    drop(old.join().unwrap());
    // It listens on the path when whoever asks there is answered.
    assert!(ask(|| UnixStream::connect(&next), b"").starts_with("listener"));
    let _third = start(&new.address.to_string());
    assert_eq!(new.wait().code(), Some(0));
}

/// The beginning of the answer of somebody who comes in a moment.
fn ask<S: Read + Write>(connect: impl Fn() -> io::Result<S>, request: &[u8]) -> String {
    let until = Instant::now() + DEADLINE;
    loop {
        let mut answer = vec![0; 512];
        match connect().and_then(|mut stream| {
            stream.write_all(request)?;
            stream.read(&mut answer)
        }) {
            Ok(length) if length > 0 => return String::from_utf8_lossy(&answer).into_owned(),
            _ => assert!(Instant::now() < until, "nobody comes"),
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A predecessor that has no listeners, as far as it is asked.
fn predecessor(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    tell(&mut stream, "end");
    stream
}

fn tell(stream: &mut UnixStream, what: &str) {
    let mut message = [0; 512];
    message[..what.len()].copy_from_slice(what.as_bytes());
    stream.write_all(&message).unwrap();
}

fn hear_ready(stream: &mut UnixStream) {
    let mut message = [0; 512];
    stream.read_exact(&mut message).unwrap();
    assert!(message.starts_with(b"ready\0"));
}

#[test]
fn m64_a_process_that_dies_when_it_hands_over_takes_nobody_with_it() {
    let folder = Folder::new("take-over-death");
    let (next, state) = (folder.path("next"), folder.path("clients.state"));
    for with_state in [false, true] {
        let listener = UnixListener::bind(&next).unwrap();
        let old = thread::spawn(move || hear_ready(&mut predecessor(&listener)));
        let mut new = match with_state {
            true => Child::successor("127.0.0.1:0", &next, &state),
            false => {
                let mut command = Command::new(BINARY);
                Child::of(command.args(["--listen", "127.0.0.1:0", "--hand-over"]).arg(&next))
            }
        };
        old.join().unwrap();
        drop(new.join());
        new.signal("TERM");
        assert_eq!(new.wait().code(), Some(0));
        assert!(!next.exists(), "it was the one that is asked");
    }
}

#[test]
fn m64_a_process_that_is_too_late_to_be_ready_leaves_the_other_alone() {
    let folder = Folder::new("take-over-too-late");
    let listener = UnixListener::bind(folder.path("next")).unwrap();
    let old = thread::spawn(move || {
        drop(predecessor(&listener));
        listener
    });
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--hand-over"]).arg(folder.path("next"));
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    drop(old.join().unwrap());
}

#[test]
fn m64_a_process_that_is_gone_before_it_has_answered_is_nobody() {
    let folder = Folder::new("take-over-cut-off");
    let listener = UnixListener::bind(folder.path("next")).unwrap();
    let old = thread::spawn(move || drop(listener.accept().unwrap()));
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--hand-over"]).arg(folder.path("next"));
    drop(Child::of(&mut command).join());
    old.join().unwrap();
}

#[test]
fn m64_a_handler_that_blocks_is_not_waited_for_by_the_next_process() {
    let folder = Folder::new("take-over-blocked");
    let (next, state) = (folder.path("next"), folder.path("clients.state"));
    let mut old = Child::successor("127.0.0.1:0", &next, &state);
    let mut client = old.join();
    client.say(r#"42["block",9000]"#);
    old.expect_error("a handler blocks its shard");
    let mut new = Child::successor(&old.address.to_string(), &next, &state);
    old.expect_error("the next process has no state file");
    assert_eq!(old.wait().code(), Some(0));
    assert!(!state.exists(), "nobody would read it but one who comes much later");
    let _third = Child::successor(&new.address.to_string(), &next, &state);
    assert_eq!(new.wait().code(), Some(0));
}

#[test]
fn m65_a_server_that_was_killed_can_be_started_again_at_once() {
    let start =
        |listen: &str| Child::of(Command::new(BINARY).args(["--listen", listen, "--shards", "2"]));
    let mut old = start("127.0.0.1:0");
    let listen = old.address.to_string();
    for _ in 0..3 {
        let clients: Vec<_> = (0..20).map(|_| old.join()).collect();
        old.signal("KILL");
        assert_eq!(old.wait().code(), None);
        let new = start(&listen);
        drop(new.join());
        drop(clients);
        old = new;
    }
}
