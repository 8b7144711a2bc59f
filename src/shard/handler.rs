//! Handlers as a shard runs them: one type, whatever arguments they were written with.
//!
//! A handler is registered from any thread, as a recipe; each shard makes its own from it, which
//! need not be `Send`. It is polled once in place when its event is dispatched. Only a handler that
//! waits is parked, as a task of the shard.

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::base::slab::Key;
use crate::command::{Expected, SocketAddress, Waiter};
use crate::proto::socket::DisconnectReason;

use super::context::Context;

/// What a handler is called with.
pub struct Event<'a> {
    /// The shard it runs on.
    pub context: &'a Rc<Context>,
    /// The socket, on a server with namespaces.
    pub socket: Option<SocketAddress>,
    /// The session, on a server without.
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
    /// Why the socket or session has gone.
    pub reason: Option<DisconnectReason>,
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

/// Why a connection to a namespace is refused.
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

/// The handlers of one namespace on one shard.
#[derive(Default)]
pub struct Handlers {
    /// In the order in which they run.
    pub middlewares: Vec<Middleware>,
    /// For each new socket.
    pub connect: Vec<Handler>,
    /// For each socket that has gone.
    pub disconnect: Vec<Handler>,
    /// By event.
    pub events: Events,
    /// For engine messages, on a server without namespaces.
    pub message: Vec<Handler>,
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
}

impl FromIterator<(Box<str>, Rc<[Handler]>)> for Events {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Rc<[Handler]>)>>(events: I) -> Events {
        let mut events: Vec<_> = events.into_iter().collect();
        events.sort_unstable_by(|(one, _), (other, _)| order(one).cmp(&order(other)));
        Events(events)
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
    connect: Vec<HandlerRecipe>,
    disconnect: Vec<HandlerRecipe>,
    events: HashMap<Box<str>, Vec<HandlerRecipe>>,
    message: Vec<HandlerRecipe>,
}

/// Which event a handler is for.
pub enum Trigger<'a> {
    /// A new socket or session.
    Connect,
    /// A socket or session that has gone.
    Disconnect,
    /// An event by name.
    Event(&'a str),
    /// An engine message.
    Message,
}

/// A namespace as all shards know it.
pub struct Definition {
    /// Its index.
    pub index: u16,
    /// Its name.
    pub name: Box<str>,
    /// The id of the next packet that wants an answer (protocol.md §14.6): one count for all
    /// sockets, so that a broadcast that wants answers is encoded once, too.
    next_packet_id: AtomicU64,
    recipes: RwLock<Recipes>,
}

impl Definition {
    /// A namespace without handlers.
    pub fn new(index: u16, name: &str) -> Definition {
        Definition {
            index,
            name: name.into(),
            next_packet_id: AtomicU64::new(0),
            recipes: RwLock::default(),
        }
    }

    /// The id of a packet that wants an answer.
    pub fn packet_id(&self) -> u64 {
        self.next_packet_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The answer to a packet that wants one, with the id of that packet.
    pub fn expected(&self, timeout: Option<Duration>, waiter: Waiter) -> Expected {
        Expected { id: self.packet_id(), timeout, waiter }
    }

    /// Registers a handler; it runs after those that were registered for the same event before.
    pub fn add_handler(&self, trigger: &Trigger<'_>, recipe: HandlerRecipe) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        match trigger {
            Trigger::Connect => recipes.connect.push(recipe),
            Trigger::Disconnect => recipes.disconnect.push(recipe),
            Trigger::Message => recipes.message.push(recipe),
            Trigger::Event(name) => recipes.events.entry((*name).into()).or_default().push(recipe),
        }
    }

    /// Registers a middleware; it runs after those that were registered before.
    pub fn add_middleware(&self, recipe: MiddlewareRecipe) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        recipes.middlewares.push(recipe);
    }

    /// Forgets all handlers, with what they have captured: often the server itself.
    pub fn forget_handlers(&self) {
        let mut recipes = self.recipes.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *recipes);
        drop(recipes);
        // Dropping them is user code, which may ask this namespace something.
        drop(forgotten);
    }

    /// Makes one shard's handlers.
    pub fn handlers(&self) -> Handlers {
        let recipes = self.recipes.read().unwrap_or_else(PoisonError::into_inner);
        let make = |list: &[HandlerRecipe]| list.iter().map(|recipe| recipe()).collect();
        let events = recipes.events.iter();
        Handlers {
            middlewares: recipes.middlewares.iter().map(|recipe| recipe()).collect(),
            connect: make(&recipes.connect),
            disconnect: make(&recipes.disconnect),
            message: make(&recipes.message),
            events: events
                .map(|(name, list)| (name.clone(), make(list).into_iter().collect()))
                .collect(),
        }
    }
}
