//! What the shards of one server have in common: settings, namespaces, mailboxes.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_task::Runnable;
use bytes::Bytes;

use crate::base::address::ListenAddress;
use crate::base::id::SocketId;
use crate::base::network::Network;
use crate::base::offset::{Emitter, Offset};
use crate::base::shed::SendQueuePolicy;
use crate::command::Command;
use crate::driver::systemd;
use crate::mailbox::{Mailbox, ReadyQueue};
use crate::proto::http::{Cookie, Cors};
use crate::proto::parser::{Form, Message};
use crate::proto::websocket::DeflateOptions;
use crate::room::Target;
use crate::session::Options;
use crate::session::handshake::Offer;
#[cfg(feature = "tls")]
use crate::tls::Context;

use super::addresses::Addresses;
use super::aliases::Aliases;
use super::compression::ContextBudget;
use super::hand_over::Door;
use super::handler::Definition;
use super::hooks::{Hooks, Registered};
use super::log;
use super::moved::Moved;
use super::places::Places;
use super::pressure::Pressure;
use super::registry::Registry;
use super::watch::Pulse;

pub use super::bundle::{ClientFile, ClientFiles};

/// Answers requests outside the path of the server.
pub type Fallback = Arc<dyn Fn(::http::Request<Bytes>) -> ::http::Response<Bytes> + Send + Sync>;

/// Called by a shard when most of its clients have left.
pub type CrowdLeft = Arc<dyn Fn() + Send + Sync>;

/// Told of a namespace that was made.
pub type NamespaceListener = Arc<dyn Fn(&Arc<Shared>, &Arc<Definition>) + Send + Sync>;

/// A socket that was kept in case that its client comes back, which it has not.
#[derive(Clone, Debug)]
pub struct ExpiredSession {
    /// Its id.
    pub id: SocketId,
    /// The name of its namespace.
    pub namespace: Box<str>,
    /// The rooms it was in, but for the one that is named by its id.
    pub rooms: Vec<Target>,
}

/// Told of each of these.
pub type ExpiryListener = Arc<dyn Fn(&ExpiredSession) + Send + Sync>;

/// What a server was built with.
pub struct Settings {
    /// Timing and limits.
    pub options: Options,
    /// What the targets of requests that belong to the server begin with.
    pub path: String,
    /// Which pages of other sites may use the server.
    pub cors: Option<Cors>,
    /// The cookie of polling handshakes.
    pub cookie: Option<Cookie>,
    /// The message that is sent behind the open packet.
    pub initial_packet: Option<Message>,
    /// When a connection is closed whose request asks for an upgrade outside the path.
    pub destroy_upgrade: Option<Duration>,
    /// What is offered to those who ask for a session.
    pub offer: Offer,
    /// Whether an upgrade is advertised.
    pub allow_upgrades: bool,
    /// Whether the request that opened a session is kept.
    pub keep_handshake: bool,
    /// What is agreed on about compressed WebSocket messages, if they are.
    pub per_message_deflate: Option<DeflateOptions>,
    /// The proxies whose word on their clients is taken.
    pub trusted_proxies: Vec<Network>,
    /// Whether these begin every connection with the PROXY protocol.
    pub proxy_protocol: bool,
    /// What becomes of what clients do not take.
    pub send_queue_policy: SendQueuePolicy,
    /// Answers to polls with this many bytes are compressed, if any are.
    pub http_compression: Option<usize>,
    /// The files of the client bundle, if it is served.
    pub client: Option<ClientFiles>,
    /// Answers other paths.
    pub fallback: Option<Fallback>,
    /// Whether WebSockets outside the path are sent back what they say.
    pub echo_outside: bool,
    /// Called when most clients of a shard have left.
    pub crowd_left: Option<CrowdLeft>,
    /// Whether a child namespace goes with its last socket.
    pub cleanup_empty_child_namespaces: bool,
    /// Whether messages are Socket.IO packets.
    pub has_namespaces: bool,
    /// The form of these packets.
    pub form: Form,
    /// What handlers may ask for, by type.
    pub states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// Where the next process asks for what the server listens on.
    pub hand_over_at: Option<PathBuf>,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// How long a turn may take before the watchdog tells of it; `None`: there is no watchdog.
    pub watchdog: Option<Duration>,
    /// The permissions of the files of Unix sockets.
    pub unix_socket_mode: u32,
    /// Where those are answered who watch the server.
    pub metrics: Option<ListenAddress>,
    /// TLS of the connections that come by TCP.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<Context>>,
}

