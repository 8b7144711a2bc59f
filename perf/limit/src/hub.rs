//! What the servers on a runtime share: one task for each connection, which only receives, and one
//! that ends the turns. That one is woken by the first task that leaves something to send, so that
//! it runs behind all that were ready with it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::ops::Range;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::net::Shutdown;

use crate::application::{Application, Verdict};

/// Bytes that are read from one socket at a time, into a buffer that all share.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Sends a connection a range of the bytes of a turn.
pub type Deliver<M> = fn(&Rc<M>, &Rc<Vec<u8>>, Range<usize>);

/// Cuts off a client that is too slow; the task that receives finds the end.
pub fn give_up(socket: impl AsFd) {
    // A failure means that the connection has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// All connections of a server, whose own part of each is `M`.
pub struct Hub<M> {
    application: RefCell<Application>,
    /// Indexed by descriptor: what is here keeps it from being closed and its number from being
    /// used again.
    members: RefCell<Vec<Option<Rc<M>>>>,
    /// Whose end the next turn brings.
    ended: RefCell<Vec<u32>>,
    is_due: Cell<bool>,
    turns: RefCell<Waker>,
    buffer: RefCell<Box<[u8]>>,
}

impl<M> Hub<M> {
    /// A hub without connections.
    pub fn new() -> Rc<Hub<M>> {
        Rc::new(Hub {
            application: RefCell::default(),
            members: RefCell::default(),
            ended: RefCell::default(),
            is_due: Cell::new(false),
            turns: RefCell::new(Waker::noop().clone()),
            buffer: RefCell::new(vec![0; RECEIVE_BYTES].into_boxed_slice()),
        })
    }

    /// A connection was accepted.
    pub fn enter(&self, socket: u32, member: &Rc<M>) {
        let mut members = self.members.borrow_mut();
        let index = socket as usize;
        if index >= members.len() {
            members.resize_with(index + 1, || None);
        }
        members[index] = Some(Rc::clone(member));
        self.application.borrow_mut().opened(socket);
    }

    /// Lets `read` fill the shared buffer, and works off what came. Without any bytes, and after an
    /// error, the connection ends. Pending: nothing has come.
    pub fn receive(
        &self,
        socket: u32,
        read: impl FnOnce(&mut [u8]) -> Poll<std::io::Result<usize>>,
    ) -> Poll<Verdict> {
        let mut buffer = self.buffer.borrow_mut();
        let verdict = match read(&mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(count @ 1..)) => {
                self.application.borrow_mut().received(socket, &mut buffer[..count])
            }
            Poll::Ready(_) => Verdict::End,
        };
        if verdict == Verdict::End {
            self.end(socket);
        }
        self.wake();
        Poll::Ready(verdict)
    }

    /// The connection ends with the turn.
    pub fn end(&self, socket: u32) {
        self.ended.borrow_mut().push(socket);
        self.wake();
    }

    fn wake(&self) {
        if !self.is_due.replace(true) {
            self.turns.borrow().wake_by_ref();
        }
    }

    /// Ends turn after turn: calls `deliver` once for each connection that something is due to.
    pub async fn end_turns(self: Rc<Self>, deliver: Deliver<M>) -> Infallible {
        loop {
            self.next_turn().await;
            self.end_turn(deliver);
            let ended = self.ended.take();
            for socket in ended {
                // It may be listed twice; the first time its number is not free yet.
                let member = self.members.borrow_mut()[socket as usize].take();
                if member.is_some() {
                    self.application.borrow_mut().closed(socket);
                }
            }
        }
    }

    async fn next_turn(&self) {
        poll_fn(|context| {
            if self.is_due.take() {
                return Poll::Ready(());
            }
            self.turns.borrow_mut().clone_from(context.waker());
            Poll::Pending
        })
        .await;
    }

    fn end_turn(&self, deliver: Deliver<M>) {
        let Some((bytes, deliveries)) = self.application.borrow_mut().end_turn() else { return };
        let bytes = Rc::new(bytes);
        let members = self.members.borrow();
        self.application.borrow().each(&deliveries, |socket, range| {
            if let Some(Some(member)) = members.get(socket as usize) {
                deliver(member, &bytes, range);
            }
        });
        // Those who are still sending keep them.
        if let Ok(bytes) = Rc::try_unwrap(bytes) {
            self.application.borrow_mut().reuse(bytes);
        }
    }
}
