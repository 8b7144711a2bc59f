//! Lists that a crowd has made large, when the crowd has left.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

/// A list whose memory can follow its use.
pub trait Fit {
    /// Gives memory back if there is far more of it than for `least` values, and for those that
    /// there are.
    fn fit(&mut self, least: usize);
}

/// So many times too large is worth a move of what is left.
const EXCESS: usize = 4;

impl<T> Fit for Vec<T> {
    fn fit(&mut self, least: usize) {
        let wanted = self.len().max(least);
        if self.capacity() / EXCESS > wanted {
            self.shrink_to(wanted);
        }
    }
}

impl<T> Fit for VecDeque<T> {
    fn fit(&mut self, least: usize) {
        let wanted = self.len().max(least);
        if self.capacity() / EXCESS > wanted {
            self.shrink_to(wanted);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Fit for HashMap<K, V, S> {
    fn fit(&mut self, least: usize) {
        let wanted = self.len().max(least);
        if self.capacity() / EXCESS > wanted {
            self.shrink_to(wanted);
        }
    }
}

impl<T: Ord> Fit for BinaryHeap<T> {
    fn fit(&mut self, least: usize) {
        let wanted = self.len().max(least);
        if self.capacity() / EXCESS > wanted {
            self.shrink_to(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_too_large_shrinks_and_never_below_its_use() {
        let mut list: Vec<u8> = Vec::with_capacity(1_000);
        list.extend([7; 100]);
        list.fit(250);
        assert_eq!(list.capacity(), 1_000);
        list.fit(50);
        assert!((100..1_000).contains(&list.capacity()));
        assert_eq!(list, [7; 100]);
        let mut queue: VecDeque<u8> = VecDeque::with_capacity(1_000);
        queue.fit(10);
        assert!(queue.capacity() < 1_000);
        let mut heap: BinaryHeap<u8> = BinaryHeap::with_capacity(1_000);
        heap.fit(10);
        assert!(heap.capacity() < 1_000);
        let mut map: HashMap<u8, u8> = HashMap::with_capacity(1_000);
        map.fit(10);
        assert!(map.capacity() < 1_000);
    }
}
