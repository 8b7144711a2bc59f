//! glommio, lean: streams without a receive buffer of their own, read into one that all share. Its
//! streams receive and send by direct calls and use their rings to wait.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ::glommio::net::TcpStream;
use ::glommio::{GlommioError, LocalExecutorBuilder, spawn_local};
use futures_lite::{AsyncRead, AsyncWrite};

use crate::application::Verdict;
use crate::backlog::{Backlog, Sent};
use crate::failure::Failure;
use crate::sys::{self, Stream};
use crate::{hub, listener};

/// Entries of its rings.
const RING_DEPTH: usize = 4096;

/// Memory that it reserves for files, of which there are none: the least it takes.
const IO_MEMORY: usize = 64 * 1024;

type Hub = hub::Hub<Member>;

struct Member {
    stream: RefCell<TcpStream>,
    /// Not empty exactly while a task waits to send it.
    backlog: RefCell<Backlog>,
}

/// Serves for ever, or says why it cannot.
pub fn serve(listener: TcpListener) -> Result<Infallible, Failure> {
    let executor = LocalExecutorBuilder::default()
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY)
        .make()
        .map_err(|error| Failure::unable("glommio cannot be set up", error))?;
    executor.run(accept(listener))
}

async fn accept(listener: TcpListener) -> Result<Infallible, Failure> {
    listener::announce(&listener)?;
    let listener = sys::glommio_listener(listener);
    let hub = Hub::new();
    spawn_local(Rc::clone(&hub).end_turns(deliver)).detach();
    loop {
        let stream = listener.accept().await.map_err(explain)?;
        let socket = stream.as_raw_fd().unsigned_abs();
        let member = Rc::new(Member { stream: RefCell::new(stream), backlog: RefCell::default() });
        hub.enter(socket, &member);
        spawn_local(receive(Rc::clone(&hub), socket, member)).detach();
    }
}

fn explain(error: GlommioError<()>) -> Failure {
    io::Error::from(error).into()
}

async fn receive(hub: Rc<Hub>, socket: u32, member: Rc<Member>) {
    loop {
        let verdict = poll_fn(|context| {
            hub.receive(socket, |buffer| {
                Pin::new(&mut *member.stream.borrow_mut()).poll_read(context, buffer)
            })
        });
        if verdict.await == Verdict::End {
            return;
        }
    }
}

fn deliver(member: &Rc<Member>, bytes: &Rc<Vec<u8>>, range: Range<usize>) {
    // Who waits for room is the task that drains; it asks again.
    let mut context = Context::from_waker(Waker::noop());
    let try_write = |bytes: &[u8]| member.poll_write(&mut context, bytes);
    let sent = member.backlog.borrow_mut().send(&bytes[range], try_write);
    match sent {
        Sent::Fine => {}
        Sent::Full => drop(spawn_local(drain(Rc::clone(member))).detach()),
        Sent::TooSlow => hub::give_up(member.stream.borrow().descriptor()),
    }
}

/// Sends what a full socket is still due, as room comes. It runs as soon as it is spawned.
async fn drain(member: Rc<Member>) -> io::Result<()> {
    poll_fn(|context| member.backlog.borrow_mut().drain(|bytes| member.poll_write(context, bytes)))
        .await
}

impl Member {
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, bytes)
    }
}