impl Settings {
    /// Whether messages are Socket.IO packets of text, with their attachments behind them.
    pub fn is_plain(&self) -> bool {
        self.has_namespaces && matches!(self.form, Form::Json)
    }
}

/// How far a server has come in its life. It only goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves, or will.
    #[default]
    Serving,
    /// It takes nobody any more, and its clients are sent away, some after the others.
    Draining,
    /// Its clients are told that it ends.
    Closing,
    /// One of its shards has died: the others end at once.
    Abandoned,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Serving, Stage::Draining, Stage::Closing, Stage::Abandoned];
}

/// How one shard is reached.
pub struct Post {
    /// Its commands.
    pub mailbox: Mailbox<Command>,
    /// Its tasks that can go on.
    pub ready: ReadyQueue<Runnable>,
    /// Its sessions, as it has counted them last.
    pub clients: AtomicUsize,
    /// What it does.
    pub pulse: Pulse,
}

/// One server, as all its shards and handles know it.
pub struct Shared {
    /// Names the server within the process.
    pub key: u32,
    /// What it was built with.
    pub settings: Settings,
    /// How its shards are reached, once they run.
    posts: OnceLock<Vec<Arc<Post>>>,
    /// Memory for what compression keeps.
    pub contexts: ContextBudget,
    /// Whether memory runs short.
    pub pressure: Pressure,
    /// Whether descriptors do.
    pub places: Places,
    /// What the clients of each address have, where that is limited.
    pub by_address: Option<Addresses>,
    /// Its namespaces.
    pub registry: Registry,
    /// Told of each namespace that is made.
    namespace_listeners: RwLock<Vec<NamespaceListener>>,
    /// What the application has to say about requests.
    pub hooks: Registered,
    /// Session ids that the application has made.
    pub aliases: Aliases,
    /// Told of each socket that was kept for nothing.
    expiry_listeners: RwLock<Vec<ExpiryListener>>,
    /// Where sockets are that came back on another shard.
    pub moved: Moved,
    /// Counts what threads that are no shard's emit to many; held until all shards have it, so that
    /// they have it in one order.
    outside: Mutex<u64>,
    /// Counts what they emit to one.
    outside_to_one: AtomicU64,
    /// A [`Stage`].
    stage: AtomicU8,
    /// Whether what it listens on is another process's.
    handing_over: AtomicBool,
    /// How many of its shards listen no more, since it drains.
    not_listening: AtomicUsize,
    /// What it listens on, for the next process; only if there may be one, and while it serves.
    pub(super) doors: Mutex<Vec<Door>>,
    addresses: OnceLock<Vec<ListenAddress>>,
    /// Where those come who watch it.
    pub(super) observed_at: OnceLock<TcpListener>,
    /// Counts the connections that applications hand over, which the shards get by turns.
    pub(super) attached: AtomicUsize,
}

/// All servers of the process, by key, so that a socket's handle can be a few plain numbers.
static SERVERS: RwLock<Vec<Weak<Shared>>> = RwLock::new(Vec::new());

