//! Sockets as a server comes by them: those that listen, and those that an application has
//! accepted.
//!
//! A connection's socket is a [`std::net::TcpStream`], whose address and shutdown std knows; also
//! when it is a Unix socket, whose peer has no address.

use std::io;
use std::mem;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::sys;
use super::unix::{self, DYING_TIME, LOOK_INTERVAL, SocketFile};
use crate::base::limits::{Limits, SILENCE_TIMEOUT};

/// Connections that the kernel keeps for a listener until they are accepted. It cuts this down to
/// `net.core.somaxconn`, whose default is the same.
pub const BACKLOG: libc::c_int = 4096;

/// A socket that listens, for one shard.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    /// Whether others accept from the same socket.
    pub(super) is_shared: bool,
}

/// Descriptors that a limit of connections derived from the process's leaves for other uses:
/// listeners, drivers, wakers, and what the application opens.
const DESCRIPTORS_RESERVED: u64 = 64;

/// How many descriptors the process has for connections. Raises its limit of descriptors as far as
/// it may be.
///
/// # Errors
/// Those of the kernel.
pub fn descriptors_for_connections() -> io::Result<usize> {
    let descriptors = sys::raise_descriptor_limit()?.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    Ok(usize::try_from(descriptors).unwrap_or(usize::MAX))
}

/// How many connections a driver may have.
///
/// # Errors
/// As [`descriptors_for_connections`], which it calls in any case.
pub fn connections_max(limits: &Limits) -> io::Result<usize> {
    let descriptors = descriptors_for_connections()?;
    Ok(match limits.connections {
        0 => descriptors,
        connections => connections,
    })
}

/// A connection on its way from one driver to another. Dropping it closes the connection.
#[derive(Debug)]
pub struct Handle(TcpStream);

impl Handle {
    /// A connection that was accepted elsewhere.
    ///
    /// # Errors
    /// Gives the descriptor back when it carries no stream, as [`prepare`].
    pub fn new(socket: OwnedFd) -> Result<Handle, (io::Error, OwnedFd)> {
        let socket = TcpStream::from(socket);
        match prepare(&socket) {
            Ok(()) => Ok(Handle(socket)),
            Err(error) => Err((error, socket.into())),
        }
    }

    /// One of a driver.
    pub(super) fn of(socket: TcpStream) -> Handle {
        Handle(socket)
    }

    /// The connection, for a driver.
    pub(super) fn into_stream(self) -> TcpStream {
        self.0
    }

    /// The connection, for somebody else.
    pub fn into_socket(self) -> OwnedFd {
        self.0.into()
    }
}

impl Listener {
    /// One that another process has opened, and may still accept from: whether that waits is left
    /// as it is until a driver listens. `is_shared`: other shards accept from it as well.
    ///
    /// # Errors
    /// `InvalidInput` when it does not listen; else those of the kernel.
    pub fn taken_over(socket: OwnedFd, is_shared: bool) -> io::Result<Listener> {
        if sys::option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        Ok(Listener { socket, is_shared })
    }

    /// Has one of [`open_beside`] listen.
    ///
    /// # Errors
    /// Those of `listen`.
    pub fn start(&self) -> io::Result<()> {
        sys::start_listening(self.socket.as_fd(), BACKLOG)
    }

