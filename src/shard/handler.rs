//! Handlers as a shard runs them: one type, whatever arguments they were written with.
//!
//! A handler is registered from any thread, as a recipe; each shard makes its own from it, which
//! need not be `Send`. It is polled once in place when its event is dispatched. Only a handler that
//! waits is parked, as a task of the shard.

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::base::id::SocketId;
use crate::base::slab::Key;
use crate::command::{Expected, SocketAddress, Waiter};
use crate::session::departure::Departure;

use super::context::Context;
use super::events::PacketKind;
use super::lag::Lagged;
use super::registry::{Candidate, Matcher};

/// What a handler is called with.
pub struct Event<'a> {
    /// The shard it runs on.
    pub context: &'a Rc<Context>,
    /// The socket, on a server with namespaces.
    pub socket: Option<SocketAddress>,
    /// The session, if it is one that something happens to.
    pub session: Option<Key>,
    /// The name of the event; empty for connection and disconnection.
    pub name: &'a str,
    /// The arguments: JSON without the brackets, or an Engine.IO message.
    pub args: &'a [u8],
    /// The binary values that the arguments refer to.
    pub attachments: &'a [Bytes],
    /// Whether `args` is a binary Engine.IO message.
    pub is_binary: bool,
    /// The acknowledgement that the client asks for.
    pub ack: Option<AckTarget>,
    /// The type of the Engine.IO packet, for listeners of those.
    pub packet: Option<PacketKind>,
    /// Why the socket or session has gone.
    pub departure: Option<Departure>,
    /// Why a middleware has refused the event.
    pub refused: Option<&'a Refused>,
    /// How far the client is behind.
    pub lagged: Option<Lagged>,
}

/// An acknowledgement that a client asks for.
#[derive(Clone, Debug)]
pub struct AckTarget {
    /// The id of its packet.
    pub id: u64,
    /// Set when one of several handlers of the event has answered.
    pub used: Option<Arc<AtomicBool>>,
}

/// A handler that has begun and waits.
pub type Parked = Pin<Box<dyn Future<Output = ()>>>;

/// What became of a handler at its first poll.
pub enum Started {
    /// It has finished.
    Done,
    /// The event does not have what it asks for; it has not begun.
    Rejected,
    /// It waits.
    Waiting(Parked),
}

/// A handler of one shard.
pub type Handler = Rc<dyn Fn(&mut Event<'_>) -> Started>;

/// Why a connection to a namespace, or an event, is refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The `message` that the client is told.
    pub message: String,
    /// The `data` that the client is told, as JSON.
    pub data: Option<Vec<u8>>,
}

/// What a middleware has decided.
pub type Decision = Pin<Box<dyn Future<Output = Result<(), Refused>>>>;

/// A middleware of one shard.
pub type Middleware = Rc<dyn Fn(&mut Event<'_>) -> Decision>;

/// Makes a shard's own handler.
pub type HandlerRecipe = Arc<dyn Fn() -> Handler + Send + Sync>;

/// Makes a shard's own middleware.
pub type MiddlewareRecipe = Arc<dyn Fn() -> Middleware + Send + Sync>;

/// The handlers of one namespace on one shard, each list in the order in which they run.
#[derive(Default)]
pub struct Handlers {
    /// Asked before a socket joins.
    pub middlewares: Vec<Middleware>,
    /// For each new socket.
    pub connect: Vec<Handler>,
    /// For each socket that is about to go.
    pub disconnecting: Vec<Handler>,
    /// For each socket that has gone.
    pub disconnect: Vec<Handler>,
    /// For every event that comes, before those of the event.
    pub any: Vec<Handler>,
    /// For every event that a socket is sent.
    pub any_outgoing: Vec<Handler>,
    /// Asked before the handlers of an event.
    pub packet_middlewares: Vec<Middleware>,
    /// For each event that was refused.
    pub refused: Vec<Handler>,
    /// By event.
    pub events: Events,
    /// For engine messages, on a server without namespaces.
    pub message: Vec<Handler>,
    /// For each new session, of those of `/` alone.
    pub session: Vec<Handler>,
    /// Told of what becomes of rooms.
    pub rooms: Vec<(RoomEvent, RoomListener)>,
}

/// What may become of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// It has got its first member.
    Create,
    /// A socket has joined it.
    Join,
    /// A socket has left it.
    Leave,
    /// Its last member has left it.
    Delete,
}

