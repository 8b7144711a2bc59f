//! Values at stable indexes, each with a generation, so that a key outlives its value harmlessly.

use super::chunks::Chunks;
use super::fit::Fit;

/// Names one value that was put into a [`Slab`]. After the value was taken out the key finds
/// nothing, also when its index is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Position in the slab.
    pub index: u32,
    /// Which of the values that the slab was ever given, counted; from 0 again after 2^32.
    pub generation: u32,
}

/// A table with constant-time insertion, lookup and removal, whose memory follows its size.
#[derive(Debug)]
pub struct Slab<T> {
    values: Chunks<(u32, T)>,
    next_generation: u32,
}

impl Key {
    /// Names nothing: no slab has so many values.
    pub const NONE: Key = Key { index: u32::MAX, generation: 0 };
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { values: Chunks::default(), next_generation: 0 }
    }
}

impl<T> Slab<T> {
    /// An empty slab; it allocates with its first value.
    pub fn new() -> Slab<T> {
        Slab::default()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The key that the next [`insert`](Slab::insert) will give.
    pub fn next_key(&self) -> Key {
        Key { index: self.values.first_vacant() as u32, generation: self.next_generation }
    }

    /// Puts a value in and names it.
    pub fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        assert!(key.index < Key::NONE.index, "a slab holds fewer than 2^32 - 1 values");
        self.values.put(key.index as usize, (key.generation, value));
        self.next_generation = self.next_generation.wrapping_add(1);
        key
    }

    /// Puts a value in at a key that another slab has given out, whose index must be vacant here. A
    /// slab that is filled so gives out no keys of its own.
    pub fn insert_at(&mut self, key: Key, value: T) {
        let previous = self.values.put(key.index as usize, (key.generation, value));
        debug_assert!(previous.is_none(), "a key is given out once");
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.values.take(key.index as usize).map(|(_, value)| value)
    }

    /// The value of a key, unless it was taken out.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.values.get(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// The value of a key, unless it was taken out.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.values.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// The key of whatever value is at an index now.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let (generation, _) = self.values.get(index as usize)?;
        Some(Key { index, generation: *generation })
    }

    /// All values with their keys, by index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.values.iter().map(|(index, (generation, value))| {
            (Key { index: index as u32, generation: *generation }, value)
        })
    }

    /// All values, by index.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().map(|(_, value)| value)
    }
}

impl<T> Fit for Slab<T> {
    fn fit(&mut self, least: usize) {
        self.values.fit(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_nothing_after_its_value_was_taken_out() {
        let mut slab = Slab::new();
        let old = slab.insert("a");
        assert_eq!(slab.remove(old), Some("a"));
        let new = slab.insert("b");
        assert_eq!(new.index, old.index);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"b"));
    }

    #[test]
    fn a_value_is_found_by_the_key_of_another_slab_and_by_no_other_generation_of_it() {
        let mut mirror = Slab::new();
        mirror.insert_at(Key { index: 3, generation: 7 }, 'a');
        assert_eq!(mirror.get(Key { index: 3, generation: 6 }), None);
        assert_eq!(mirror.remove(Key { index: 3, generation: 8 }), None);
        assert_eq!(mirror.remove(Key { index: 3, generation: 7 }), Some('a'));
        assert!(mirror.is_empty());
    }

    #[test]
    fn no_key_is_given_out_twice_although_the_table_was_given_back() {
        let mut slab = Slab::new();
        let old = slab.insert("a");
        slab.remove(old);
        slab.fit(0);
        let new = slab.insert("b");
        assert_eq!((new.index, slab.get(old)), (old.index, None));
    }

    #[test]
    fn the_next_key_is_the_one_that_insert_gives() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..5).map(|value| slab.insert(value)).collect();
        slab.remove(keys[3]);
        slab.remove(keys[1]);
        for value in 10..14 {
            let expected = slab.next_key();
            assert_eq!(slab.insert(value), expected);
        }
        assert_eq!(slab.len(), 7);
    }

    #[test]
    fn iteration_visits_each_value_once_by_index() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = "abc".chars().map(|letter| slab.insert(letter)).collect();
        slab.remove(keys[1]);
        let seen: String = slab.iter().map(|(_, letter)| *letter).collect();
        assert_eq!(seen, "ac");
        assert_eq!(slab.key_at(1), None);
        assert_eq!(slab.key_at(2), Some(keys[2]));
    }
}
