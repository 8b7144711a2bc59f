//! Clients over TLS: what is written into one end of a pair of sockets leaves encrypted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use fanfare::TlsOptions;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::authority::Authority;
use crate::raw::{Client, DEADLINE};

/// TLS of a server for `localhost`.
pub fn options(authority: &Authority) -> TlsOptions {
    let certified = authority.server();
    TlsOptions::pem_files(certified.chain, certified.key)
}

/// A connection whose handshake has ended.
pub struct Secure {
    tcp: TcpStream,
    tls: ClientConnection,
}

impl Secure {
    /// Connects, says `preamble` and shakes hands with a server of this name.
    pub fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
        preamble: &[u8],
    ) -> io::Result<Secure> {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(DEADLINE))?;
        tcp.set_write_timeout(Some(DEADLINE))?;
        tcp.write_all(preamble)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name);
        let mut tls = tls.map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Secure { tcp, tls })
    }

    /// The certificate of the server.
    pub fn certificate(&self) -> CertificateDer<'_> {
        self.tls.peer_certificates().expect("a certificate")[0].clone()
    }

    /// Whether it is a new session, or goes on with one.
    pub fn kind(&self) -> HandshakeKind {
        self.tls.handshake_kind().expect("it has ended")
    }

    /// The connection as a stream.
    pub fn stream(&mut self) -> rustls::Stream<'_, ClientConnection, TcpStream> {
        rustls::Stream::new(&mut self.tls, &mut self.tcp)
    }

    /// A client on it that is as any other.
    pub fn client(self) -> Client {
        let (near, far) = UnixStream::pair().unwrap();
        let Secure { tcp, tls } = self;
        let tls = Arc::new(Mutex::new(tls));
        let up = (Arc::clone(&tls), far.try_clone().unwrap(), tcp.try_clone().unwrap());
        // They end with the client, or with the server.
        thread::spawn(move || encrypt(&up.0, up.1, up.2));
        thread::spawn(move || decrypt(&tls, tcp, far));
        Client::on(near)
    }
}

/// A client over TLS, with what that means by default.
pub fn client(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    Secure::connect(address, config, "localhost", b"").expect("a handshake").client()
}

fn encrypt(tls: &Mutex<ClientConnection>, mut plain: UnixStream, mut cipher: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = plain.read(&mut buffer).unwrap_or(0);
        let mut tls = tls.lock().unwrap();
        match count {
            0 => tls.send_close_notify(),
            count => tls.writer().write_all(&buffer[..count]).unwrap(),
        }
        while tls.wants_write() {
            if tls.write_tls(&mut cipher).is_err() {
                return;
            }
        }
        if count == 0 {
            let _ = cipher.shutdown(Shutdown::Write);
            return;
        }
    }
}

fn decrypt(tls: &Mutex<ClientConnection>, mut cipher: TcpStream, mut plain: UnixStream) {
    let mut buffer = [0; 16 * 1024];
    let mut text = Vec::new();
    loop {
        let count = cipher.read(&mut buffer).unwrap_or(0);
        let mut left = &buffer[..count];
        let mut has_ended = count == 0;
        while !left.is_empty() {
            let mut tls = tls.lock().unwrap();
            tls.read_tls(&mut left).unwrap();
            if let Err(error) = tls.process_new_packets() {
                panic!("the server breaks the rules: {error}");
            }
            has_ended |= tls.reader().read_to_end(&mut text).is_ok();
            while tls.wants_write() && tls.write_tls(&mut cipher).is_ok() {}
        }
        if plain.write_all(&std::mem::take(&mut text)).is_err() || has_ended {
            // The end reaches the client, whoever else holds the socket.
            let _ = plain.shutdown(Shutdown::Write);
            return;
        }
    }
}
