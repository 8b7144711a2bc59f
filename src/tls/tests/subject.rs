//! TLS over the drivers of a real kernel, of which the rules of drivers are asked as well
//! (`driver/tests.rs`). The peer has a client of rustls between itself and its socket.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Instant;

use rustls::StreamOwned;

use super::*;
use crate::driver::tests::bench::{self, FAR, OnEpoll, OnUring, Subject, Tested};

/// Bytes of a record of the peer's: a few of them fill a buffer or need several, as rules have it.
const RECORD_BYTES: usize = 300;

macro_rules! tls_over {
    ($subject:ident, $name:literal, $below:ident) => {
        /// TLS over a driver.
        pub struct $subject;

        impl Subject for $subject {
            const NAME: &str = $name;

            type Driver = Tls<<$below as Subject>::Driver>;

            fn make(limits: &Limits) -> Self::Driver {
                Tls::new($below::make(limits), shared_context(), None)
            }
        }
    };
}

tls_over!(TlsOverEpoll, "tls_over_epoll", OnEpoll);
tls_over!(TlsOverUring, "tls_over_uring", OnUring);

/// A client whose handshake has ended.
pub struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl<D: Tested> Tested for Tls<D> {
    type Peer = Secure;

    /// Shakes hands, up to the tickets of the server: what is unread afterwards is the rule's.
    fn meet(bench: &mut bench::Bench<Self>, key: Key, client: TcpStream) -> Secure {
        let mut config = authority().client();
        config.max_fragment_size = Some(RECORD_BYTES);
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut peer = StreamOwned::new(tls, client);
        peer.sock.set_nonblocking(true).unwrap();
        bench.driver.receive(key);
        let tickets = shared_context().current().send_tls13_tickets as u32;
        let deadline = Instant::now() + FAR;
        while peer.conn.is_handshaking() || peer.conn.tls13_tickets_received() < tickets {
            assert!(Instant::now() < deadline, "a handshake does not end");
            match peer.conn.complete_io(&mut peer.sock) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ => bench.poll(),
            }
        }
        peer.sock.set_nonblocking(false).unwrap();
        bench.driver.pause(key);
        bench.is_silent();
        Secure(peer)
    }

    fn descriptor(&self, key: Key) -> i32 {
        self.inner.descriptor(key)
    }
}

impl Read for Secure {
    /// The end of the connection is the end of what is read, with or without a word of farewell.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl bench::Peer for Secure {
    fn address(&self) -> SocketAddr {
        self.0.sock.address()
    }

    fn finish(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        self.0.sock.finish();
    }

    fn wait(&self) {
        self.0.sock.wait();
    }
}

impl<H: fmt::Debug> fmt::Debug for Handle<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("inner", &self.inner).finish_non_exhaustive()
    }
}
