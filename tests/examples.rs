//! Every example, and the binary, as a user starts them: they say where they listen, serve, and end
//! in order when they are told to; and they say in one line why they cannot.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// A program that serves; ended when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &PathBuf, more: &[&str]) -> Server {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--shards", "2"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| {
            panic!("{} said {line:?}", program.display());
        });
        Server { address: address.to_owned(), child }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// Ends it as no program can prepare for.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(mut self) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "SIGTERM ends it in order");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of the examples that cargo has built beside this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: `cargo build --examples`", path.display());
    path
}

fn names() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_example = |path: &PathBuf| path.is_file() || path.join("main.rs").exists();
    let names = entries
        .filter(is_example)
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn every_example_serves_and_ends_in_order() {
    let names = names();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let server = Server::start(&example(&name), &[]);
        let is_engine = ["engine_suite", "websocket_echo"].contains(&&*name);
        let path = if is_engine { "/engine.io/" } else { "/socket.io/" };
        let response = server.ask(&format!("GET {path}?EIO=4&transport=polling"));
        assert!(response.contains("\r\n\r\n0{\"sid\":\""), "{name}: {response}");
        server.terminate();
    }
}

#[test]
fn the_binary_serves_a_page() {
    let server = Server::start(&BINARY.into(), &[]);
    let response = server.ask("GET /");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("text/html") && response.contains("/socket.io/socket.io.min.js"));
    assert!(server.ask("GET /none").starts_with("HTTP/1.1 404"));
    server.terminate();
}

#[test]
fn a_port_that_is_taken_is_said_in_one_line() {
    let server = Server::start(&BINARY.into(), &[]);
    let output = Command::new(BINARY).args(["--listen", &server.address]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let last = message.lines().last().unwrap();
    assert!(last.contains(&server.address) && last.contains("another program"), "{message}");
    server.terminate();
}

/// What a server on a Unix socket answers.
fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_unix_socket_survives_a_kill_and_a_live_one_is_not_stolen() {
    let path = std::env::temp_dir().join(format!("fanfare-{}-binary.sock", std::process::id()));
    let listen = format!("unix:{}", path.display());
    let arguments = ["--listen", &listen];
    Server::start(&BINARY.into(), &arguments).kill();
    assert!(path.exists(), "a kill leaves the file");
    let server = Server::start(&BINARY.into(), &arguments);
    assert!(ask_unix(&path).starts_with("HTTP/1.1 200"));
    assert!(server.ask("GET /").starts_with("HTTP/1.1 200"), "it listens on both");
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let last = message.lines().last().unwrap();
    assert!(last.contains(&listen) && last.contains("another program"), "{message}");
    assert!(ask_unix(&path).starts_with("HTTP/1.1 200"));
    server.terminate();
    assert!(!path.exists(), "an end in order removes it");
}

#[test]
fn a_missing_client_bundle_is_said_in_one_line() {
    let arguments = ["--listen", "127.0.0.1:0", "--client", "no/such/folder"];
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(message.lines().count(), 1);
    assert!(message.contains("no/such/folder") && message.contains("npm install"), "{message}");
}

#[test]
fn a_wrong_argument_is_named_and_an_asked_for_usage_is_no_error() {
    let output = Command::new(BINARY).args(["--port", "3000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--port"));
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("--listen"));
}

/// What a server logs of the driver that it has taken.
fn driver_of(arguments: &[&str], variable: Option<&str>) -> String {
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--log", "engine=info"]).args(arguments);
    match variable {
        Some(name) => command.env("FANFARE_DRIVER", name),
        None => command.env_remove("FANFARE_DRIVER"),
    };
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.contains("the shards are on"));
    child.kill().unwrap();
    child.wait().unwrap();
    line.expect("a line that says which driver it is")
}

#[test]
fn the_driver_is_what_the_argument_or_else_the_environment_says_and_is_logged() {
    let on_epoll = [
        (["--driver", "epoll"].as_slice(), None),
        (&["--driver", "epoll"], Some("io_uring")),
        (&["--driver", "auto"], Some("epoll")),
        (&[], Some("epoll")),
    ];
    for (arguments, variable) in on_epoll {
        let line = driver_of(arguments, variable);
        assert!(line.contains("INFO") && line.contains("on epoll, as they were told"), "{line}");
    }
    // Which one that is, this machine says; and why.
    let line = driver_of(&[], None);
    assert!(line.contains("on io_uring") || line.contains("there is no io_uring"), "{line}");
}

#[test]
fn a_driver_that_does_not_exist_is_said_in_one_line() {
    let output = Command::new(BINARY).args(["--driver", "uring"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(message.lines().next().unwrap().contains("auto, io_uring and epoll"), "{message}");
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).env("FANFARE_DRIVER", "uring");
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let last = message.lines().last().unwrap();
    assert!(last.contains("FANFARE_DRIVER") && last.contains("auto, io_uring and epoll"), "{last}");
}
