//! Readiness by epoll, and a plain loop of `send()`: what every server on sockets does at least.
//! An idle socket is its descriptor and one byte.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::application::{Application, Verdict};
use crate::backlog::Backlog;
use crate::failure::Failure;
use crate::listener;

/// Sockets that one wait reports. More wait for the next turn, after what these gave was sent.
const EVENTS_MAX: usize = 1024;

/// Bytes that are read from one socket in a turn.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Serves for ever, or says why it cannot.
pub fn serve(listener: TcpListener) -> Result<Infallible, Failure> {
    let mut server = Server::new(listener)
        .map_err(|failure| Failure::unable("epoll cannot be set up", failure))?;
    listener::announce(&server.listener)?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => server.turn(events.drain(..))?,
            Err(error) => return Err(error.into()),
        }
    }
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    application: Application,
    /// Indexed by the number of the descriptor itself, which the kernel keeps small.
    sockets: Vec<Option<OwnedFd>>,
    /// What is still due to sockets that are full.
    backlogs: HashMap<u32, Backlog>,
    /// Whom to close at the end of the turn; not before, since a descriptor that is accepted next
    /// may have the same number.
    ended: Vec<u32>,
    buffer: Box<[u8]>,
}

impl Server {
    fn new(listener: TcpListener) -> Result<Server, Failure> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, data(number(&listener)), EventFlags::IN)?;
        Ok(Server {
            epoll,
            listener,
            application: Application::default(),
            sockets: Vec::new(),
            backlogs: HashMap::new(),
            ended: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
        })
    }

    fn turn(&mut self, events: impl Iterator<Item = Event>) -> Result<(), Failure> {
        let listener = number(&self.listener);
        for event in events {
            let (socket, flags) = (event.data.u64() as u32, event.flags);
            if socket == listener {
                self.accept()?;
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                self.drain(socket)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(socket);
            }
        }
        self.deliver()?;
        while let Some(socket) = self.ended.pop() {
            self.close(socket);
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Failure> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let accepted = match accept_with(&self.listener, flags) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let socket = number(&accepted);
            epoll::add(&self.epoll, &accepted, data(socket), EventFlags::IN)?;
            let index = socket as usize;
            if index >= self.sockets.len() {
                self.sockets.resize_with(index + 1, || None);
            }
            self.sockets[index] = Some(accepted);
            self.application.opened(socket);
        }
    }

    fn receive(&mut self, socket: u32) {
        let Some(Some(descriptor)) = self.sockets.get(socket as usize) else { return };
        match recv(descriptor, &mut *self.buffer, RecvFlags::empty()) {
            Ok((_, count @ 1..)) => {
                if self.application.received(socket, &mut self.buffer[..count]) == Verdict::End {
                    self.ended.push(socket);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.ended.push(socket),
        }
    }

    fn deliver(&mut self) -> Result<(), Failure> {
        let Some((bytes, deliveries)) = self.application.end_turn() else { return Ok(()) };
        let Server { application, sockets, backlogs, ended, epoll, .. } = self;
        let mut result = Ok(());
        application.each(&deliveries, |socket, range: Range<usize>| {
            let Some(Some(descriptor)) = sockets.get(socket as usize) else { return };
            // Without anybody slow there is nothing to look up.
            if !backlogs.is_empty()
                && let Some(backlog) = backlogs.get_mut(&socket)
            {
                if !backlog.add(&bytes[range]) {
                    ended.push(socket);
                }
                return;
            }
            let rest = match send(descriptor, &bytes[range.clone()], SendFlags::NOSIGNAL) {
                Ok(count) if count == range.len() => return,
                Ok(count) => &bytes[range][count..],
                Err(Errno::AGAIN) => &bytes[range],
                Err(_) => return ended.push(socket),
            };
            if !backlogs.entry(socket).or_default().add(rest) {
                return ended.push(socket);
            }
            let flags = EventFlags::IN | EventFlags::OUT;
            if let Err(error) = epoll::modify(&*epoll, descriptor, data(socket), flags) {
                result = Err(error.into());
            }
        });
        self.application.reuse(bytes);
        result
    }

    /// A socket that was full has room.
    fn drain(&mut self, socket: u32) -> Result<(), Failure> {
        let Some(Some(descriptor)) = self.sockets.get(socket as usize) else { return Ok(()) };
        let Entry::Occupied(mut backlog) = self.backlogs.entry(socket) else { return Ok(()) };
        let rest = backlog.get().rest();
        match send(descriptor, rest, SendFlags::NOSIGNAL) {
            Ok(count) if count == rest.len() => {
                backlog.remove();
                epoll::modify(&self.epoll, descriptor, data(socket), EventFlags::IN)?;
            }
            Ok(count) => backlog.get_mut().sent(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.ended.push(socket),
        }
        Ok(())
    }

    fn close(&mut self, socket: u32) {
        // It may have been listed twice.
        if self.sockets[socket as usize].take().is_some() {
            self.backlogs.remove(&socket);
            self.application.closed(socket);
        }
    }
}

/// The number of a descriptor, which the kernel never makes negative.
fn number(descriptor: &impl AsRawFd) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}

fn data(socket: u32) -> EventData {
    EventData::new_u64(socket.into())
}
