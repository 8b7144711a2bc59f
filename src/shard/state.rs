//! Everything that one shard owns, but its driver. No user code runs while it is borrowed.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::base::clock::Time;
use crate::base::frame::Frame;
use crate::base::id::PrivateId;
use crate::base::slab::{Key, Slab};
use crate::base::stats::Stats;
use crate::command::{Command, DrainError, Recover, SocketAddress, Visit, Waiter};
use crate::fanout::Encoder;
use crate::metrics::Counts;
use crate::proto::engine::Protocol;
use crate::proto::engine_v3::Form;
use crate::proto::http::Compressor;
use crate::room::Memberships;
use crate::session::ack::Acks;
use crate::session::departure::{Cause, Departure};
use crate::session::{Effect, Options, Session};

use super::addresses::Entered;
use super::batch::Batch;
use super::budget::Budget;
use super::compression::Compression;
use super::conn::Conn;
use super::drains::{DrainWaiter, Drains};
use super::events::{Happening, SessionListeners};
use super::hooks::{ConnectionError, Followed};
use super::join::Question;
use super::joined::Joined;
use super::listeners::Listeners;
use super::namespaces::Namespaces;
use super::pongs::Pongs;
use super::pressure::Patience;
use super::progress::Progress;
use super::queue::{Outgoing, Spare};
use super::recovery::{Recoverable, Recovery};
use super::registry::Candidate;
use super::rooms::RoomChange;
use super::share::Surplus;
use super::shared::{ExpiredSession, Shared};
use super::stopwatch::Stopwatch;
use super::timer::{Armed, Owner, Timers};

/// A session with its entry among the timers.
pub struct SessionEntry {
    /// The session.
    pub session: Session,
    /// Its entry.
    pub armed: Armed,
}

/// One Socket.IO socket.
pub struct Socket {
    /// What no other socket of the server has.
    pub nonce: u64,
    /// Its session.
    pub session: Key,
    /// Its namespace.
    pub namespace: u16,
    /// How far it has come.
    pub phase: SocketPhase,
    /// Position in its namespace's list.
    pub position: u32,
    /// Its rooms.
    pub memberships: Memberships,
    /// Everything that most sockets do not have.
    pub extra: Option<Box<Extra>>,
}

impl Socket {
    /// With what its client can ask for it once more.
    pub fn pid(&self) -> Option<PrivateId> {
        Some(self.extra.as_ref()?.recovery.as_ref()?.pid)
    }
}

/// What a socket has only if it is used.
#[derive(Default)]
pub struct Extra {
    /// The payload of its CONNECT packet, if it was not empty.
    pub auth: Option<Box<[u8]>>,
    /// What the application has put there.
    pub data: Option<Box<dyn Any + Send>>,
    /// What it has in case that it goes and comes back.
    pub recovery: Option<Box<Recoverable>>,
    /// The answers it owes us.
    pub acks: Acks<Waiter>,
    /// Their entry among the timers.
    pub acks_armed: Armed,
    /// The request of a session that is gone.
    pub request: Option<Arc<[u8]>>,
    /// What it listens to by itself.
    pub listeners: Option<Box<Listeners>>,
}

/// How far a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketPhase {
    /// Its middlewares run.
    Connecting,
    /// It is connected.
    Connected,
    /// It takes no packets any more, but is still in its rooms: its handlers are being told.
    Leaving,
    /// It has gone; its disconnect handlers may still run.
    Gone,
}

/// User code that is due, to be run when the state is not borrowed.
pub enum Job {
    /// A client asks to join a namespace.
    Connect(SocketAddress),
    /// The client of a session asks for a namespace that nobody has made.
    Decide(Key, Candidate),
    /// A socket is about to go.
    Disconnecting(Key, Departure),
    /// A socket has gone.
    Disconnect(Key, Departure),
    /// A client that was away wants its socket back.
    Recover(Box<Recover>),
    /// A socket was kept for nothing.
    SessionExpired(ExpiredSession),
    /// A socket is sent these packets, and there are listeners of that.
    Outgoing(SocketAddress, Frame),
    /// A session has opened, and somebody is to be told.
    EngineOpen(Key),
    /// A session of a server without namespaces has gone.
    EngineClose(Key, Departure),
    /// Something of a session has happened to which somebody listens.
    Session(Box<Happening>),
    /// An answer has come, or will not.
    Resolve(Waiter, Result<crate::proto::json::Raw, crate::command::Unanswered>),
    /// What they waited for has been sent, or never will be.
    Drained(Vec<DrainWaiter>, Result<(), DrainError>),
    /// A room has changed, and somebody hears of that.
    Room(Box<RoomChange>),
    /// A task has nothing to wait for any more.
    Wake(Waker),
    /// Something of the application, asked for on another shard or thread.
    Visit(Visit),
    /// What the application had put into a socket, or registered, is dropped.
    Drop(Box<dyn Any>),
    /// A request was refused.
    ConnectionError(Box<ConnectionError>),
    /// A command for a shard that has ended: nobody must wait for what its sockets would have said.
    Lost(Command),
}

