//! The socket that all servers accept from.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};

use rustix::net::sockopt;

use crate::failure::Failure;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens. What it accepts has Nagle's algorithm off, as it has itself.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        sockopt::set_tcp_nodelay(&listener, true)?;
        // A second call only changes the length of the queue.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|error| Failure::unable(&format!("cannot listen on {address}"), error))
}

/// Tells whoever started the server that it accepts connections.
pub fn announce(listener: &TcpListener) -> io::Result<()> {
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn what_is_accepted_does_not_wait_to_fill_segments() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn an_address_in_use_is_said_to_be_the_fault() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let failure = listen(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("cannot listen on 127.0.0.1"), "{failure}");
    }
}
