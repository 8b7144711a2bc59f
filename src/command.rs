//! What shards and other threads may ask of a shard. Nothing in here is bound to a thread.

use std::any::Any;
use std::error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use futures_channel::oneshot;

use crate::base::clock::Time;
use crate::base::frame::Wire;
use crate::base::id::{PrivateId, SocketId};
use crate::base::offset::Offset;
use crate::base::slab::Key;
use crate::base::stats::Stats;
use crate::metrics::Observed;
use crate::proto::json::Raw;
use crate::room::{Selection, Target};
use crate::session::recovery::{Missed, Seen};

/// Where a socket is, and which one: valid for ever, since its nonce is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketAddress {
    /// What no other socket of the server has.
    pub nonce: u64,
    /// Where its shard keeps it.
    pub index: u32,
    /// Its shard.
    pub shard: u16,
    /// Its namespace.
    pub namespace: u16,
}

impl SocketAddress {
    /// The public id of the socket.
    pub fn id(&self) -> SocketId {
        SocketId::new(self.shard, self.index, self.nonce)
    }
}

/// Where an Engine.IO session is, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionAddress {
    /// Where its shard keeps it.
    pub key: Key,
    /// Its shard.
    pub shard: u16,
}

/// One thing to do. A shard carries commands out in the order in which they were posted.
pub enum Command {
    /// A connection of a session of this shard, and the bytes that were read from it: the whole
    /// request head that names the session, and whatever came behind it, and whom it is from. The
    /// connection is the driver's own type.
    Adopt(Box<dyn Any + Send>, Vec<u8>, Option<SocketAddr>),
    /// A connection that the application has accepted, with the bytes that it has read, and whom it
    /// says that it is from.
    Attach(Box<dyn Any + Send>, Vec<u8>, Option<SocketAddr>),
    /// An emit to many.
    Broadcast(Arc<Broadcast>),
    /// Something for one socket.
    Socket(SocketAddress, SocketCommand),
    /// Something for one session of a server without namespaces.
    Session(SessionAddress, SessionCommand),
    /// Makes those that a selection means join or leave rooms, or disconnects them.
    Members(Arc<Members>),
    /// Asks which of the shard's sockets are meant.
    Fetch(Arc<Audience>, oneshot::Sender<Vec<Found>>),
    /// A client that was away wants its socket back, which this shard may have kept.
    Recover(Box<Recover>),
    /// What became of that.
    Recovered(Box<Recovered>),
    /// Memory runs short: has the shard give up so many bytes of what is queued.
    Relieve(usize),
    /// Asks for the shard's counters.
    Stats(oneshot::Sender<Stats>),
    /// Asks for them and all else that metrics tell; answered with the index of the shard.
    Observe(mpsc::Sender<(u16, Box<Observed>)>),
}

impl Command {
    /// The shard will never carry it out: nobody must wait for what its sockets would have said.
    pub fn is_lost(&self) {
        if let Command::Broadcast(broadcast) = self
            && let Some((_, _, collector)) = &broadcast.ack
        {
            collector.asked(0);
        }
    }
}

/// What to do with one socket.
pub enum SocketCommand {
    /// Send it a packet.
    Emit {
        /// The packet.
        wire: Wire,
        /// Whether it may be dropped when the client is not writable.
        volatile: bool,
        /// Whether those who listen to what is sent are told of it.
        is_told: bool,
        /// Who wants the answer.
        ack: Option<Expected>,
        /// Names it if it can be sent again.
        offset: Option<Offset>,
    },
    /// Put it into rooms.
    Join(Vec<Target>),
    /// Take it out of a room.
    Leave(Target),
    /// Disconnect it, or its whole session.
    Disconnect(bool),
    /// Run this where it is, if it is still there.
    Visit(Visit),
}

/// Something of the application that is run on the shard of a socket.
pub type Visit = Box<dyn FnOnce() + Send>;

