//! Places for connections, the last of which are for clients that are there, and for telling those
//! who are not to come back (503).
//!
//! A client that polls needs a place for its next request, and somebody new who waits in the kernel
//! until one is free does not know that another server has some.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::state::State;

/// One place of so many is none for new clients.
const SPARED_ONE_OF: usize = 16;

/// As many are enough.
const SPARED_MAX: usize = 64;

/// How many places of so many are for new clients, too.
fn open_to_all(most: usize) -> usize {
    most - (most / SPARED_ONE_OF).min(SPARED_MAX)
}

/// The connections of all shards, which share the descriptors of the process.
#[derive(Debug, Default)]
pub struct Places {
    taken: AtomicUsize,
    /// How many there are, once that is known.
    most: OnceLock<usize>,
}

impl Places {
    /// Says how many there are; the first time counts.
    pub fn limit(&self, most: usize) {
        let _ = self.most.set(most);
    }

    /// Whether there is one for a new client, or for the one who asks and has taken one.
    pub fn are_left(&self) -> bool {
        let most = self.most.get().copied().unwrap_or(usize::MAX);
        self.taken.load(Ordering::Relaxed) <= open_to_all(most)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A connection has begun.
    pub fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    /// Whether somebody new may stay who has a connection of this shard.
    pub(super) fn has_place(&self) -> bool {
        match self.shared.settings.options.limits.connections {
            0 => self.shared.places.are_left(),
            most => self.connections.len() <= open_to_all(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_places_none_is_spared_and_of_many_a_few() {
        assert_eq!([0, 1, 15, 16, 32].map(open_to_all), [0, 1, 15, 15, 30]);
        assert_eq!([1_024, 20_000].map(open_to_all), [960, 19_936]);
        assert_eq!(open_to_all(usize::MAX), usize::MAX - SPARED_MAX);
    }

    #[test]
    fn who_comes_last_has_a_place_until_the_spared_ones_begin() {
        let places = Places::default();
        places.take();
        assert!(places.are_left(), "nobody has said how many there are");
        places.limit(32);
        (1..30).for_each(|_| places.take());
        assert!(places.are_left());
        places.take();
        assert!(!places.are_left());
        places.give_back();
        assert!(places.are_left());
    }
}