/// Something only the driver can do.
#[derive(Debug)]
pub enum Action {
    /// Close a connection.
    Close(Key),
    /// Say that nothing more will be sent.
    Shutdown(Key),
    /// Begin to hand a connection over.
    Detach(Key),
    /// Receive nothing more on a connection, for now.
    Pause(Key),
    /// Receive on a connection again.
    Receive(Key),
}

/// Packets of a POST that wait for the next turn.
pub struct Backlog {
    /// The connection of the POST.
    pub connection: Key,
    /// The session.
    pub session: Key,
    /// What the payload is written in.
    pub protocol: Protocol,
    /// Its form, for protocol 3.
    pub form: Form,
    /// The whole payload.
    pub body: Vec<u8>,
    /// Where the next packet begins; beyond the body when there is none.
    pub offset: usize,
    /// Packets worked off.
    pub count: usize,
}

/// A task that sleeps.
#[derive(Default)]
pub struct Sleeper {
    /// Wakes it.
    pub waker: Option<Waker>,
    /// Its entry among the timers.
    pub armed: Armed,
}

/// The state of one shard.
pub struct State {
    /// Which one.
    pub index: u16,
    /// The server.
    pub shared: Arc<Shared>,
    /// The options of its sessions, at hand without an atomic count.
    pub options: Rc<Options>,
    /// The time of this turn.
    pub now: Time,
    /// How much may wait for a client in this turn.
    pub(super) patience: Patience,
    /// The connections of the driver, at its keys.
    pub connections: Slab<Conn>,
    /// The Engine.IO sessions.
    pub sessions: Slab<SessionEntry>,
    /// Those whose id is that of a socket, by the nonce of it.
    pub sessions_of_sockets: HashMap<u64, Key>,
    /// The Socket.IO sockets.
    pub sockets: Slab<Socket>,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The names that sessions have asked for, about which parents have not decided yet.
    pub undecided: HashMap<Key, Vec<Question>>,
    /// What the application has to say about requests.
    pub hooks: Followed,
    /// Deadlines.
    pub timers: Timers,
    /// Sleeping tasks.
    pub sleepers: Slab<Sleeper>,
    /// Connections with something to send.
    pub dirty: VecDeque<Key>,
    /// Polling sessions with something to answer.
    pub dirty_sessions: Vec<Key>,
    /// Connections whose input can go on.
    pub resumed: VecDeque<Key>,
    /// POSTs that wait for the next turn.
    pub backlog: VecDeque<Backlog>,
    /// The connection whose latest packet could not be decoded: its POST is answered 400.
    pub last_undecodable: Option<Key>,
    /// User code that is due.
    pub jobs: VecDeque<Job>,
    /// What the driver has to do.
    pub actions: Vec<Action>,
    /// Commands for shards whose mailbox was full.
    pub outbox: Vec<VecDeque<Command>>,
    /// Boxes for queues.
    pub spare: Spare,
    /// What the connections that are being flushed have in common.
    pub joined: Joined,
    /// Makes packets.
    pub encoder: Encoder,
    /// Compresses them, on a server that does.
    pub compression: Option<Box<Compression>>,
    /// Compresses answers to polls.
    pub bodies: Compressor,
    /// Effects of the session at hand.
    pub effects: Vec<Effect>,
    /// Broadcasts that are not in their recipients' queues yet.
    pub batch: Batch,
    /// What it keeps so that clients can come back, if they may.
    pub recovery: Option<Box<Recovery>>,
    /// Sockets that listen to what they are sent.
    pub outgoing_listeners: usize,
    /// Who listens to sessions.
    pub session_listeners: SessionListeners,
    /// Who waits until sessions have been sent what is queued for them.
    pub drains: Drains,
    /// Pings that are to be answered.
    pub pongs: Pongs,
    /// Whom connections are from, where that is limited.
    pub sites: HashMap<Key, Entered>,
    /// What clients may send, where that is limited.
    pub budgets: HashMap<Key, Budget>,
    /// Events whose handlers wait.
    pub progress: Progress,
    /// What connections have sent beyond their share of a turn.
    pub surplus: Surplus,
    /// What is known of the end of the session at hand, while it is being ended.
    pub cause: Cause,
    /// Whether those who listen to what is sent are being told: what they send themselves is not
    /// told again, which would never end.
    pub is_telling: bool,
    /// Sockets chosen by the selection at hand.
    pub chosen: Vec<u32>,
    /// Random bytes for ids, filled by the driver.
    pub random: VecDeque<u8>,
    /// Whether no session is opened any more.
    pub is_draining: bool,
    /// Whether the sessions have been told that the server closes.
    pub is_closing: bool,
    /// Counters.
    pub stats: Stats,
    /// More of them, for metrics alone.
    pub counts: Counts,
    /// The broadcast whose time is taken.
    pub stopwatch: Stopwatch,
}