impl Shared {
    /// A server that does not run yet.
    pub fn new(settings: Settings) -> Arc<Shared> {
        let mut servers = SERVERS.write().unwrap_or_else(PoisonError::into_inner);
        let key = servers.len() as u32;
        let shared = Arc::new(Shared {
            key,
            contexts: ContextBudget::new(settings.options.limits.context_bytes),
            pressure: Pressure::default(),
            places: Places::default(),
            by_address: Addresses::new(&settings.options.limits),
            settings,
            posts: OnceLock::new(),
            registry: Registry::default(),
            namespace_listeners: RwLock::default(),
            hooks: Registered::default(),
            aliases: Aliases::default(),
            expiry_listeners: RwLock::default(),
            moved: Moved::default(),
            outside: Mutex::default(),
            outside_to_one: AtomicU64::new(0),
            stage: AtomicU8::new(Stage::Serving as u8),
            handing_over: AtomicBool::new(false),
            not_listening: AtomicUsize::new(0),
            doors: Mutex::default(),
            addresses: OnceLock::new(),
            observed_at: OnceLock::new(),
            attached: AtomicUsize::new(0),
        });
        servers.push(Arc::downgrade(&shared));
        shared
    }

    /// The server of a key, unless it was dropped.
    pub fn by_key(key: u32) -> Option<Arc<Shared>> {
        let servers = SERVERS.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(key as usize)?.upgrade()
    }

    /// The namespace of a name, which is made if there is none.
    pub fn define(self: &Arc<Self>, name: &str) -> Arc<Definition> {
        let (definition, is_new) = self.registry.define(name);
        if is_new {
            self.namespace_made(&definition);
            self.changed();
        }
        definition
    }

    /// The namespace of a name, if the application has made it, or a pattern of its takes the name.
    pub fn define_if_wanted(self: &Arc<Self>, name: &str) -> Option<Arc<Definition>> {
        let definition = self.registry.takes(name).then(|| self.define(name))?;
        definition.is_open().then_some(definition)
    }

    /// The namespace of an index.
    pub fn namespace(&self, index: u16) -> Option<Arc<Definition>> {
        self.registry.at(index)
    }

    /// Has `listener` told of each namespace that is made from now on.
    pub fn listen_to_namespaces(&self, listener: NamespaceListener) {
        let mut listeners =
            self.namespace_listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
    }

    /// A namespace was made: the application is told, and then clients may join it. If it panics
    /// there is no such namespace.
    pub fn namespace_made(self: &Arc<Self>, definition: &Arc<Definition>) {
        let made = Made { registry: &self.registry, definition };
        // Not while the list is locked: a listener may add another, or make a namespace.
        let listeners = {
            let list = self.namespace_listeners.read();
            list.unwrap_or_else(PoisonError::into_inner).clone()
        };
        listeners.iter().for_each(|listener| listener(self, definition));
        made.definition.open();
    }

    /// Has `listener` told of each socket that was kept for nothing.
    pub fn listen_to_expiries(&self, listener: ExpiryListener) {
        let mut listeners = self.expiry_listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
    }

    /// A socket was kept for nothing: the application is told.
    pub fn session_expired(&self, expired: &ExpiredSession) {
        let listeners = self.expiry_listeners.read().unwrap_or_else(PoisonError::into_inner);
        let listeners = listeners.clone();
        listeners.iter().for_each(|listener| listener(expired));
    }

    /// Whether clients may have their state back.
    pub fn has_recovery(&self) -> bool {
        self.settings.options.connection_state_recovery.is_some()
    }

    /// What names the next event to many from a thread that is no shard's. Nobody else may emit one
    /// as long as the guard is held.
    pub fn number_outside(&self) -> (Offset, MutexGuard<'_, u64>) {
        let mut count = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        (Offset::new(Emitter::ToMany(self.outside_emitter()), *count), count)
    }

    /// What names the next event to one from such a thread.
    pub fn number_outside_to_one(&self) -> Offset {
        let count = self.outside_to_one.fetch_add(1, Ordering::Relaxed) + 1;
        Offset::new(Emitter::ToOne(self.outside_emitter()), count)
    }

    /// How many events threads that are no shard's have emitted to many, and to one.
    pub fn outside_counts(&self) -> (u64, u64) {
        let outside = *self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        (outside, self.outside_to_one.load(Ordering::Relaxed))
    }

