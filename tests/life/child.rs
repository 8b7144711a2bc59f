//! A server in a process of its own: what a test does to it, no other test sees.

use std::io::{BufRead, BufReader, Write, stdin};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fanfare::base::id::SessionId;
use fanfare::{Ack, ConnectionStateRecovery, Data, DriverKind, Server, StateFile};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::arguments;
use crate::raw::{Client, DEADLINE, request};

/// The binary that users start.
pub const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// A process that serves; killed when dropped.
pub struct Child {
    process: Process,
    pub address: SocketAddr,
    stdin: Option<ChildStdin>,
    errors: Receiver<String>,
}

impl Child {
    /// A server of this program, with this driver.
    pub fn start(driver: DriverKind) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "server_of_another_test", "--ignored", "--nocapture"]);
        // To find out what a panic came through takes longer than what comes behind it.
        command.env("FANFARE_DRIVER", driver.to_string()).env("RUST_BACKTRACE", "0");
        Child::of(&mut command)
    }

    /// A server of this program that recovers clients, and takes the place of the one before it.
    pub fn successor(listen: &str, hand_over: &Path, state: &Path) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "server_of_another_test", "--ignored", "--nocapture"]);
        command.env("FANFARE_LISTEN", listen).env("FANFARE_STATE", state);
        Child::of(command.env("FANFARE_HAND_OVER", hand_over))
    }

    /// What a command starts, once it says where it listens.
    pub fn of(command: &mut Command) -> Child {
        Child::with_stdin(command, Stdio::piped())
    }

    /// The same, with something to read.
    pub fn with_stdin(command: &mut Command, stdin: Stdio) -> Child {
        let command = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let address = lines.find_map(|line| {
            let address = line.split_once("listening on ")?.1.split_once("://")?.1;
            Some(address.trim().parse().unwrap())
        });
        // What it says later is of no interest, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, errors) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let stdin = process.stdin.take();
        let Some(address) = address else {
            panic!("it does not listen: {:#?}", errors.iter().collect::<Vec<String>>());
        };
        Child { process, address, stdin, errors }
    }

    /// Tells it to do something: see [`obey`].
    pub fn tell(&mut self, order: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for a line on its standard error that holds this.
    #[track_caller]
    pub fn expect_error(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(DEADLINE) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line has {part:?}: {seen:#?}");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// A WebSocket whose client has joined `/`.
    pub fn join(&self) -> Client {
        self.join_on_some_shard().0
    }

    /// The same, and the shard that it is on.
    pub fn join_on_some_shard(&self) -> (Client, u16) {
        let (mut client, sid) = self.open();
        client.say("40");
        assert!(client.text().starts_with("40{\"sid\":"));
        (client, SessionId::parse(sid.as_bytes()).unwrap().shard())
    }

    /// A WebSocket.
    pub fn websocket(&self) -> Client {
        self.open().0
    }

    /// A WebSocket, and the id of its session.
    fn open(&self) -> (Client, String) {
        let mut client = Client::connect(self.address);
        let target = "/socket.io/?EIO=4&transport=websocket";
        client.send(request(&format!("GET {target}"), crate::raw::WEBSOCKET_HEADERS));
        assert_eq!(client.head_response().status, 101);
        let open = client.text();
        let sid = open.strip_prefix("0{\"sid\":\"").and_then(|rest| rest.split_once('"'));
        (client, sid.unwrap().0.to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server that [`Child::start`] starts.
pub fn serve() {
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    let warnings = Targets::new().with_default(LevelFilter::WARN);
    tracing_subscriber::registry().with(lines).with(warnings).init();
    let listen = std::env::var("FANFARE_LISTEN").unwrap_or("127.0.0.1:0".to_owned());
    let mut builder = Server::builder();
    if let (Ok(state), Ok(path)) =
        (std::env::var("FANFARE_STATE"), std::env::var("FANFARE_HAND_OVER"))
    {
        let recovery = ConnectionStateRecovery::default();
        builder = builder.hand_over_at(path).connection_state_recovery(ConnectionStateRecovery {
            state_file: Some(StateFile::new(state)),
            ..recovery
        });
    }
    let io = builder
        .listen(listen)
        .shards(2)
        .pin_shards(false)
        .serve_client(false)
        .ping_interval(Duration::from_secs(1))
        .ping_timeout(Duration::from_secs(2))
        .watchdog(Duration::from_millis(100))
        .build();
    if let Ok(io) = &io {
        io.of("/").on("block", async |Data(millis): Data<u64>, ack: Ack| {
            let (_nobody, word) = channel::<()>();
            assert!(word.recv_timeout(Duration::from_millis(millis)).is_err());
            ack.send(());
        });
        io.of("/").on("hold", async |ack: Ack| {
            let (word, heard) = channel();
            *held() = Some(word);
            // It comes to an end when its other end is dropped.
            let _ = heard.recv();
            ack.send(());
        });
        io.of("/").on("wait", async |ack: Ack| {
            fanfare::time::sleep(Duration::from_secs(3600)).await;
            ack.send(());
        });
        let io = io.clone();
        std::thread::spawn(move || {
            stdin().lines().map_while(Result::ok).for_each(|order| obey(&order, &io));
        });
    }
    arguments::serve(io, Server::start, Server::wait);
}

/// What a handler waits for that blocks its shard until a test has it go on.
fn held() -> MutexGuard<'static, Option<Sender<()>>> {
    static HELD: Mutex<Option<Sender<()>>> = Mutex::new(None);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What goes wrong with a server when a test wants it to.
fn obey(order: &str, io: &Server) {
    match order.split_once(' ') {
        Some(("break", shard)) => fanfare::internal::break_shard(io, shard.parse().unwrap()),
        _ if order == "go on" => *held() = None,
        _ if order == "take the kernel away" => take_drivers_away(),
        _ => panic!("what is {order:?}?"),
    }
}

/// Puts something else in the place of what the drivers ask the kernel by: it refuses their calls.
fn take_drivers_away() {
    let null = std::fs::File::open("/dev/null").unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap) {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let is_driver = ["anon_inode:[eventpoll]", "anon_inode:[io_uring]"]
            .iter()
            .any(|name| target.as_os_str() == *name);
        if is_driver {
            let place: RawFd = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: both are open; whoever owns the one at `place` goes on owning what is there.
            assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), place) }, place);
        }
    }
}
