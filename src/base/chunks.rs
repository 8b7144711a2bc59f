//! A table of places that grows without moving what it holds, and shrinks when it is left.
//!
//! A vector that doubles copies its values and leaves behind, for the allocator to keep, as much
//! memory as it had: for tables of ten thousands of clients that is more than the clients need. And
//! it never shrinks. Here places come in pieces, and a piece in which all are vacant is given back.

use super::fit::Fit;

/// Places at consecutive indexes, each of which may hold a value.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Chunk<T>>,
    length: usize,
    /// All pieces before this one are full.
    first_open: usize,
    /// Pieces that have memory and no value: at most one, so that a client who comes and goes
    /// alone does not make and give back a piece each time.
    spare: usize,
}

/// Places in a piece: few, since allocators lay large blocks side by side in pages that stay whole
/// while one block of them is in use. A few kilobytes come from small pages.
const CHUNK_PLACES: usize = u64::BITS as usize;
const CHUNK_BITS: u32 = CHUNK_PLACES.trailing_zeros();

#[derive(Debug)]
struct Chunk<T> {
    /// Those that were ever used; none when the piece was given back.
    places: Vec<Option<T>>,
    /// One bit for each place: whether it holds a value.
    occupied: u64,
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Chunk { places: Vec::new(), occupied: 0 }
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new(), length: 0, first_open: 0, spare: 0 }
    }
}

impl<T> Chunks<T> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The lowest index whose place is vacant.
    pub fn first_vacant(&self) -> usize {
        let open = self.chunks.get(self.first_open);
        let place = open.map_or(0, |chunk| chunk.occupied.trailing_ones() as usize);
        self.first_open * CHUNK_PLACES + place
    }

    /// Puts a value into a place, and gives the one that was there.
    pub fn put(&mut self, index: usize, value: T) -> Option<T> {
        let (number, place) = (index >> CHUNK_BITS, index % CHUNK_PLACES);
        if self.chunks.len() <= number {
            self.chunks.resize_with(number + 1, Chunk::default);
        }
        let chunk = &mut self.chunks[number];
        if chunk.places.capacity() == 0 {
            chunk.places.reserve_exact(CHUNK_PLACES);
        } else if chunk.occupied == 0 {
            self.spare -= 1;
        }
        while chunk.places.len() <= place {
            chunk.places.push(None);
        }
        let previous = chunk.places[place].replace(value);
        if previous.is_none() {
            chunk.occupied |= 1 << place;
            self.length += 1;
            let is_full = |chunk: &Chunk<T>| chunk.occupied == u64::MAX;
            while self.chunks.get(self.first_open).is_some_and(is_full) {
                self.first_open += 1;
            }
        }
        previous
    }

    /// Takes the value out of a place.
    pub fn take(&mut self, index: usize) -> Option<T> {
        let (number, place) = (index >> CHUNK_BITS, index % CHUNK_PLACES);
        let chunk = self.chunks.get_mut(number)?;
        let value = chunk.places.get_mut(place)?.take()?;
        chunk.occupied &= !(1 << place);
        self.length -= 1;
        self.first_open = self.first_open.min(number);
        if chunk.occupied == 0 {
            match self.spare {
                0 => self.spare = 1,
                _ => chunk.places = Vec::new(),
            }
        }
        Some(value)
    }

    /// The value of a place.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> CHUNK_BITS)?.places.get(index % CHUNK_PLACES)?.as_ref()
    }

    /// The value of a place.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index >> CHUNK_BITS)?;
        chunk.places.get_mut(index % CHUNK_PLACES)?.as_mut()
    }

    /// All values with their indexes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.chunks.iter().enumerate().flat_map(|(number, chunk)| {
            let places = chunk.places.iter().enumerate();
            places.filter_map(move |(place, value)| {
                Some((number * CHUNK_PLACES + place, value.as_ref()?))
            })
        })
    }

    /// All values, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.places.iter_mut().filter_map(Option::as_mut))
    }
}