    /// Goes on where the server before this one ended.
    pub fn go_on_counting(&self, outside: u64, outside_to_one: u64) {
        *self.outside.lock().unwrap_or_else(PoisonError::into_inner) = outside;
        self.outside_to_one.store(outside_to_one, Ordering::Relaxed);
    }

    fn outside_emitter(&self) -> u16 {
        self.posts().len() as u16
    }

    /// A registration has changed: every shard makes its handlers anew in its next turn.
    pub fn changed(&self) {
        self.registry.changed();
        self.ring();
    }

    /// Forgets all handlers and listeners, with what they have captured: often the server itself.
    pub fn forget_handlers(&self) {
        self.registry.all().iter().for_each(|definition| definition.forget_handlers());
        let mut listeners =
            self.namespace_listeners.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *listeners);
        drop(listeners);
        drop(forgotten);
        self.hooks.change(|hooks| *hooks = Hooks::default());
        let mut listeners = self.expiry_listeners.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *listeners);
        drop(listeners);
        drop(forgotten);
    }

    fn ring(&self) {
        self.posts().iter().for_each(|post| post.mailbox.bell().ring());
    }

    /// How the shards are reached, by index; nobody before they run.
    pub fn posts(&self) -> &[Arc<Post>] {
        self.posts.get().map_or(&[], Vec::as_slice)
    }

    /// The shards have been made. Answers whether they are the first.
    pub fn start(&self, posts: Vec<Arc<Post>>) -> bool {
        self.posts.set(posts).is_ok()
    }

    /// The first TCP address that the server listens on, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses().iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(*address),
            _ => None,
        })
    }

    /// All that the server listens on, once it does.
    pub fn addresses(&self) -> &[ListenAddress] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Whether it has begun to listen.
    pub fn is_listening(&self) -> bool {
        self.addresses.get().is_some()
    }

    /// The server listens here.
    pub fn listens(&self, addresses: Vec<ListenAddress>) {
        // A server is started once.
        let _ = self.addresses.set(addresses);
    }

    /// How far the server has come.
    pub fn stage(&self) -> Stage {
        let stage = self.stage.load(Ordering::Acquire);
        Stage::ALL.get(usize::from(stage)).copied().unwrap_or(Stage::Abandoned)
    }

    /// The server goes on to a stage, unless it is there or beyond. Answers whether it was not.
    fn goes_on(&self, stage: Stage) -> bool {
        let before = self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        // Else connections would go on waiting here, and nobody accept them.
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ring();
        // A service that another process carries on does not stop.
        if before == Stage::Serving as u8 && !self.is_handing_over() {
            log::notified(systemd::notify("STOPPING=1"));
        }
        before < stage as u8
    }

    /// Drains the server. Answers whether nothing of that kind was under way before.
    pub fn drain(&self) -> bool {
        self.goes_on(Stage::Draining)
    }

    /// Drains the server, whose listeners another process has.
    pub fn hand_over(&self) {
        self.handing_over.store(true, Ordering::Release);
        // The other wants to be watched at the same address.
        self.stop_being_observed();
        self.drain();
    }

    /// Whether what it listens on is another process's: files of sockets, too.
    pub fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    /// A shard listens no more.
    pub(super) fn stops_listening(&self) {
        self.not_listening.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether no shard listens any more.
    pub fn has_stopped_listening(&self) -> bool {
        self.not_listening.load(Ordering::Acquire) >= self.posts().len()
    }

    /// Closes the server. Answers whether it was not being closed before.
    pub fn close(&self) -> bool {
        self.goes_on(Stage::Closing)
    }

    /// Ends the server without a word to its clients: a shard has died, and none is to serve half.
    pub fn abandon(&self) {
        self.goes_on(Stage::Abandoned);
    }
}

/// A namespace that the application is being told of.
struct Made<'a> {
    registry: &'a Registry,
    definition: &'a Arc<Definition>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.definition.is_open() {
            self.registry.discard(self.definition);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut servers = SERVERS.write().unwrap_or_else(PoisonError::into_inner);
        servers[self.key as usize] = Weak::new();
    }
}
