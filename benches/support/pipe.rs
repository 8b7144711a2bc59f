//! A driver of one connection, whose other end is a client of TLS in the same thread: what TLS does
//! to what is sent, and no kernel.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use fanfare::TlsOptions;
use fanfare::base::clock::Time;
use fanfare::base::frame::Gather;
use fanfare::base::slab::{Key, Slab};
use fanfare::driver::{BufferId, Completion, Driver, DriverStats, Sent};
use fanfare::internal::{Tls, TlsContext};
use rustls::ClientConnection;

use crate::authority::Authority;

/// What is on its way.
#[derive(Default)]
struct Wire {
    /// To the server.
    up: Vec<u8>,
    /// To the client.
    down: Vec<u8>,
}

struct Pipe {
    wire: Rc<RefCell<Wire>>,
    connections: Slab<()>,
    buffer: Vec<u8>,
}

/// An encrypted connection.
pub struct Encrypted {
    driver: Tls<Pipe>,
    key: Key,
    wire: Rc<RefCell<Wire>>,
    client: ClientConnection,
}

impl Encrypted {
    /// One whose handshake has ended.
    pub fn new() -> Encrypted {
        let authority = Authority::new();
        let served = authority.server();
        let context = TlsContext::new(&TlsOptions::pem_files(served.chain, served.key)).unwrap();
        let wire = Rc::default();
        let pipe = Pipe { wire: Rc::clone(&wire), connections: Slab::new(), buffer: Vec::new() };
        let driver = Tls::new(pipe, Arc::new(context), None);
        let name = "localhost".try_into().unwrap();
        let client = ClientConnection::new(Arc::new(authority.client()), name).unwrap();
        let mut made = Encrypted { driver, key: Key::NONE, wire, client };
        while made.client.is_handshaking() || made.client.wants_write() {
            made.turn();
        }
        made
    }

    fn turn(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire.borrow_mut().up).unwrap();
        }
        let mut completions = Vec::new();
        self.driver.turn(Some(Time::ZERO), &mut completions).unwrap();
        if let Some(Completion::Accepted(key)) = completions.pop() {
            self.key = key;
        }
        self.receive();
    }

    /// Has the client read what was sent to it; gives the bytes that it has decrypted.
    pub fn receive(&mut self) -> usize {
        let down = std::mem::take(&mut self.wire.borrow_mut().down);
        let mut left = &down[..];
        while !left.is_empty() {
            self.client.read_tls(&mut left).unwrap();
            self.client.process_new_packets().unwrap();
        }
        let mut plain = Vec::new();
        // Without an end it stops where nothing more has come.
        let _ = self.client.reader().read_to_end(&mut plain);
        plain.len()
    }

    /// Sends to the client.
    pub fn send(&mut self, gather: Gather<'_>) -> Sent {
        self.wire.borrow_mut().down.clear();
        self.driver.send(self.key, gather)
    }
}

impl Driver for Pipe {
    type Handle = ();
    type Listener = ();

    fn now(&self) -> Time {
        Time::ZERO
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

    fn buffer(&mut self, _: BufferId) -> &mut [u8] {
        &mut self.buffer
    }

    fn release(&mut self, _: BufferId) {}

    fn send(&mut self, _: Key, gather: Gather<'_>) -> Sent {
        let down = &mut self.wire.borrow_mut().down;
        let before = down.len();
        gather.slices().for_each(|slice| down.extend_from_slice(slice));
        Sent::Now(down.len() - before)
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
        if self.connections.is_empty() {
            completions.push(Completion::Accepted(self.connections.insert(())));
            return Ok(());
        }
        self.buffer = std::mem::take(&mut self.wire.borrow_mut().up);
        if let (Some(connection), length @ 1..) = (self.connections.key_at(0), self.buffer.len()) {
            completions.push(Completion::Received { connection, buffer: BufferId(0), length });
        }
        Ok(())
    }

    fn fit(&mut self, _: usize) {}

    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }
}