impl<T> Fit for Chunks<T> {
    /// Gives back the vacant piece that was kept, too, and what it takes to find the pieces.
    fn fit(&mut self, least: usize) {
        let last = self.chunks.iter().rposition(|chunk| chunk.occupied != 0);
        self.chunks.truncate(last.map_or(0, |last| last + 1));
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.occupied == 0) {
            chunk.places = Vec::new();
        }
        self.spare = 0;
        match self.chunks.is_empty() {
            true => self.chunks = Vec::new(),
            false => self.chunks.fit(least / CHUNK_PLACES),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pieces_with_memory<T>(chunks: &Chunks<T>) -> usize {
        chunks.chunks.iter().filter(|chunk| chunk.places.capacity() > 0).count()
    }

    #[test]
    fn values_are_found_by_index_across_pieces() {
        let mut chunks = Chunks::default();
        for value in 0..3 * CHUNK_PLACES + 5 {
            assert_eq!(chunks.first_vacant(), value);
            chunks.put(value, value);
        }
        assert!((0..chunks.len()).all(|index| chunks.get(index) == Some(&index)));
        assert_eq!(chunks.get(chunks.len()), None);
        *chunks.get_mut(CHUNK_PLACES).unwrap() = 7;
        assert_eq!(chunks.iter().filter(|(_, value)| **value == 7).count(), 2);
    }

    #[test]
    fn growing_moves_nothing() {
        let mut chunks = Chunks::default();
        chunks.put(0, 0);
        let first = std::ptr::from_ref(chunks.get(0).unwrap());
        assert!((1..10 * CHUNK_PLACES).all(|value| chunks.put(value, value).is_none()));
        assert_eq!(std::ptr::from_ref(chunks.get(0).unwrap()), first);
    }

    #[test]
    fn pieces_that_were_left_are_given_back_but_for_one() {
        let mut chunks = Chunks::default();
        assert!((0..10 * CHUNK_PLACES).all(|value| chunks.put(value, value).is_none()));
        (0..10 * CHUNK_PLACES).for_each(|value| assert_eq!(chunks.take(value), Some(value)));
        assert_eq!((chunks.len(), pieces_with_memory(&chunks)), (0, 1));
        // Whoever comes and goes alone uses the one that was kept, or becomes the only one.
        for _ in 0..3 {
            chunks.put(5 * CHUNK_PLACES, 0);
            assert_eq!(chunks.take(5 * CHUNK_PLACES), Some(0));
            assert!(pieces_with_memory(&chunks) <= 2);
        }
    }

    #[test]
    fn what_was_left_for_good_keeps_nothing_that_is_vacant() {
        let mut chunks = Chunks::default();
        assert!((0..100 * CHUNK_PLACES).all(|value| chunks.put(value, value).is_none()));
        let left = CHUNK_PLACES + 3;
        (0..100 * CHUNK_PLACES).filter(|value| *value != left).for_each(|value| {
            chunks.take(value);
        });
        chunks.fit(0);
        assert_eq!((chunks.get(left), pieces_with_memory(&chunks)), (Some(&left), 1));
        assert!(chunks.chunks.capacity() < 100);
        chunks.take(left);
        chunks.fit(0);
        assert_eq!((chunks.chunks.capacity(), chunks.first_vacant()), (0, 0));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_would_and_gives_the_lowest_vacant_index(
            steps in vec((any::<bool>(), 0..3_000usize, any::<bool>()), 1..200),
        ) {
            let (mut chunks, mut map) = (Chunks::default(), std::collections::BTreeMap::new());
            for (number, (puts, index, fits)) in steps.into_iter().enumerate() {
                match puts {
                    true => prop_assert_eq!(chunks.put(index, number), map.insert(index, number)),
                    false => prop_assert_eq!(chunks.take(index), map.remove(&index)),
                }
                if fits {
                    chunks.fit(0);
                }
                let vacant = (0..).find(|index| !map.contains_key(index));
                prop_assert_eq!(Some(chunks.first_vacant()), vacant);
                prop_assert_eq!(chunks.len(), map.len());
            }
            let all: Vec<_> = chunks.iter().map(|(index, value)| (index, *value)).collect();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }
}
