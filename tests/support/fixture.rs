//! Servers under test, and what their handlers tell the test.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fanfare::base::id::SessionId;
use fanfare::{Builder, DisconnectReason, Running, Server, SocketId, Stats};

use super::client::{Client, DEADLINE, Polling};

/// A running server. Declare it before its clients: they go first then, and it ends at once.
pub struct Fixture {
    pub io: Server,
    pub running: Option<Running>,
    pub address: SocketAddr,
}

/// The options of a server with so many shards, wherever they run. At its end it does not wait long
/// for polling clients that a test has left behind.
pub fn options(shards: usize) -> Builder {
    let options = Server::builder().shards(shards).pin_shards(false).serve_client(false);
    options.limits(|limits| limits.farewell_timeout = Duration::from_millis(20))
}

/// Runs a test against one shard and against two.
pub fn each(test: impl Fn(usize)) {
    test(1);
    test(2);
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "it is not so after {DEADLINE:?}");
        thread::yield_now();
    }
}

impl Fixture {
    pub fn start(shards: usize, prepare: impl FnOnce(&Server)) -> Fixture {
        Fixture::with(options(shards), prepare)
    }

    pub fn with(options: Builder, prepare: impl FnOnce(&Server)) -> Fixture {
        let io = options.build().expect("the options make sense");
        prepare(&io);
        let running = io.spawn("127.0.0.1:0").expect("a free port");
        let address = running.address().unwrap();
        Fixture { io, running: Some(running), address }
    }

    /// A client of `/`.
    pub fn client(&self) -> Client {
        Client::joined(self.address)
    }

    /// A client that has joined nothing.
    pub fn open(&self) -> Client {
        Client::open(self.address)
    }

    /// A polling client of `/`.
    pub fn polling(&self) -> Polling {
        Polling::joined(self.address)
    }

    /// A polling client that has joined nothing.
    pub fn polling_open(&self) -> Polling {
        Polling::open(self.address)
    }

    /// A client of `/` on a certain shard: the kernel chooses, so it is asked until it agrees.
    pub fn client_on(&self, shard: u16) -> (Client, String) {
        for _ in 0..200 {
            let mut client = self.open();
            let id = client.join("/");
            if SocketId::parse(id.as_bytes()).is_some_and(|id| id.shard() == shard) {
                return (client, id);
            }
        }
        panic!("200 connections, and none on shard {shard}");
    }

    /// A client that has joined nothing, on a certain shard.
    pub fn open_on(&self, shard: u16) -> Client {
        for _ in 0..200 {
            let client = self.open();
            let id = SessionId::parse(client.session.as_bytes()).expect("an id");
            if id.shard() == shard {
                return client;
            }
        }
        panic!("200 connections, and none on shard {shard}");
    }

    /// A client of `/` on each shard.
    pub fn client_on_each(&self) -> Vec<(Client, String)> {
        let shards = block_on(self.io.stats()).len();
        (0..shards).map(|shard| self.client_on(u16::try_from(shard).unwrap())).collect()
    }

    /// Waits until `/` has so many sockets: those that left before have gone then.
    #[track_caller]
    pub fn wait_for_sockets(&self, count: usize) {
        wait_until(|| block_on(self.io.fetch_sockets()).len() == count);
    }

    /// A counter, summed over the shards.
    pub fn count(&self, counter: impl Fn(&Stats) -> u64) -> u64 {
        block_on(self.io.stats()).iter().map(counter).sum()
    }

    /// Waits until a counter has reached a value.
    #[track_caller]
    pub fn await_count(&self, value: u64, counter: impl Fn(&Stats) -> u64) {
        let until = Instant::now() + DEADLINE;
        while self.count(&counter) < value {
            assert!(Instant::now() < until, "{} of {value}", self.count(&counter));
            thread::yield_now();
        }
        assert_eq!(self.count(&counter), value);
    }
}

/// Where handlers write what they have seen.
#[derive(Clone)]
pub struct Log(Sender<String>);

/// What handlers have seen, in order.
pub struct Events(Receiver<String>);

pub fn log() -> (Log, Events) {
    let (sender, receiver) = channel();
    (Log(sender), Events(receiver))
}

impl Log {
    pub fn add(&self, text: impl ToString) {
        // A test that has ended is not interested any more.
        drop(self.0.send(text.to_string()));
    }

    /// Writes why each socket of `/` has gone, as `gone: …`.
    pub fn log_disconnects(&self, io: &Server) {
        let log = self.clone();
        io.of("/").on_disconnect(async move |reason: DisconnectReason| {
            log.add(format!("gone: {reason}"));
        });
    }
}

impl Events {
    #[track_caller]
    pub fn next(&self) -> String {
        match self.0.recv_timeout(DEADLINE) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was logged within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server is gone"),
        }
    }

    /// The next ones must be these.
    #[track_caller]
    pub fn expect(&self, texts: &[&str]) {
        for text in texts {
            assert_eq!(self.next(), *text);
        }
    }

    /// What was logged until now and not looked at.
    pub fn rest(&self) -> Vec<String> {
        self.0.try_iter().collect()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, which no shard runs on.
#[track_caller]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let until = Instant::now() + DEADLINE;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = until.checked_duration_since(Instant::now()).expect("a future in time");
        thread::park_timeout(left);
    }
}
