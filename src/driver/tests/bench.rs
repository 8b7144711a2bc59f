//! A driver at work: what it is told, and what it reports.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::frame::{Frame, Gather};
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::driver::epoll::Epoll;
use crate::driver::uring::{Features, SendMode, Uring};
use crate::driver::{Completion, Driver, Sent, net};

/// When a test gives up.
pub const FAR: Duration = Duration::from_secs(20);

/// A kind of driver, on a kernel of some kind.
pub trait Subject: 'static {
    /// What its tests are called.
    const NAME: &str;

    type Driver: Tested;

    fn make(limits: &Limits) -> Self::Driver;
}

/// A driver whose clients come through a real kernel.
pub trait Tested: Driver<Handle: Debug, Listener = net::Listener> + Sized {
    /// Who is at the other end of a connection.
    type Peer: Peer;

    /// Makes a client whose connection was accepted one that can be talked to. The connection is
    /// not received from, as before.
    fn meet(bench: &mut Bench<Self>, key: Key, client: TcpStream) -> Self::Peer;

    /// The descriptor of a connection, or -1 when there is none.
    fn descriptor(&self, key: Key) -> i32;
}

/// The other end of a connection: it writes and reads what the driver receives and sends. When it
/// is dropped it leaves without a word.
pub trait Peer: Read + Write + Send + 'static {
    /// Its own address.
    fn address(&self) -> SocketAddr;

    /// Says that nothing more will come.
    fn finish(&mut self);

    /// Waits until something has arrived, which stays unread.
    fn wait(&self);
}

impl Peer for TcpStream {
    fn address(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }

    fn finish(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn wait(&self) {
        assert_eq!(self.peek(&mut [0]).unwrap(), 1);
    }
}

pub struct OnEpoll;

impl Subject for OnEpoll {
    const NAME: &str = "epoll";

    type Driver = Epoll;

    fn make(limits: &Limits) -> Epoll {
        Epoll::new(limits).unwrap()
    }
}

macro_rules! tested {
    ($driver:ident) => {
        impl Tested for $driver {
            type Peer = TcpStream;

            fn meet(_: &mut Bench<$driver>, _: Key, client: TcpStream) -> TcpStream {
                client
            }

            fn descriptor(&self, key: Key) -> i32 {
                self.socket(key).map_or(-1, AsRawFd::as_raw_fd)
            }
        }
    };
}

tested!(Epoll);
tested!(Uring);

/// io_uring with everything.
pub struct OnUring;

/// Without deferred work.
pub struct OnUringOf60;

/// Without a lasting receive, too.
pub struct OnUringOf519;

/// Without anything that the driver can do without.
pub struct OnUringLeast;

macro_rules! on_uring {
    ($subject:ident, $name:literal, $features:expr) => {
        impl Subject for $subject {
            const NAME: &str = $name;

            type Driver = Uring;

            fn make(limits: &Limits) -> Uring {
                let driver = Uring::with(limits, SendMode::default(), $features).unwrap();
                assert_eq!(driver.features(), $features, "this kernel is too old");
                driver
            }
        }
    };
}

on_uring!(OnUring, "uring", Features::ALL);
on_uring!(OnUringOf60, "uring_of_6_0", Features { deferred_work: false, ..Features::ALL });
on_uring!(
    OnUringOf519,
    "uring_of_5_19",
    Features { deferred_work: false, multishot_receive: false, ..Features::ALL }
);
on_uring!(
    OnUringLeast,
    "uring_least",
    Features { deferred_work: false, multishot_receive: false, multishot_accept: false }
);

/// Few buffers, many connections.
pub fn limits(receive_buffers: u16, receive_buffer_bytes: usize) -> Limits {
    Limits { receive_buffers, receive_buffer_bytes, connections: 100_000, ..Limits::default() }
}

/// A driver that listens, and what it has reported.
pub struct Bench<D: Driver> {
    pub driver: D,
    pub address: SocketAddr,
    pub reported: VecDeque<Completion<D::Handle>>,
}

/// A bench with a driver of that kind.
pub fn bench<S: Subject>() -> Bench<S::Driver> {
    bench_with::<S>(&limits(16, 1024))
}

/// As [`bench`], with limits.
pub fn bench_with<S: Subject>(limits: &Limits) -> Bench<S::Driver> {
    Bench::of(S::make(limits))
}

impl<D: Tested> Bench<D> {
    pub fn of(mut driver: D) -> Bench<D> {
        let (address, listeners) = net::listen(([127, 0, 0, 1], 0).into(), 1).unwrap();
        listeners.into_iter().for_each(|listener| driver.listen(listener));
        Bench { driver, address, reported: VecDeque::new() }
    }

    pub fn turn(&mut self, until: Time) {
        let mut completions = Vec::new();
        self.driver.turn(Some(until), &mut completions).unwrap();
        self.reported.extend(completions);
    }

    /// Lets the kernel work off whatever is there, without waiting.
    pub fn poll(&mut self) {
        self.turn(Time::ZERO);
    }

    pub fn next(&mut self) -> Completion<D::Handle> {
        let deadline = self.driver.now().after(FAR);
        loop {
            if let Some(completion) = self.reported.pop_front() {
                return completion;
            }
            assert!(self.driver.now() < deadline, "nothing was reported");
            self.turn(deadline);
        }
    }

    /// Nothing is reported, however often it turns.
    #[track_caller]
    pub fn is_silent(&mut self) {
        (0..4).for_each(|_| self.poll());
        assert!(self.reported.is_empty(), "{:?}", self.reported);
    }

