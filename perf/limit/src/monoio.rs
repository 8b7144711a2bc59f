//! monoio on its io_uring driver, lean: receives wait for readiness, so that an idle client holds
//! no buffer, and then read directly into one that all share; sends go through its ring.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::Poll;

use ::monoio::buf::IoBuf;
use ::monoio::io::{AsyncWriteRentExt, Splitable};
use ::monoio::net::tcp::{TcpOwnedReadHalf, TcpOwnedWriteHalf};
use ::monoio::{IoUringDriver, RuntimeBuilder, spawn};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::application::Verdict;
use crate::backlog::BACKLOG_MAX;
use crate::failure::Failure;
use crate::sys::{self, Stream};
use crate::{hub, listener};

/// Entries of its ring.
const ENTRIES: u32 = 4096;

type Hub = hub::Hub<Member>;

struct Member {
    reader: TcpOwnedReadHalf,
    /// Away while a task sends.
    writer: RefCell<Option<TcpOwnedWriteHalf>>,
    /// What is due behind that.
    waiting: RefCell<Vec<u8>>,
}

/// Serves for ever, or says why it cannot.
pub fn serve(listener: TcpListener) -> Result<Infallible, Failure> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(ENTRIES)
        .build()
        .map_err(|error| Failure::unable("monoio cannot be set up", error))?;
    runtime.block_on(accept(listener))
}

async fn accept(listener: TcpListener) -> Result<Infallible, Failure> {
    listener::announce(&listener)?;
    let listener = ::monoio::net::TcpListener::from_std(listener)?;
    let hub = Hub::new();
    spawn(Rc::clone(&hub).end_turns(deliver));
    loop {
        let (stream, _) = listener.accept().await?;
        let socket = stream.as_raw_fd().unsigned_abs();
        let (reader, writer) = stream.into_split();
        let member = Rc::new(Member {
            reader,
            writer: RefCell::new(Some(writer)),
            waiting: RefCell::default(),
        });
        hub.enter(socket, &member);
        spawn(receive(Rc::clone(&hub), socket, member));
    }
}

async fn receive(hub: Rc<Hub>, socket: u32, member: Rc<Member>) {
    loop {
        if sys::monoio_stream(&member.reader).readable(false).await.is_err() {
            return hub.end(socket);
        }
        let verdict = hub.receive(socket, |buffer| {
            match recv(member.descriptor(), buffer, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => Poll::Pending,
                result => Poll::Ready(result.map(|(_, count)| count).map_err(Into::into)),
            }
        });
        if verdict == Poll::Ready(Verdict::End) {
            return;
        }
    }
}

fn deliver(member: &Rc<Member>, bytes: &Rc<Vec<u8>>, range: Range<usize>) {
    if let Some(writer) = member.writer.take() {
        spawn(send(Rc::clone(member), writer, Rc::clone(bytes), range));
        return;
    }
    let mut waiting = member.waiting.borrow_mut();
    waiting.extend_from_slice(&bytes[range]);
    if waiting.len() > BACKLOG_MAX {
        hub::give_up(member.descriptor());
    }
}

impl Member {
    fn descriptor(&self) -> BorrowedFd<'_> {
        sys::monoio_stream(&self.reader).descriptor()
    }
}

/// Sends a range of bytes, and what has become due in the meantime.
async fn send(
    member: Rc<Member>,
    mut writer: TcpOwnedWriteHalf,
    mut bytes: Rc<Vec<u8>>,
    mut range: Range<usize>,
) {
    loop {
        // After an error the writer is not given back: the task that receives finds out too.
        let (Ok(_), _) = writer.write_all(bytes.slice(range)).await else { return };
        let waiting = member.waiting.take();
        if waiting.is_empty() {
            member.writer.replace(Some(writer));
            return;
        }
        range = 0..waiting.len();
        bytes = Rc::new(waiting);
    }
}
