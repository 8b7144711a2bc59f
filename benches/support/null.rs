//! A kernel that costs nothing: what a shard does for a message, and only that, is left to measure.

#![allow(dead_code, reason = "each bench uses a part")]

use std::cell::RefCell;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use fanfare::base::clock::Time;
use fanfare::base::frame::Gather;
use fanfare::base::slab::{Key, Slab};
use fanfare::driver::{BufferId, Completion, Driver, DriverStats, Sent};
use fanfare::internal::{Outlook, Shard, shared};
use fanfare::{Ack, Limits, Raw, Server};

/// The application of `examples/benchmark.rs`, as far as it is measured here.
pub fn server() -> Server {
    let io = Server::builder().build().unwrap();
    let root = io.of("/");
    root.on("echo", async |payload: Raw, ack: Ack| {
        ack.send(payload);
    });
    let everybody = root.emitter();
    root.on("publish", async move |payload: Raw| {
        everybody.emit("broadcast", payload);
    });
    io
}

/// Takes every send whole, and hands the shard what its clients send.
struct Null {
    clients: Rc<RefCell<Clients>>,
    connections: Slab<()>,
    buffers: Vec<Vec<u8>>,
    now: Time,
    /// What a turn takes.
    turn: Duration,
}

/// What the clients have done since the last turn, and what they got.
#[derive(Default)]
struct Clients {
    connecting: usize,
    connected: Vec<Key>,
    arrivals: Vec<(Key, Vec<u8>)>,
    taken_bytes: usize,
}

/// A shard without a kernel, and the clients that it serves.
pub struct Bench {
    shard: Shard<Null>,
    clients: Rc<RefCell<Clients>>,
}

impl Bench {
    /// A server of one shard, without clients, whose turns all take so long.
    pub fn new(server: &Server, turn: Duration) -> Bench {
        let shared = shared(server);
        let inner = Rc::new(RefCell::new(Clients::default()));
        let driver = Null {
            clients: Rc::clone(&inner),
            connections: Slab::new(),
            buffers: Vec::new(),
            now: Time::from_micros(1),
            turn,
        };
        let post = Shard::post(&driver, &Limits::default());
        shared.start(vec![Arc::clone(&post)]);
        let shard = Shard::new(driver, 0, 1, shared, post);
        Bench { shard, clients: inner }
    }

    /// Connects clients over WebSocket, which join `/`, until there are so many.
    pub fn grow_to(&mut self, clients: usize) {
        let connected = self.clients.borrow().connected.len();
        for client in connected..clients {
            self.clients.borrow_mut().connecting = 1;
            self.turn();
            self.arrive(client, UPGRADE);
            self.turn();
            self.arrive(client, &frame("40"));
            assert!(self.turn() > 0, "client {client} has not joined");
        }
    }

    /// Bytes of a client arrive with the next turn.
    pub fn arrive(&mut self, client: usize, bytes: &[u8]) {
        let mut clients = self.clients.borrow_mut();
        let key = clients.connected[client];
        clients.arrivals.push((key, bytes.to_vec()));
    }

    /// What the shard tells those who watch the server.
    pub fn observe(&self) {
        black_box(self.shard.observed());
    }

    /// Turns until the shard has nothing more to do; gives the bytes that the clients got.
    pub fn turn(&mut self) -> usize {
        while self.shard.turn(None).unwrap() == Outlook::Busy {}
        std::mem::take(&mut self.clients.borrow_mut().taken_bytes)
    }
}

const UPGRADE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked text frame, as clients send it; shorter than 126 bytes.
pub fn frame(text: &str) -> Vec<u8> {
    assert!(text.len() < 126);
    let mask = [0x12, 0x34, 0x56, 0x78];
    let masked = text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | text.len() as u8].into_iter().chain(mask).chain(masked).collect()
}

impl Driver for Null {
    type Handle = ();
    type Listener = ();

    fn now(&self) -> Time {
        self.now
    }

    fn random(&mut self, out: &mut [u8]) {
        out.fill(7);
    }

    fn listen(&mut self, (): ()) {}

    fn stop_listening(&mut self) {}

    fn peer(&self, _: Key) -> Option<SocketAddr> {
        None
    }

    fn receive(&mut self, _: Key) {}

    fn pause(&mut self, _: Key) {}

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        &mut self.buffers[usize::from(buffer.0)]
    }

    fn release(&mut self, _: BufferId) {}

    #[inline(always)]
    fn send(&mut self, _: Key, gather: Gather<'_>) -> Sent {
        let bytes = gather.slices().map(<[u8]>::len).sum();
        self.clients.borrow_mut().taken_bytes += bytes;
        Sent::Now(bytes)
    }

    fn shutdown(&mut self, _: Key) {}

    fn close(&mut self, connection: Key) {
        self.connections.remove(connection);
    }

    fn detach(&mut self, _: Key) {}

    fn adopt(&mut self, (): ()) -> Key {
        self.connections.insert(())
    }

    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn turn(&mut self, _: Option<Time>, completions: &mut Vec<Completion<()>>) -> io::Result<()> {
        self.now = self.now.after(self.turn);
        let mut clients = self.clients.borrow_mut();
        for _ in 0..std::mem::take(&mut clients.connecting) {
            let key = self.connections.insert(());
            clients.connected.push(key);
            completions.push(Completion::Accepted(key));
        }
        self.buffers.clear();
        for (connection, bytes) in clients.arrivals.drain(..) {
            let (buffer, length) = (BufferId(self.buffers.len() as u16), bytes.len());
            self.buffers.push(bytes);
            completions.push(Completion::Received { connection, buffer, length });
        }
        Ok(())
    }

    fn fit(&mut self, _: usize) {}

    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }
}
