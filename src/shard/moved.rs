//! Sockets that came back on another shard than the one that their ids name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::base::id::PrivateId;
use crate::command::SocketAddress;

/// Where they are. Nobody looks in here before the first one has moved.
#[derive(Debug, Default)]
pub struct Moved {
    count: AtomicUsize,
    shards: RwLock<Shards>,
}

#[derive(Debug, Default)]
struct Shards {
    sockets: HashMap<u64, u16>,
    sessions: HashMap<PrivateId, u16>,
}

impl Moved {
    /// The shard of a socket.
    pub fn shard_of(&self, address: SocketAddress) -> u16 {
        let moved = self.read().and_then(|shards| shards.sockets.get(&address.nonce).copied());
        moved.unwrap_or(address.shard)
    }

    /// The shard that has, or has kept, the socket of a private id.
    pub fn shard_of_session(&self, pid: &PrivateId) -> u16 {
        let moved = self.read().and_then(|shards| shards.sessions.get(pid).copied());
        moved.unwrap_or(pid.shard())
    }

    /// A socket is on this shard from now on.
    pub fn insert(&self, address: SocketAddress, pid: PrivateId, shard: u16) {
        let mut shards = self.write();
        shards.sockets.insert(address.nonce, shard);
        shards.sessions.insert(pid, shard);
        self.count.store(shards.sockets.len(), Ordering::Release);
    }

    /// A socket will not come back.
    pub fn remove(&self, address: SocketAddress, pid: &PrivateId) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut shards = self.write();
        shards.sockets.remove(&address.nonce);
        shards.sessions.remove(pid);
        self.count.store(shards.sockets.len(), Ordering::Release);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn read(&self) -> Option<RwLockReadGuard<'_, Shards>> {
        let is_used = self.count.load(Ordering::Acquire) > 0;
        is_used.then(|| self.shards.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shards> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }
}
