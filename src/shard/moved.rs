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
    sockets: HashMap<u64, Place>,
    sessions: HashMap<PrivateId, u16>,
}

/// Where a socket is after so many moves.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: u16,
    moves: u32,
}

impl Moved {
    /// The shard of a socket.
    pub fn shard_of(&self, address: SocketAddress) -> u16 {
        let moved = self.read().and_then(|shards| shards.sockets.get(&address.nonce).copied());
        moved.map_or(address.shard, |place| place.shard)
    }

    /// The shard that has, or has kept, the socket of a private id.
    pub fn shard_of_session(&self, pid: &PrivateId) -> u16 {
        let moved = self.read().and_then(|shards| shards.sessions.get(pid).copied());
        moved.unwrap_or(pid.shard())
    }

    /// Whether the socket of a private id has moved to a shard.
    pub fn has_moved_to(&self, pid: &PrivateId, shard: u16) -> bool {
        self.read().is_some_and(|shards| shards.sessions.get(pid) == Some(&shard))
    }

    /// A socket is on this shard with its move of this number. Both shards say so: the old one
    /// sends on what still comes, and the new one knows its own. The later of them may speak when
    /// the socket has moved once more.
    pub fn insert(&self, address: SocketAddress, pid: PrivateId, shard: u16, moves: u32) {
        let mut shards = self.write();
        let is_known = match shards.sockets.get(&address.nonce) {
            Some(place) => place.moves >= moves,
            // Its id says so.
            None => shard == address.shard,
        };
        if is_known {
            return;
        }
        shards.sockets.insert(address.nonce, Place { shard, moves });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_move_counts_whoever_speaks_last() {
        let (moved, pid) = (Moved::default(), PrivateId::new(0, 7, [1; 9]));
        let address = SocketAddress { nonce: 5, index: 7, shard: 0, namespace: 0 };
        assert_eq!((moved.shard_of(address), moved.shard_of_session(&pid)), (0, 0));
        moved.insert(address, pid, 2, 2);
        moved.insert(address, pid, 1, 1);
        assert_eq!((moved.shard_of(address), moved.shard_of_session(&pid)), (2, 2));
        moved.remove(address, &pid);
        assert_eq!((moved.shard_of(address), moved.len()), (0, 0));
    }
}