/// What to do with one session.
pub enum SessionCommand {
    /// Send it a message.
    Send(Wire),
    /// Close it after what is queued has gone out.
    Close,
    /// Tell when what is queued by now has been sent.
    Drained(oneshot::Sender<Result<(), DrainError>>),
}

/// Why nobody knows that everything queued for a session was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DrainError {
    /// The session is gone, or went before.
    Disconnected,
    /// As many wait for this session as [`Limits::drain_waiters`](crate::Limits) allows.
    TooMany,
    /// The mailbox of the session's shard is full.
    Overloaded,
}

impl fmt::Display for DrainError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DrainError::Disconnected => "the client is gone",
            DrainError::TooMany => "too many wait for this client already",
            DrainError::Overloaded => "the shard of the client is overloaded",
        })
    }
}

impl error::Error for DrainError {}

/// An emit to many sockets of one namespace.
pub struct Broadcast {
    /// The namespace.
    pub namespace: u16,
    /// Which of its sockets.
    pub selection: Selection,
    /// The packet, encoded once for all shards.
    pub wire: Arc<Wire>,
    /// Whether it may be dropped for clients that are not writable.
    pub volatile: bool,
    /// Whether those who listen to what is sent are told of it.
    pub is_told: bool,
    /// Who wants the answers.
    pub ack: Option<(u64, Option<Duration>, Arc<Collector>)>,
    /// Names it if it can be sent again, to those who missed it.
    pub offset: Option<Offset>,
    /// When the turn began in which it was emitted, by the driver, if a shard has emitted it.
    pub begun: Option<Time>,
}

/// What the application keeps with a socket that may come back.
pub type SharedData = Arc<Mutex<Option<Box<dyn Any + Send>>>>;

/// What a client that wants its socket back asks for.
#[derive(Debug)]
pub struct Recover {
    /// Its secret.
    pub pid: PrivateId,
    /// The last event that it has received, if any.
    pub offset: Option<Offset>,
    /// The namespace.
    pub namespace: u16,
    /// Its new socket, which has not joined yet.
    pub asker: SocketAddress,
    /// How many times this was sent on.
    pub hops: u8,
}

/// The answer to [`Recover`].
pub struct Recovered {
    /// The new socket.
    pub asker: SocketAddress,
    /// What it has back, if anything.
    pub returning: Option<Returning>,
}

/// A socket that comes back.
pub struct Returning {
    /// The secret of its client.
    pub pid: PrivateId,
    /// The address that its handles have.
    pub address: SocketAddress,
    /// Its rooms, but for that of its own id.
    pub rooms: Vec<Target>,
    /// What the application keeps with it.
    pub data: SharedData,
    /// How often it has come back, this time included.
    pub moves: u32,
    /// Those events it has missed that its old shard has seen.
    pub missed: Vec<Missed>,
    /// What that shard has seen.
    pub seen: Seen,
}

/// Sockets of one namespace.
#[derive(Debug)]
pub struct Audience {
    /// The namespace.
    pub namespace: u16,
    /// Which of its sockets.
    pub selection: Selection,
}

/// One of the sockets that were asked for, as it was then.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub address: SocketAddress,
    /// The rooms it was in; that of its own id first.
    pub rooms: Vec<Target>,
    /// The request of its session, if it is kept.
    pub request: Option<Arc<[u8]>>,
    /// What it sent when it joined the namespace.
    pub auth: Option<Box<[u8]>>,
}

/// A change of many sockets of one namespace.
pub struct Members {
    /// The namespace.
    pub namespace: u16,
    /// Which of its sockets.
    pub selection: Selection,
    /// What becomes of them.
    pub change: Change,
}

/// What becomes of the members that are meant.
#[derive(Clone)]
pub enum Change {
    /// They join these rooms.
    Join(Vec<Target>),
    /// They leave these rooms.
    Leave(Vec<Target>),
    /// They are disconnected, with their whole session if true.
    Disconnect(bool),
}

/// An answer that is waited for.
pub struct Expected {
    /// The id of the packet.
    pub id: u64,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// Who gets it.
    pub waiter: Waiter,
}

