//! All that a server listens on: what it opens itself, what another process hands over, and what a
//! service manager has opened for it.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path;

use crate::base::address::ListenAddress;
use crate::driver::net::{self, Listener};
use crate::driver::systemd;
use crate::driver::unix::{self, SocketFile, TheirFile};
use crate::error::{Error, Result};

use super::hand_over::Door;
use super::log;

/// What a server listens on.
#[derive(Default)]
pub struct Doors {
    /// With the ports that were taken.
    pub addresses: Vec<ListenAddress>,
    /// For each shard, those that it accepts from.
    pub listeners: Vec<Vec<Listener>>,
    /// The files of those that are its own.
    pub files: Vec<SocketFile>,
    /// The files of those that another process hands over.
    their_files: Vec<TheirFile>,
    /// Those that are opened beside what another process hands over, and the shards that they are
    /// for. Whatever the kernel leaves to them before that is done would be reset if it is not.
    beside: Vec<(usize, Listener)>,
}

impl Doors {
    /// Opens what is not among `theirs`, which another process has opened.
    ///
    /// # Errors
    /// [`Error::Listen`] and [`Error::Address`].
    pub fn open(
        addresses: &[ListenAddress],
        unix_mode: u32,
        shards: usize,
        mut theirs: Vec<Door>,
    ) -> Result<Doors> {
        let listeners = (0..shards).map(|_| Vec::new()).collect();
        let mut doors = Doors { listeners, ..Doors::default() };
        for address in addresses {
            let failed = |error| Error::Listen(address.clone(), error);
            match address {
                ListenAddress::Unix(path) => match take(&mut theirs, address) {
                    Some((_, sockets)) => {
                        doors.their_files.push(TheirFile::at(path).map_err(failed)?);
                        doors.add_shared(address.clone(), &sockets).map_err(failed)?;
                    }
                    None => {
                        let opened = net::listen_unix(path, unix_mode, shards).map_err(failed)?;
                        doors.files.push(opened.0);
                        doors.add(address.clone(), opened.1);
                    }
                },
                ListenAddress::Tcp(tcp) => doors.open_tcp(*tcp, &mut theirs).map_err(failed)?,
                ListenAddress::Named(name) => {
                    doors.open_tcp(look_up(name)?, &mut theirs).map_err(failed)?;
                }
                ListenAddress::Systemd(name) => {
                    doors.add_activated(name.as_deref()).map_err(failed)?;
                }
            }
        }
        Ok(doors)
    }

    /// The other process has handed over what is among these. A shard that cannot have one beside
    /// them is without: others accept.
    pub fn take_over(&mut self) {
        for (shard, listener) in self.beside.drain(..) {
            match listener.start() {
                Ok(()) => self.listeners[shard].push(listener),
                Err(error) => log::shard_without_listener(shard, &error),
            }
        }
        self.files.extend(self.their_files.drain(..).map(TheirFile::take_over));
    }