    /// Whether others accept from the same socket.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

/// Checks that nobody listens on `address`, or will in a moment.
fn await_vacant(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + DYING_TIME;
    loop {
        match check_vacant(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::park_timeout(LOOK_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Opens a socket that listens on `address` for each of `shards`; the kernel spreads the
/// connections among them. Gives the address with the port that was taken.
///
/// An IPv6 wildcard takes IPv4 connections as well. Accepted sockets inherit that small sends leave
/// at once (`TCP_NODELAY`), and that a peer which acknowledges nothing of what it was sent is given
/// up ([`SILENCE_TIMEOUT`]): whoever sends has gathered already, and this way it costs no call per
/// connection.
///
/// # Errors
/// Those of the kernel: the address is in use, not local, or not permitted.
pub fn listen(address: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<Listener>)> {
    await_vacant(address)?;
    let mut address = address;
    let mut listeners = Vec::new();
    for _ in 0..shards {
        let listener = listen_beside(address)?;
        // The first learns which port it is, the others join it.
        address = listener.local_addr()?;
        listeners.push(Listener { socket: listener.into(), is_shared: false });
    }
    Ok((address, listeners))
}

/// Opens one more socket where others of ours listen. It gets no connection before
/// [`Listener::start`].
///
/// # Errors
/// Those of the kernel.
pub fn open_beside(address: SocketAddr) -> io::Result<Listener> {
    Ok(Listener { socket: bound_beside(address)?, is_shared: false })
}

/// Opens a socket that listens on `path`, for all of `shards`: there can be one alone.
///
/// # Errors
/// As [`unix::listen`], and when no descriptor is left.
pub fn listen_unix(
    path: &Path,
    mode: u32,
    shards: usize,
) -> io::Result<(SocketFile, Vec<Listener>)> {
    let (socket, file) = unix::listen(path, mode)?;
    Ok((file, share(&socket, shards)?))
}

/// Has a TCP connection, or what is accepted from a socket, send at once what is small, and end
/// when nothing that it sends arrives.
///
/// # Errors
/// It is no TCP socket.
pub fn tune(socket: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    sys::set_option(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, SILENCE_MS)
}

/// A socket for all of `shards`.
///
/// # Errors
/// There is no descriptor left.
pub fn share(socket: &OwnedFd, shards: usize) -> io::Result<Vec<Listener>> {
    let share = |_| Ok(Listener { socket: socket.try_clone()?, is_shared: true });
    (0..shards).map(share).collect()
}

/// Opens a socket that listens on `address`; others may listen there, too.
fn listen_beside(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound_beside(address)?;
    sys::start_listening(socket.as_fd(), BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn bound_beside(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    tune(socket.as_fd())?;
    bind(socket.as_fd(), address)?;
    Ok(socket)
}

/// [`SILENCE_TIMEOUT`] as the kernel wants it.
const SILENCE_MS: libc::c_int = SILENCE_TIMEOUT.as_millis() as libc::c_int;

/// Checks that no other program listens on `address`. Sharing it with one that shares, too, such as
/// an earlier instance of this one, would lose half of the clients to it.
fn check_vacant(address: SocketAddr) -> io::Result<()> {
    let socket = tcp_socket(address)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(socket.as_fd(), address)
}

fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    sys::stream_socket(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })
}

/// Makes a connection that was accepted elsewhere like one of ours: it blocks, as
/// [`sys::stream_socket`] says, and is tuned.
///
/// # Errors
/// `InvalidInput` for a descriptor that is no socket, or one that carries no stream.
pub fn prepare(socket: &TcpStream) -> io::Result<()> {
    let option = |name| sys::option(socket.as_fd(), libc::SOL_SOCKET, name);
    let no_stream = || io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket");
    let (domain, kind) = (option(libc::SO_DOMAIN), option(libc::SO_TYPE));
    let listens = option(libc::SO_ACCEPTCONN);
    let is_stream = matches!((kind, listens), (Ok(libc::SOCK_STREAM), Ok(0)));
    match domain {
        Ok(libc::AF_UNIX) if is_stream => {}
        Ok(libc::AF_INET | libc::AF_INET6) if is_stream => tune(socket.as_fd())?,
        _ => return Err(no_stream()),
    }
    socket.set_nonblocking(false)
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
    use std::net::UdpSocket;

    use super::*;

    const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn without_a_limit_connections_are_bounded_by_the_descriptors_less_a_reserve() {
        let limit = |connections| Limits { connections, ..Limits::default() };
        let descriptors = sys::raise_descriptor_limit().unwrap();
        let most = usize::try_from(descriptors - DESCRIPTORS_RESERVED).unwrap();
        assert_eq!(connections_max(&limit(0)).unwrap(), most);
        assert_eq!(connections_max(&limit(7)).unwrap(), 7);
    }

    #[test]
    fn the_sockets_of_all_shards_listen_on_one_port() {
        let (address, listeners) = listen(LOOPBACK.into(), 2).unwrap();
        let addresses = listeners.into_iter().map(|it| TcpListener::from(it.socket).local_addr());
        assert!(addresses.map(Result::unwrap).eq([address; 2]));
    }

    #[test]
    fn m54_a_peer_that_acknowledges_nothing_is_given_up_by_the_kernel() {
        let (address, mut listeners) = listen(LOOPBACK.into(), 1).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let listener = TcpListener::from(listeners.remove(0).socket);
        let (accepted, _) = listener.accept().unwrap();
        let inherited = |name| sys::option(accepted.as_fd(), libc::IPPROTO_TCP, name).unwrap();
        assert_eq!(inherited(libc::TCP_USER_TIMEOUT), 20_000);
        assert_eq!(inherited(libc::TCP_NODELAY), 1);
    }

    #[test]
    fn an_address_that_is_shared_already_is_in_use() {
        let (address, listeners) = listen(LOOPBACK.into(), 1).unwrap();
        assert_eq!(listen(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        listen(address, 1).unwrap();
    }

    #[test]
    fn a_port_that_is_not_shared_is_in_use() {
        let owner = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen(owner.local_addr().unwrap(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_carries_no_stream_is_no_connection() {
        let listener: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        let datagrams: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let file: OwnedFd = std::fs::File::open("/").unwrap().into();
        for descriptor in [listener, datagrams, file] {
            let error = prepare(&TcpStream::from(descriptor)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn m54_a_connection_that_was_accepted_elsewhere_is_tuned_as_ours_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        prepare(&accepted).unwrap();
        let option = |name| sys::option(accepted.as_fd(), libc::IPPROTO_TCP, name).unwrap();
        assert_eq!((option(libc::TCP_USER_TIMEOUT), option(libc::TCP_NODELAY)), (20_000, 1));
    }

    #[test]
    fn an_ipv6_wildcard_takes_connections_of_both_families() {
        let Ok(listener) = listen_beside("[::]:0".parse().unwrap()) else {
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