/// Told of a room, and of the socket that has joined or left it.
pub type RoomListener = Arc<dyn Fn(&str, SocketId) + Send + Sync>;

impl Handlers {
    /// Whether there are some that hear of events whatever their names.
    pub fn hear_of_all(&self) -> bool {
        !self.any.is_empty() || !self.packet_middlewares.is_empty()
    }
}

/// The handlers of events, in the order of their names. An application has few names, and looks one
/// up for each event that comes: comparing lengths, and then a name or two, takes less than a hash
/// that nobody can aim at.
#[derive(Default)]
pub struct Events(Vec<(Box<str>, Rc<[Handler]>)>);

impl Events {
    /// The handlers of an event.
    pub fn of(&self, name: &str) -> Option<&Rc<[Handler]>> {
        let found = self.0.binary_search_by(|(other, _)| order(other).cmp(&order(name)));
        found.ok().map(|index| &self.0[index].1)
    }

    /// Adds handlers of an event, behind those that are there.
    fn add(&mut self, name: &str, handlers: impl Iterator<Item = Handler>) {
        match self.0.binary_search_by(|(other, _)| order(other).cmp(&order(name))) {
            Ok(at) => {
                let list = &mut self.0[at].1;
                *list = list.iter().cloned().chain(handlers).collect();
            }
            Err(at) => self.0.insert(at, (name.into(), handlers.collect())),
        }
    }
}

/// Lengths first: most names differ in them.
fn order(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// What was registered for a namespace.
#[derive(Default)]
pub struct Recipes {
    middlewares: Vec<MiddlewareRecipe>,
    packet_middlewares: Vec<MiddlewareRecipe>,
    handlers: HashMap<Trigger, Vec<HandlerRecipe>>,
    rooms: Vec<(RoomEvent, RoomListener)>,
}

/// What a handler is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// A new socket or session.
    Connect,
    /// A socket that is about to go.
    Disconnecting,
    /// A socket or session that has gone.
    Disconnect,
    /// An event by name.
    Event(Box<str>),
    /// Every event that comes.
    Any,
    /// Every event that a socket is sent.
    AnyOutgoing,
    /// An event that a middleware has refused.
    Refused,
    /// An engine message.
    Message,
    /// A new session.
    Session,
}

/// Where in the list of those that are there a handler is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before them.
    First,
    /// Behind them.
    Last,
}

/// What a middleware is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A socket that wants to join.
    Connection,
    /// An event.
    Packet,
}

/// A namespace as all shards know it.
pub struct Definition {
    /// Its index; that of a parent is none.
    pub index: u16,
    /// Its name.
    pub name: Box<str>,
    kind: Kind,
    stage: AtomicU8,
    /// The id of the next packet that wants an answer (protocol.md §14.6): one count for all
    /// sockets, so that a broadcast that wants answers is encoded once, too.
    next_packet_id: AtomicU64,
    recipes: RwLock<Recipes>,
    /// By room, the shards that have a member of it; only while somebody hears of rooms.
    rooms: Mutex<HashMap<Box<str>, u16>>,
}

/// What a namespace is.
enum Kind {
    /// It was made by name.
    Named,
    /// It decides about names that nobody has made, until the server has ended.
    Parent(RwLock<Option<Matcher>>),
    /// It was made because a parent took its name. It has so many sockets, on all shards.
    Child(Arc<Definition>, AtomicUsize),
}

/// The application is being told of a namespace: nobody may enter it yet.
const BEING_MADE: u8 = 0;
/// Clients may enter it.
const OPEN: u8 = 1;
/// It was removed.
const GONE: u8 = 2;