    /// Copies of its sockets, for the next process. What a service manager has opened it has for
    /// that as well.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn copies(&self) -> io::Result<Vec<Door>> {
        let mut copies: Vec<Door> =
            self.addresses.iter().map(|address| (absolute(address), Vec::new())).collect();
        for listener in self.listeners.iter().flatten() {
            let socket = listener.duplicate()?;
            let address = address_of(&socket)?;
            let is_one_enough = listener.is_shared();
            let Some((_, sockets)) = copies.iter_mut().find(|(other, _)| *other == address) else {
                continue;
            };
            if !is_one_enough || sockets.is_empty() {
                sockets.push(socket);
            }
        }
        Ok(copies)
    }

    /// One listener for each shard.
    fn add(&mut self, address: ListenAddress, opened: Vec<Listener>) {
        self.addresses.push(address);
        for (shard, listener) in self.listeners.iter_mut().zip(opened) {
            shard.push(listener);
        }
    }

    /// Sockets that all shards accept from.
    fn add_shared(&mut self, address: ListenAddress, sockets: &[OwnedFd]) -> io::Result<()> {
        for socket in sockets {
            let socket = Listener::taken_over(socket.try_clone()?, true)?.duplicate()?;
            let shared = net::share(&socket, self.listeners.len())?;
            for (shard, listener) in self.listeners.iter_mut().zip(shared) {
                shard.push(listener);
            }
        }
        self.addresses.push(address);
        Ok(())
    }

    /// Each of their sockets has to be accepted from, since the kernel leaves connections to all of
    /// them. When there are fewer than shards the others open their own beside them.
    fn open_tcp(&mut self, address: SocketAddr, theirs: &mut Vec<Door>) -> io::Result<()> {
        let shards = self.listeners.len();
        let Some((actual, sockets)) = take(theirs, &address.into()) else {
            let (actual, opened) = net::listen(address, shards)?;
            self.add(actual.into(), opened);
            return Ok(());
        };
        let missing = shards.saturating_sub(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            self.listeners[index % shards].push(Listener::taken_over(socket, false)?);
        }
        if let ListenAddress::Tcp(tcp) = actual {
            for shard in (0..shards).rev().take(missing) {
                self.beside.push((shard, net::open_beside(tcp)?));
            }
        }
        self.addresses.push(actual);
        Ok(())
    }

    fn add_activated(&mut self, name: Option<&str>) -> io::Result<()> {
        for socket in systemd::listeners(name)? {
            let address = address_of(&socket)?;
            if matches!(address, ListenAddress::Tcp(_)) {
                net::tune(socket.as_fd())?;
            }
            self.add_shared(address, &[socket])?;
        }
        Ok(())
    }
}

/// The same, whatever folder a process is in.
fn absolute(address: &ListenAddress) -> ListenAddress {
    match address {
        ListenAddress::Unix(path) => {
            ListenAddress::Unix(path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        address => address.clone(),
    }
}

/// Their sockets that listen there; port 0 stands for any port of theirs.
fn take(theirs: &mut Vec<Door>, wanted: &ListenAddress) -> Option<Door> {
    let wanted = &absolute(wanted);
    let is_wanted = |door: &Door| match (&door.0, wanted) {
        (ListenAddress::Tcp(theirs), ListenAddress::Tcp(wanted)) if wanted.port() == 0 => {
            theirs.ip() == wanted.ip()
        }
        (theirs, wanted) => theirs == wanted,
    };
    let position = theirs.iter().position(|door| is_wanted(door) && !door.1.is_empty())?;
    Some(theirs.swap_remove(position))
}

fn address_of(socket: &OwnedFd) -> io::Result<ListenAddress> {
    if unix::is_unix(socket.as_fd())? {
        let address = UnixListener::from(socket.try_clone()?).local_addr()?;
        return Ok(ListenAddress::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned()));
    }
    Ok(TcpListener::from(socket.try_clone()?).local_addr()?.into())
}

/// The first address of a name with a port.
///
/// # Errors
/// [`Error::Address`].
pub(super) fn look_up(name: &str) -> Result<SocketAddr> {
    let failed = |error| Error::Address(name.to_owned(), error);
    let found = name.to_socket_addrs().map_err(failed)?.next();
    found.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn m64_what_is_opened_beside_the_sockets_of_another_gets_nothing_before_it_has_handed_over() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, theirs) = net::listen(loopback, 1).unwrap();
        let theirs = TcpListener::from(theirs[0].duplicate().unwrap());
        let door = || vec![(address.into(), vec![theirs.try_clone().unwrap().into()])];
        theirs.set_nonblocking(true).unwrap();
        let is_left_to_them = || {
            let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
            let (mut accepted, until) = (0, Instant::now() + Duration::from_secs(1));
            while accepted < clients.len() && Instant::now() < until {
                accepted += usize::from(theirs.accept().is_ok());
            }
            accepted == clients.len()
        };
        let mut doors = Doors::open(&[address.into()], 0o600, 8, door()).unwrap();
        assert!(is_left_to_them(), "another process may still fail");
        doors.take_over();
        assert!(!is_left_to_them(), "all shards have a listener");
    }
}
