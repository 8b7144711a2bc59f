//! tokio on one thread, lean: no buffers of its own, no channels, one small task for each client.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::tokio::net::TcpStream;
use ::tokio::runtime::Builder;
use ::tokio::task::{LocalSet, spawn_local};

use crate::application::Verdict;
use crate::backlog::{Backlog, Sent};
use crate::failure::Failure;
use crate::{hub, listener};

type Hub = hub::Hub<Member>;

struct Member {
    stream: TcpStream,
    /// Not empty exactly while a task waits to send it.
    backlog: RefCell<Backlog>,
}

/// Serves for ever, or says why it cannot.
pub fn serve(listener: TcpListener) -> Result<Infallible, Failure> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| Failure::unable("tokio cannot be set up", error))?;
    LocalSet::new().block_on(&runtime, accept(listener))
}

async fn accept(listener: TcpListener) -> Result<Infallible, Failure> {
    listener::announce(&listener)?;
    let listener = ::tokio::net::TcpListener::from_std(listener)?;
    let hub = Hub::new();
    spawn_local(Rc::clone(&hub).end_turns(deliver));
    loop {
        let (stream, _) = listener.accept().await?;
        let socket = stream.as_raw_fd().unsigned_abs();
        let member = Rc::new(Member { stream, backlog: RefCell::default() });
        hub.enter(socket, &member);
        spawn_local(receive(Rc::clone(&hub), socket, member));
    }
}

async fn receive(hub: Rc<Hub>, socket: u32, member: Rc<Member>) {
    loop {
        let verdict =
            poll_fn(|context| hub.receive(socket, |buffer| member.poll_read(context, buffer)));
        if verdict.await == Verdict::End {
            return;
        }
    }
}

fn deliver(member: &Rc<Member>, bytes: &Rc<Vec<u8>>, range: Range<usize>) {
    let try_write = |bytes: &[u8]| unless_it_would_block(member.stream.try_write(bytes));
    let sent = member.backlog.borrow_mut().send(&bytes[range], try_write);
    match sent {
        Sent::Fine => {}
        Sent::Full => drop(spawn_local(drain(Rc::clone(member)))),
        Sent::TooSlow => hub::give_up(&member.stream),
    }
}

/// Sends what a full socket is still due, as room comes.
async fn drain(member: Rc<Member>) -> io::Result<()> {
    let try_write = |bytes: &[u8]| unless_it_would_block(member.stream.try_write(bytes));
    loop {
        member.stream.writable().await?;
        if let Poll::Ready(result) = member.backlog.borrow_mut().drain(try_write) {
            return result;
        }
    }
}

impl Member {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            if let done @ Poll::Ready(_) = unless_it_would_block(self.stream.try_read(buffer)) {
                return done;
            }
        }
    }
}

fn unless_it_would_block(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        other => Poll::Ready(other),
    }
}