    pub fn connect(&mut self) -> (Key, D::Peer) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(FAR)).unwrap();
        let key = self.accepted();
        (key, D::meet(self, key, client))
    }

    /// The connection that is accepted next.
    #[track_caller]
    pub fn accepted(&mut self) -> Key {
        match self.next() {
            Completion::Accepted(key) => key,
            other => panic!("{other:?}"),
        }
    }

    /// The next bytes, whose buffer is released.
    #[track_caller]
    pub fn bytes(&mut self) -> (Key, Vec<u8>) {
        match self.next() {
            Completion::Received { connection, buffer, length } => {
                let bytes = self.driver.buffer(buffer)[..length].to_vec();
                self.driver.release(buffer);
                (connection, bytes)
            }
            other => panic!("{other:?}"),
        }
    }

    /// So many bytes of one connection, in as many parts as they come.
    #[track_caller]
    pub fn all_bytes(&mut self, key: Key, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let (from, bytes) = self.bytes();
            assert_eq!(from, key);
            all.extend(bytes);
        }
        all
    }

    /// The next is the end of the connection, with this error number or none.
    #[track_caller]
    pub fn ends(&mut self, key: Key, error: Option<i32>) {
        let end = self.next();
        assert!(matches!(end, Completion::Ended(k, e) if (k, e) == (key, error)), "{end:?}");
    }

    /// Turns until there are so many connections.
    #[track_caller]
    pub fn settle(&mut self, connections: u64) {
        let deadline = self.driver.now().after(FAR);
        while self.driver.stats().connections != connections {
            assert!(self.driver.now() < deadline, "a connection did not close");
            self.poll();
        }
    }

    /// Sends a few bytes, for which there is room.
    #[track_caller]
    pub fn send(&mut self, key: Key, bytes: &[u8]) {
        let sent = self.driver.send(key, Queue::new(bytes, bytes.len()).gather());
        assert_eq!(sent, Sent::Now(bytes.len()));
    }
}

/// A byte stream whose bytes tell their position, and whose it is.
pub fn pattern(seed: usize, position: usize) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 7 ^ position ^ seed.wrapping_mul(97)) as u8
}

pub fn stream(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|position| pattern(seed, position)).collect()
}

/// A queue of frames as a shard keeps one for a connection.
pub struct Queue {
    frames: Vec<Frame>,
    position: usize,
    skip: usize,
}

impl Queue {
    pub fn new(bytes: &[u8], frame_bytes: usize) -> Queue {
        Queue { frames: bytes.chunks(frame_bytes).map(Frame::raw).collect(), position: 0, skip: 0 }
    }

    pub fn gather(&self) -> Gather<'_> {
        let left = &self.frames[self.position..];
        let (head, tail) = left.split_at(left.len() / 3);
        Gather { head, tail, skip: self.skip }
    }

    pub fn is_empty(&self) -> bool {
        self.position == self.frames.len()
    }

    pub fn taken(&mut self, mut count: usize) {
        assert!(count > 0);
        while count > 0 {
            let left = self.frames[self.position].bytes().len() - self.skip;
            if count < left {
                self.skip += count;
                return;
            }
            (self.position, self.skip, count) = (self.position + 1, 0, count - left);
        }
    }

    /// Sends until all is taken or a send is in flight.
    pub fn flush(&mut self, driver: &mut impl Driver, key: Key) {
        while !self.is_empty() {
            match driver.send(key, self.gather()) {
                Sent::Now(count) => self.taken(count),
                Sent::Later => return,
                Sent::Failed(error) => panic!("error {error}"),
            }
        }
    }

    /// Sends all there is, turning the driver as long as it takes.
    pub fn send_all(&mut self, bench: &mut Bench<impl Tested>, key: Key) {
        self.flush(&mut bench.driver, key);
        self.finish(bench, key);
    }

    /// Sends the rest, of which a part is in flight.
    pub fn finish(&mut self, bench: &mut Bench<impl Tested>, key: Key) {
        while !self.is_empty() {
            match bench.next() {
                Completion::Sent(sent, Ok(count)) if sent == key => self.taken(count),
                other => panic!("{other:?}"),
            }
            self.flush(&mut bench.driver, key);
        }
    }
}

/// Fills the socket of a connection until a send is in flight; gives the bytes taken before.
pub fn clog(driver: &mut impl Driver, key: Key) -> usize {
    let queue = Queue::new(&stream(3, 1 << 20), 1 << 15);
    let mut taken = 0;
    loop {
        match driver.send(key, queue.gather()) {
            Sent::Now(count) => taken += count,
            Sent::Later => return taken,
            Sent::Failed(error) => panic!("error {error}"),
        }
    }
}

/// Runs a rule, which is in that module, alone in a process of its own, whose limits it may change.
pub fn in_child<S: Subject>(module: &str, rule: &str, body: fn()) {
    in_child_process(&format!("{module}::{}::{rule}", S::NAME), body);
}

/// What a test in a process of its own prints where there is nothing that it could test.
pub const SKIPPED: &str = "skipped:";

/// Runs a test, which is called so, alone in a process of its own.
pub fn in_child_process(test: &str, body: fn()) {
    const NAME: &str = "FANFARE_TEST_CHILD";
    if std::env::var_os(NAME).is_some_and(|name| name == test) {
        return body();
    }
    let (_crate, path) = test.split_once("::").unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", path, "--nocapture"])
        .env(NAME, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    // Not by a macro: what has not been tested is to be seen although the test has not failed.
    for line in text.lines().filter(|line| line.contains(SKIPPED)) {
        drop(writeln!(std::io::stderr(), "{path}: {line}"));
    }
}