impl State {
    /// The state of a shard that has seen nothing.
    pub fn new(index: u16, shards: usize, shared: Arc<Shared>) -> State {
        let deflate = shared.settings.per_message_deflate;
        let recovery = shared.has_recovery().then(Box::default);
        State {
            index,
            compression: deflate.map(|options| Box::new(Compression::new(options))),
            options: Rc::new(shared.settings.options.clone()),
            patience: Patience::of(&shared.settings.options.limits),
            shared,
            now: Time::ZERO,
            connections: Slab::new(),
            sessions: Slab::new(),
            sessions_of_sockets: HashMap::new(),
            sockets: Slab::new(),
            namespaces: Namespaces::default(),
            undecided: HashMap::new(),
            hooks: Followed::default(),
            timers: Timers::default(),
            sleepers: Slab::new(),
            dirty: VecDeque::new(),
            dirty_sessions: Vec::new(),
            resumed: VecDeque::new(),
            backlog: VecDeque::new(),
            last_undecodable: None,
            jobs: VecDeque::new(),
            actions: Vec::new(),
            outbox: (0..shards).map(|_| VecDeque::new()).collect(),
            spare: Spare::default(),
            joined: Joined::default(),
            encoder: Encoder::default(),
            bodies: Compressor::default(),
            effects: Vec::new(),
            batch: Batch::default(),
            recovery,
            outgoing_listeners: 0,
            session_listeners: SessionListeners::default(),
            drains: Drains::default(),
            pongs: Pongs::default(),
            sites: HashMap::new(),
            budgets: HashMap::new(),
            progress: Progress::default(),
            surplus: Surplus::default(),
            cause: Cause::default(),
            is_telling: false,
            chosen: Vec::new(),
            random: VecDeque::new(),
            is_draining: false,
            is_closing: false,
            stats: Stats::default(),
            counts: Counts::default(),
            stopwatch: Stopwatch::default(),
        }
    }

    /// Makes the handlers anew if a registration has changed.
    pub fn follow_registrations(&mut self) {
        for handlers in self.namespaces.follow(&self.shared.registry) {
            self.jobs.push_back(Job::Drop(Box::new(handlers)));
        }
    }

    /// The socket of an address, unless it is another one's by now.
    pub fn socket_key(&self, address: SocketAddress) -> Option<Key> {
        if let Some(key) = self.adopted(address.nonce) {
            return Some(key);
        }
        let key = self.sockets.key_at(address.index)?;
        let socket = self.sockets.get(key)?;
        (socket.nonce == address.nonce).then_some(key)
    }

    /// The address of a socket.
    pub fn address(&self, key: Key) -> Option<SocketAddress> {
        let socket = self.sockets.get(key)?;
        if self.recovery.is_some()
            && let Some(extra) = &socket.extra
            && let Some(recoverable) = &extra.recovery
            && recoverable.address.is_some()
        {
            return recoverable.address;
        }
        Some(SocketAddress {
            nonce: socket.nonce,
            index: key.index,
            shard: self.index,
            namespace: socket.namespace,
        })
    }

