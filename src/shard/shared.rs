//! What the shards of one server have in common: settings, namespaces, mailboxes.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use async_task::Runnable;
use bytes::Bytes;

use crate::command::Command;
use crate::mailbox::{Mailbox, ReadyQueue};
use crate::session::Options;
use crate::session::handshake::Offer;

use super::handler::Definition;

/// Answers requests outside the path of the server.
pub type Fallback = Arc<dyn Fn(http::Request<Bytes>) -> http::Response<Bytes> + Send + Sync>;

/// Called by a shard when most of its clients have left.
pub type CrowdLeft = Arc<dyn Fn() + Send + Sync>;

/// What a server was built with.
pub struct Settings {
    /// Timing and limits.
    pub options: Options,
    /// The path, with the slash behind it.
    pub path: String,
    /// What is offered to those who ask for a session.
    pub offer: Offer,
    /// Whether an upgrade is advertised.
    pub allow_upgrades: bool,
    /// Whether the request that opened a session is kept.
    pub keep_handshake: bool,
    /// The files of the client bundle, if it is served.
    pub client: Option<ClientFiles>,
    /// Answers other paths.
    pub fallback: Option<Fallback>,
    /// Called when most clients of a shard have left.
    pub crowd_left: Option<CrowdLeft>,
    /// Whether messages are Socket.IO packets.
    pub has_namespaces: bool,
    /// What handlers may ask for, by type.
    pub states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

/// The client bundle, as it is served (protocol.md §17.4).
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The version of the client.
    pub version: String,
    /// Contents by file name.
    pub files: HashMap<String, Bytes>,
}

/// How one shard is reached.
pub struct Post {
    /// Its commands.
    pub mailbox: Mailbox<Command>,
    /// Its tasks that can go on.
    pub ready: ReadyQueue<Runnable>,
}

/// One server, as all its shards and handles know it.
pub struct Shared {
    /// Names the server within the process.
    pub key: u32,
    /// What it was built with.
    pub settings: Settings,
    /// How its shards are reached, once they run.
    posts: OnceLock<Vec<Arc<Post>>>,
    namespaces: RwLock<Vec<Arc<Definition>>>,
    /// Changes with every registration.
    version: AtomicU64,
    closing: AtomicBool,
    address: OnceLock<SocketAddr>,
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
            settings,
            posts: OnceLock::new(),
            namespaces: RwLock::default(),
            version: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            address: OnceLock::new(),
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
    pub fn define(&self, name: &str) -> Arc<Definition> {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = namespaces.iter().find(|namespace| &*namespace.name == name) {
            return Arc::clone(found);
        }
        let index = u16::try_from(namespaces.len()).unwrap_or(u16::MAX);
        assert!(index < u16::MAX, "a server has fewer than 65,535 namespaces");
        let definition = Arc::new(Definition::new(index, name));
        namespaces.push(Arc::clone(&definition));
        drop(namespaces);
        self.changed();
        definition
    }

    /// The namespace of an index.
    pub fn namespace(&self, index: u16) -> Option<Arc<Definition>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(usize::from(index)).cloned()
    }

    /// All namespaces, by index.
    pub fn namespaces(&self) -> Vec<Arc<Definition>> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A registration has changed: every shard makes its handlers anew in its next turn.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.posts().iter().for_each(|post| post.mailbox.bell().ring());
    }

    /// Changes with every registration.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How the shards are reached, by index; nobody before they run.
    pub fn posts(&self) -> &[Arc<Post>] {
        self.posts.get().map_or(&[], Vec::as_slice)
    }

    /// The shards have been made. Answers whether they are the first.
    pub fn start(&self, posts: Vec<Arc<Post>>) -> bool {
        self.posts.set(posts).is_ok()
    }

    /// Where the server listens, once it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// The server listens here.
    pub fn listens(&self, address: SocketAddr) {
        // Every shard says the same.
        let _ = self.address.set(address);
    }

    /// Whether the server is being closed.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Closes the server. Answers whether it was not being closed before.
    pub fn close(&self) -> bool {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        self.posts().iter().for_each(|post| post.mailbox.bell().ring());
        first
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut servers = SERVERS.write().unwrap_or_else(PoisonError::into_inner);
        servers[self.key as usize] = Weak::new();
    }
}
