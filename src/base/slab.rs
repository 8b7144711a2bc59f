//! Values at stable indexes, each with a generation, so that a key outlives its value harmlessly.

use super::chunks::Chunks;

/// Names one value that was put into a [`Slab`]. After the value was taken out the key finds
/// nothing, also when its index is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Position in the slab.
    pub index: u32,
    /// How often the position had been used before.
    pub generation: u32,
}

/// A growing table with constant-time insertion, lookup and removal.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Chunks<Entry<T>>,
    first_vacant: u32,
    length: usize,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    slot: Slot<T>,
}

#[derive(Debug)]
enum Slot<T> {
    Occupied(T),
    Vacant { next: u32 },
}

const NONE: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { entries: Chunks::default(), first_vacant: NONE, length: 0 }
    }
}

impl<T> Slab<T> {
    /// An empty slab; it allocates with its first value.
    pub fn new() -> Slab<T> {
        Slab::default()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The key that the next [`insert`](Slab::insert) will give.
    pub fn next_key(&self) -> Key {
        match self.entries.get(self.first_vacant as usize) {
            Some(entry) => Key { index: self.first_vacant, generation: entry.generation },
            None => Key { index: self.entries.len() as u32, generation: 0 },
        }
    }

    /// Puts a value in and names it.
    pub fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        assert!(key.index < NONE, "a slab holds fewer than 2^32 - 1 values");
        match self.entries.get_mut(key.index as usize) {
            Some(entry) => {
                if let Slot::Vacant { next } = entry.slot {
                    self.first_vacant = next;
                }
                entry.slot = Slot::Occupied(value);
            }
            None => self.entries.push(Entry { generation: 0, slot: Slot::Occupied(value) }),
        }
        self.length += 1;
        key
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation || !matches!(entry.slot, Slot::Occupied(_)) {
            return None;
        }
        entry.generation = entry.generation.wrapping_add(1);
        let slot = std::mem::replace(&mut entry.slot, Slot::Vacant { next: self.first_vacant });
        self.first_vacant = key.index;
        self.length -= 1;
        match slot {
            Slot::Occupied(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The value of a key, unless it was taken out.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(Entry { generation, slot: Slot::Occupied(value) })
                if *generation == key.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value of a key, unless it was taken out.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some(Entry { generation, slot: Slot::Occupied(value) })
                if *generation == key.generation =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    /// The key of whatever value is at an index now.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        match self.entries.get(index as usize) {
            Some(Entry { generation, slot: Slot::Occupied(_) }) => {
                Some(Key { index, generation: *generation })
            }
            _ => None,
        }
    }

    /// All values with their keys, by index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.slot {
            Slot::Occupied(value) => {
                Some((Key { index: index as u32, generation: entry.generation }, value))
            }
            Slot::Vacant { .. } => None,
        })
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