    /// Random bytes for an id; the driver has put enough aside for a turn's worth of them.
    pub fn random_bytes<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        if self.random.len() < COUNT {
            return None;
        }
        let mut bytes = [0; COUNT];
        bytes.iter_mut().zip(self.random.drain(..COUNT)).for_each(|(to, from)| *to = from);
        Some(bytes)
    }

    /// Sends bytes on a connection, behind what waits there.
    pub fn push(&mut self, connection: Key, frame: Frame) {
        self.queue_batch();
        let Some(conn) = self.connections.get_mut(connection) else { return };
        conn.queue.push(frame, &mut self.spare);
        conn.mark_dirty(connection, &mut self.dirty);
    }

    /// Sends packets on a WebSocket, behind what waits there.
    pub fn push_packets(&mut self, connection: Key, frame: Frame) {
        self.queue_batch();
        let Some(conn) = self.connections.get_mut(connection) else { return };
        let packet = match &mut self.compression {
            Some(compression) => compression.frame(connection, &conn.role, &frame),
            None => frame,
        };
        conn.queue.push(packet, &mut self.spare);
        conn.mark_dirty(connection, &mut self.dirty);
    }

    /// Sends an Engine.IO packet that is no message on a WebSocket.
    pub fn push_text(&mut self, connection: Key, packet: &str) {
        self.queue_batch();
        let Some(conn) = self.connections.get_mut(connection) else { return };
        conn.queue.add(Outgoing::Own(self.encoder.control(packet.as_bytes())), &mut self.spare);
        conn.mark_dirty(connection, &mut self.dirty);
    }

    /// Makes sure that a connection is looked at when its deadline has come.
    pub fn rearm_connection(&mut self, key: Key) {
        if let Some(conn) = self.connections.get_mut(key) {
            conn.armed.arm(conn.deadline, Owner::Connection(key.index), &mut self.timers);
        }
    }

    /// Makes sure that a session is looked at when its deadline has come.
    pub fn rearm_session(&mut self, key: Key) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.armed.arm(entry.session.deadline(), Owner::Session(key.index), &mut self.timers);
        }
    }

    /// Forgets a connection and closes it at once; its session is told by the caller, if at all.
    pub fn drop_connection(&mut self, key: Key) {
        self.queue_batch();
        self.leave_site(key);
        self.surplus.forget(key);
        self.pongs.forget(key);
        if let Some(mut conn) = self.connections.remove(key) {
            self.shared.places.give_back();
            conn.queue.clear(&mut self.spare);
            if let Some(compression) = &mut self.compression {
                compression.connection_ends(key, &self.shared.contexts);
            }
            self.actions.push(Action::Close(key));
        }
    }

    /// Puts a command into a shard's mailbox, behind those that did not fit before.
    pub fn post(&mut self, shard: usize, command: Command) {
        let posts = self.shared.posts();
        let (Some(post), Some(outbox)) = (posts.get(shard), self.outbox.get_mut(shard)) else {
            return;
        };
        if !outbox.is_empty() {
            return outbox.push_back(command);
        }
        if let Err(command) = post.mailbox.post(command) {
            if post.mailbox.is_closed() {
                return self.jobs.push_back(Job::Lost(command));
            }
            self.stats.mailbox_overflows += 1;
            outbox.push_back(command);
        }
    }

    /// Tries again what did not fit into other shards' mailboxes. Answers whether some still waits.
    pub fn retry_outbox(&mut self) -> bool {
        let posts = self.shared.posts();
        for (post, outbox) in posts.iter().zip(&mut self.outbox) {
            while let Some(command) = outbox.pop_front() {
                let Err(command) = post.mailbox.post(command) else { continue };
                if post.mailbox.is_closed() {
                    self.jobs.push_back(Job::Lost(command));
                } else {
                    outbox.push_front(command);
                    break;
                }
            }
        }
        self.outbox.iter().any(|outbox| !outbox.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_within_the_memory_budget() {
        assert!(size_of::<SessionEntry>() <= 136, "{}", size_of::<SessionEntry>());
        assert!(size_of::<Socket>() <= 56, "{}", size_of::<Socket>());
    }
}
