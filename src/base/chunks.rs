//! A list that grows without moving what it holds.
//!
//! A vector that doubles copies its values and leaves behind, for the allocator to keep, as much
//! memory as it had: for tables of ten thousands of clients that is more than the clients need.

/// Values at consecutive indexes, in pieces of equal size.
#[derive(Debug)]
pub struct Chunks<T>(Vec<Vec<T>>);

/// Values in a piece: a power of two, so that an index is cut by a shift.
const CHUNK_BITS: u32 = 10;
const CHUNK_VALUES: usize = 1 << CHUNK_BITS;

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks(Vec::new())
    }
}

impl<T> Chunks<T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self.0.split_last() {
            Some((last, full)) => full.len() * CHUNK_VALUES + last.len(),
            None => 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a value at the end.
    pub fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < CHUNK_VALUES => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_VALUES);
                chunk.push(value);
                self.0.push(chunk);
            }
        }
    }

    /// The value at an index.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index >> CHUNK_BITS)?.get(index % CHUNK_VALUES)
    }

    /// The value at an index.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index >> CHUNK_BITS)?.get_mut(index % CHUNK_VALUES)
    }

    /// All values, by index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_index_across_pieces() {
        let mut chunks = Chunks::default();
        assert!(chunks.is_empty());
        for value in 0..3 * CHUNK_VALUES + 5 {
            assert_eq!(chunks.len(), value);
            chunks.push(value);
        }
        assert!((0..chunks.len()).all(|index| chunks.get(index) == Some(&index)));
        assert_eq!(chunks.get(chunks.len()), None);
        *chunks.get_mut(CHUNK_VALUES).unwrap() = 7;
        assert_eq!(chunks.iter().filter(|value| **value == 7).count(), 2);
    }

    #[test]
    fn growing_moves_nothing() {
        let mut chunks = Chunks::default();
        chunks.push(0);
        let first = std::ptr::from_ref(chunks.get(0).unwrap());
        (0..10 * CHUNK_VALUES).for_each(|value| chunks.push(value));
        assert_eq!(std::ptr::from_ref(chunks.get(0).unwrap()), first);
    }
}