impl Definition {
    /// A namespace without handlers of its own.
    pub fn new(index: u16, name: &str, parent: Option<Arc<Definition>>) -> Definition {
        Definition::of_kind(
            index,
            name,
            match parent {
                Some(parent) => Kind::Child(parent, AtomicUsize::new(0)),
                None => Kind::Named,
            },
        )
    }

    /// A parent without handlers.
    pub fn parent(name: &str, matcher: Matcher) -> Definition {
        Definition::of_kind(u16::MAX, name, Kind::Parent(RwLock::new(Some(matcher))))
    }

    /// A namespace that no shard has, so that nobody is in it.
    pub fn nowhere() -> Arc<Definition> {
        Arc::new(Definition::of_kind(u16::MAX, "/", Kind::Named))
    }

    fn of_kind(index: u16, name: &str, kind: Kind) -> Definition {
        Definition {
            index,
            name: name.into(),
            kind,
            stage: AtomicU8::new(BEING_MADE),
            next_packet_id: AtomicU64::new(0),
            recipes: RwLock::default(),
            rooms: Mutex::default(),
        }
    }

    /// Whether it decides about other names.
    pub fn is_parent(&self) -> bool {
        matches!(self.kind, Kind::Parent(_))
    }

    /// The parent whose child it is.
    pub fn parent_of(&self) -> Option<&Arc<Definition>> {
        match &self.kind {
            Kind::Child(parent, _) => Some(parent),
            Kind::Named | Kind::Parent(_) => None,
        }
    }

    /// Whether clients may enter it.
    pub fn is_open(&self) -> bool {
        self.stage.load(Ordering::Acquire) == OPEN
    }

    /// Whether it was removed: its index may be that of another one.
    pub fn is_gone(&self) -> bool {
        self.stage.load(Ordering::Acquire) == GONE
    }

    /// The application knows of it.
    pub fn open(&self) {
        self.stage.store(OPEN, Ordering::Release);
    }

    /// It is removed.
    pub fn close(&self) {
        self.stage.store(GONE, Ordering::Release);
    }

    /// Whether it is a parent with a pattern, which a name matches.
    pub fn matches(&self, name: &str) -> bool {
        matches!(self.matcher(), Some(Matcher::Pattern(pattern)) if pattern.is_match(name))
    }

    /// Whether it is a parent that takes a candidate.
    pub async fn takes(&self, candidate: &Candidate) -> bool {
        match self.matcher() {
            Some(Matcher::Pattern(pattern)) => pattern.is_match(&candidate.name),
            Some(Matcher::Predicate(ask)) => ask(candidate.clone()).await,
            None => false,
        }
    }

    fn matcher(&self) -> Option<Matcher> {
        match &self.kind {
            Kind::Parent(matcher) => matcher.read().unwrap_or_else(PoisonError::into_inner).clone(),
            Kind::Named | Kind::Child(..) => None,
        }
    }

