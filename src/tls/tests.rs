//! TLS on the fake kernel: a client of rustls at the other end.

#[path = "../../tests/support/authority.rs"]
mod authority;
mod context;
mod faults;
mod rules;
pub mod subject;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use self::authority::Authority;
use super::{Context, Handle, Preamble, Tls, TlsOptions};
use crate::base::frame::{Frame, Gather};
use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::driver::sim::{self, Client, Faults, Network, Sim};
use crate::driver::{Completion, Driver, Sent};

type Reported = Completion<Handle<sim::Handle>>;

/// One authority for all tests: its certificates never change.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(Authority::new)
}

/// TLS of a server for `localhost`.
fn shared_context() -> Arc<Context> {
    static CONTEXT: OnceLock<Arc<Context>> = OnceLock::new();
    Arc::clone(CONTEXT.get_or_init(|| {
        let certified = authority().server();
        let options = TlsOptions::pem_files(certified.chain, certified.key);
        Arc::new(Context::new(&options).unwrap())
    }))
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 443))
}

/// The other end of a connection.
struct Peer {
    tls: ClientConnection,
    client: Client,
    /// What it has decrypted.
    received: Vec<u8>,
    /// Whether the server has said that nothing more will come.
    is_finished: bool,
}

impl Peer {
    fn new(network: &Network, config: &Arc<ClientConfig>) -> Peer {
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        tls.set_buffer_limit(None);
        let client = network.connect(address());
        Peer { tls, client, received: Vec::new(), is_finished: false }
    }

    fn by_default(network: &Network) -> Peer {
        Peer::new(network, &Arc::new(authority().client()))
    }

    /// What it wants to send now.
    fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Takes what has arrived, and sends what it has to.
    fn pump(&mut self) {
        let arrived = self.client.read();
        self.take(&arrived);
        let outgoing = self.outgoing();
        if !outgoing.is_empty() {
            self.client.write(&outgoing);
        }
    }

    fn take(&mut self, mut arrived: &[u8]) {
        while !arrived.is_empty() {
            self.tls.read_tls(&mut arrived).unwrap();
            self.tls.process_new_packets().unwrap();
            self.is_finished |= self.tls.reader().read_to_end(&mut self.received).is_ok();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
        self.pump();
    }
}

/// One driver, and what it has reported.
struct Bench {
    network: Network,
    driver: Tls<Sim>,
    reported: VecDeque<Reported>,
}

impl Bench {
    fn new(faults: Faults) -> Bench {
        Bench::with(faults, &Limits::default(), None)
    }

    fn with(faults: Faults, limits: &Limits, preamble: Option<Preamble>) -> Bench {
        let network = Network::new(1, faults);
        let mut driver = Tls::new(network.driver(limits), shared_context(), preamble);
        driver.listen(address());
        Bench { network, driver, reported: VecDeque::new() }
    }

    /// A second driver of the same kernel.
    fn another(&self) -> Bench {
        let sim = self.network.driver(&Limits::default());
        let driver = Tls::new(sim, shared_context(), None);
        Bench { network: self.network.clone(), driver, reported: VecDeque::new() }
    }

    fn turn(&mut self) {
        let mut completions = Vec::new();
        self.driver.turn(None, &mut completions).unwrap();
        self.reported.extend(completions);
    }

    /// Turns until nothing happens any more.
    fn settle(&mut self, peer: &mut Peer) {
        for _ in 0..8 {
            self.turn();
            peer.pump();
            self.network.advance(Duration::from_millis(10));
        }
    }

    /// A connection that is received from, whose handshake has ended.
    fn connect(&mut self) -> (Key, Peer) {
        self.connect_as(&Arc::new(authority().client()))
    }

    fn connect_as(&mut self, config: &Arc<ClientConfig>) -> (Key, Peer) {
        let mut peer = Peer::new(&self.network, config);
        let key = self.accept();
        self.settle(&mut peer);
        assert!(!peer.tls.is_handshaking());
        assert!(self.reported.is_empty(), "{:?}", self.reported.len());
        (key, peer)
    }

    /// Accepts the one client that waits, and receives from it.
    fn accept(&mut self) -> Key {
        self.turn();
        let Some(Completion::Accepted(key)) = self.reported.pop_front() else { panic!("nobody") };
        self.driver.receive(key);
        key
    }

    /// The bytes that were reported up to something else.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(&Completion::Received { buffer, length, .. }) = self.reported.front() {
            bytes.extend_from_slice(&self.driver.buffer(buffer)[..length]);
            self.driver.release(buffer);
            self.reported.pop_front();
        }
        bytes
    }

    fn send(&mut self, key: Key, bytes: &[u8]) -> Sent {
        self.driver.send(key, Gather { head: &[Frame::raw(bytes)], tail: &[], skip: 0 })
    }

    fn send_all(&mut self, key: Key, mut bytes: &[u8], peer: &mut Peer) {
        while !bytes.is_empty() {
            let taken = match self.send(key, bytes) {
                Sent::Now(count) => count,
                Sent::Later => self.sent(peer).unwrap(),
                Sent::Failed(error) => panic!("error {error}"),
            };
            bytes = &bytes[taken..];
        }
    }

    /// What becomes of a send that was `Later`.
    fn sent(&mut self, peer: &mut Peer) -> Result<usize, i32> {
        for _ in 0..10_000 {
            if let Some(Completion::Sent(_, result)) = self.reported.pop_front() {
                return result;
            }
            peer.pump();
            self.turn();
            self.network.advance(Duration::from_millis(1));
        }
        panic!("a send does not end")
    }

    /// The next is the end of the connection.
    #[track_caller]
    fn ends(&mut self, key: Key, error: Option<i32>) {
        match self.reported.pop_front() {
            Some(Completion::Ended(ended, with)) => assert_eq!((ended, with), (key, error)),
            _ => panic!("it has not ended"),
        }
    }
}

/// Bytes that tell their position.
fn stream(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position.wrapping_mul(2_654_435_761) >> 9) as u8).collect()
}