/// Why an answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Not in time.
    Timeout,
    /// The socket is gone.
    Disconnected,
}

/// Who gets an answer.
pub enum Waiter {
    /// The answer of one socket.
    One(oneshot::Sender<Result<Raw, Unanswered>>),
    /// Those of many sockets, of which this is one.
    Many(Arc<Collector>, SocketAddress),
}

impl Waiter {
    /// Passes the answer on, or why there is none.
    pub fn resolve(self, answer: Result<Raw, Unanswered>) {
        match self {
            // Whoever asked may have lost interest; that is no fault.
            Waiter::One(sender) => drop(sender.send(answer)),
            Waiter::Many(collector, socket) => collector.add(socket, answer),
        }
    }
}

/// All answers to a broadcast.
#[derive(Debug, Default)]
pub struct Answers {
    /// Those that came, and from whom, in no particular order.
    pub answers: Vec<(SocketAddress, Raw)>,
    /// Who has not answered.
    pub missing: Vec<SocketAddress>,
}

/// Gathers the answers to a broadcast from every shard.
pub struct Collector(Mutex<Collecting>);

struct Collecting {
    /// Shards that have not said yet how many sockets they have asked.
    shards: usize,
    /// Sockets that may still answer.
    pending: usize,
    result: Answers,
    sender: Option<oneshot::Sender<Answers>>,
}

impl Collector {
    /// A collector of the answers of so many shards' sockets.
    pub fn new(shards: usize) -> (Arc<Collector>, oneshot::Receiver<Answers>) {
        let (sender, receiver) = oneshot::channel();
        let result = Answers::default();
        let collecting = Collecting { shards, pending: 0, result, sender: Some(sender) };
        (Arc::new(Collector(Mutex::new(collecting))), receiver)
    }

    /// A shard has asked so many sockets.
    pub fn asked(&self, sockets: usize) {
        self.update(|collecting| {
            collecting.shards = collecting.shards.saturating_sub(1);
            collecting.pending += sockets;
        });
    }

    fn add(&self, socket: SocketAddress, answer: Result<Raw, Unanswered>) {
        self.update(|collecting| {
            collecting.pending = collecting.pending.saturating_sub(1);
            match answer {
                Ok(answer) => collecting.result.answers.push((socket, answer)),
                Err(_) => collecting.result.missing.push(socket),
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut Collecting)) {
        // A poisoned lock means that a waker panicked below; the counts were complete by then.
        let mut collecting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut collecting);
        if collecting.shards > 0 || collecting.pending > 0 {
            return;
        }
        let result = std::mem::take(&mut collecting.result);
        let sender = collecting.sender.take();
        drop(collecting);
        if let Some(sender) = sender {
            drop(sender.send(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Raw {
        Raw::default()
    }

    fn socket(index: u32) -> SocketAddress {
        SocketAddress { nonce: 0, index, shard: 0, namespace: 0 }
    }

    #[test]
    fn b24_19_nobody_asked_is_answered_at_once() {
        let (collector, mut receiver) = Collector::new(2);
        collector.asked(0);
        assert!(receiver.try_recv().unwrap().is_none());
        collector.asked(0);
        let answers = receiver.try_recv().unwrap().unwrap();
        assert_eq!((answers.answers.len(), answers.missing.len()), (0, 0));
    }

    #[test]
    fn b24_15_b24_16_every_answer_counts_and_so_does_every_missing_one() {
        let (collector, mut receiver) = Collector::new(2);
        collector.asked(2);
        collector.add(socket(1), Ok(answer()));
        collector.add(socket(2), Err(Unanswered::Timeout));
        assert!(receiver.try_recv().unwrap().is_none(), "the other shard has not spoken");
        collector.asked(1);
        collector.add(socket(3), Ok(answer()));
        let answers = receiver.try_recv().unwrap().unwrap();
        let from: Vec<u32> = answers.answers.iter().map(|(socket, _)| socket.index).collect();
        assert_eq!((from, answers.missing), (vec![1, 3], vec![socket(2)]));
    }
}
