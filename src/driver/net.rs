//! Listening sockets, as every shard opens one of its own on the same port.
//!
//! A connection's socket is a [`std::net::TcpStream`], whose address and shutdown std knows.

use std::io;
use std::mem;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use super::sys;

/// Connections that the kernel keeps for a listener until they are accepted. It cuts this down to
/// `net.core.somaxconn`, whose default is the same.
pub const BACKLOG: libc::c_int = 4096;

/// Opens a socket that listens on `address`; others may listen there, too, and the kernel spreads
/// the connections among them. An IPv6 wildcard takes IPv4 connections as well.
///
/// Accepted sockets inherit that small sends leave at once (`TCP_NODELAY`): whoever sends has
/// gathered already, and this way it costs no call per connection.
///
/// # Errors
/// Those of the kernel: the address is in use by a socket that does not share it, is not local, or
/// is not permitted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::tcp_socket(family)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    bind(socket.as_fd(), address)?;
    sys::start_listening(socket.as_fd(), BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Checks that no other program listens on `address`. [`listen`] would share it with one that
/// shares, too, such as an earlier instance of this one, and lose half of the clients to it.
///
/// # Errors
/// Those of the kernel: the address is in use, not local, or not permitted.
pub fn check_vacant(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::tcp_socket(family)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(socket.as_fd(), address)
}

fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(address) => sys::bind(socket, &kernel_v4(address)),
        SocketAddr::V6(address) => {
            // Else it depends on a system setting whether `[::]` serves IPv4.
            sys::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
            sys::bind(socket, &kernel_v6(address))
        }
    }
}

fn kernel_v4(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: the structure is integers only, for which all-zero bytes are a value.
    let mut kernel: libc::sockaddr_in = unsafe { mem::zeroed() };
    kernel.sin_family = libc::AF_INET as libc::sa_family_t;
    kernel.sin_port = address.port().to_be();
    kernel.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    kernel
}

fn kernel_v6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: the structure is integers only, for which all-zero bytes are a value.
    let mut kernel: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    kernel.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    kernel.sin6_port = address.port().to_be();
    kernel.sin6_addr.s6_addr = address.ip().octets();
    kernel.sin6_flowinfo = address.flowinfo();
    kernel.sin6_scope_id = address.scope_id();
    kernel
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_that_is_shared_already_is_not_vacant() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(check_vacant(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        check_vacant(address).unwrap();
    }

    use std::net::TcpStream;

    use super::*;

    #[test]
    fn several_sockets_listen_on_one_port() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen(address).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
    }

    #[test]
    fn a_port_that_is_not_shared_is_in_use() {
        let owner = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen(owner.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_accepted_socket_sends_small_writes_at_once() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn an_ipv6_wildcard_takes_connections_of_both_families() {
        let Ok(listener) = listen("[::]:0".parse().unwrap()) else {
            return; // This machine has no IPv6.
        };
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(listener.accept().unwrap().1.port(), client.local_addr().unwrap().port());
        if let Ok(client) = TcpStream::connect(("::1", port)) {
            assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        }
    }

    #[test]
    fn an_address_reaches_the_kernel_unchanged() {
        let kernel = kernel_v4("1.2.3.4:258".parse().unwrap());
        assert_eq!(kernel.sin_addr.s_addr.to_ne_bytes(), [1, 2, 3, 4]);
        assert_eq!(kernel.sin_port.to_ne_bytes(), [1, 2]);
        let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 258, 5, 7);
        let kernel = kernel_v6(address);
        assert_eq!(kernel.sin6_addr.s6_addr, address.ip().octets());
        assert_eq!(kernel.sin6_port.to_ne_bytes(), [1, 2]);
        assert_eq!((kernel.sin6_flowinfo, kernel.sin6_scope_id), (5, 7));
    }
}