    /// A child has one socket more.
    pub fn enter(&self) {
        if let Kind::Child(_, sockets) = &self.kind {
            sockets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A child has one socket less. Answers whether it was the last one.
    pub fn leave(&self) -> bool {
        match &self.kind {
            Kind::Child(_, sockets) => sockets.fetch_sub(1, Ordering::Relaxed) == 1,
            Kind::Named | Kind::Parent(_) => false,
        }
    }

    /// Whether it is a child without sockets.
    pub fn is_empty_child(&self) -> bool {
        matches!(&self.kind, Kind::Child(_, sockets) if sockets.load(Ordering::Relaxed) == 0)
    }

    /// Whether it is a child for which nothing was registered: its handlers are its parent's.
    pub fn is_plain_child(&self) -> bool {
        let recipes = self.recipes.read().unwrap_or_else(PoisonError::into_inner);
        self.parent_of().is_some() && recipes.is_empty()
    }

    /// The id of a packet that wants an answer.
    pub fn packet_id(&self) -> u64 {
        self.next_packet_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The answer to a packet that wants one, with the id of that packet.
    pub fn expected(&self, timeout: Option<Duration>, waiter: Waiter) -> Expected {
        Expected { id: self.packet_id(), timeout, waiter }
    }

    /// Registers a handler.
    pub fn add_handler(&self, trigger: Trigger, place: Place, recipe: HandlerRecipe) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        let list = recipes.handlers.entry(trigger).or_default();
        match place {
            Place::First => list.insert(0, recipe),
            Place::Last => list.push(recipe),
        }
    }

    /// Forgets the handlers of one kind. Answers whether there were any.
    pub fn remove_handlers(&self, trigger: &Trigger) -> bool {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        let removed = recipes.handlers.remove(trigger);
        drop(recipes);
        // Dropping them is user code, which may ask this namespace something.
        removed.is_some()
    }

    /// Registers a middleware; it runs after those that were registered before.
    pub fn add_middleware(&self, gate: Gate, recipe: MiddlewareRecipe) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        match gate {
            Gate::Connection => recipes.middlewares.push(recipe),
            Gate::Packet => recipes.packet_middlewares.push(recipe),
        }
    }

    /// Registers a listener of its rooms.
    pub fn add_room_listener(&self, event: RoomEvent, listener: RoomListener) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        recipes.rooms.push((event, listener));
    }

    /// A shard has got the first member of a room. Answers whether no other shard had one.
    pub fn room_begins(&self, room: &str) -> bool {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = rooms.entry(room.into()).or_default();
        *shards += 1;
        *shards == 1
    }

    /// A shard has lost the last member of a room. Answers whether no other shard has one.
    pub fn room_ends(&self, room: &str) -> bool {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shards) = rooms.get_mut(room) else { return false };
        *shards -= 1;
        let is_last = *shards == 0;
        if is_last {
            rooms.remove(room);
        }
        is_last
    }

    /// Forgets all handlers, and what decides about names, with what they have captured: often the
    /// server itself.
    pub fn forget_handlers(&self) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *recipes);
        drop(recipes);
        // Dropping them is user code, which may ask this namespace something.
        drop(forgotten);
        if let Kind::Parent(matcher) = &self.kind {
            let forgotten = matcher.write().unwrap_or_else(PoisonError::into_inner).take();
            drop(forgotten);
        }
    }

    /// Makes one shard's handlers: those of the parent, if there is one, and then its own.
    pub fn handlers(&self) -> Handlers {
        let mut handlers = self.parent_of().map(|parent| parent.handlers()).unwrap_or_default();
        self.recipes.read().unwrap_or_else(PoisonError::into_inner).add_to(&mut handlers);
        handlers
    }
}

impl Recipes {
    fn is_empty(&self) -> bool {
        self.middlewares.is_empty()
            && self.packet_middlewares.is_empty()
            && self.handlers.is_empty()
            && self.rooms.is_empty()
    }

    fn add_to(&self, handlers: &mut Handlers) {
        handlers.middlewares.extend(self.middlewares.iter().map(|recipe| recipe()));
        handlers.packet_middlewares.extend(self.packet_middlewares.iter().map(|recipe| recipe()));
        handlers.rooms.extend(self.rooms.iter().cloned());
        for (trigger, list) in &self.handlers {
            let made = list.iter().map(|recipe| recipe());
            match trigger {
                Trigger::Connect => handlers.connect.extend(made),
                Trigger::Disconnecting => handlers.disconnecting.extend(made),
                Trigger::Disconnect => handlers.disconnect.extend(made),
                Trigger::Any => handlers.any.extend(made),
                Trigger::AnyOutgoing => handlers.any_outgoing.extend(made),
                Trigger::Refused => handlers.refused.extend(made),
                Trigger::Message => handlers.message.extend(made),
                Trigger::Session => handlers.session.extend(made),
                Trigger::Event(name) => handlers.events.add(name, made),
            }
        }
    }
}
