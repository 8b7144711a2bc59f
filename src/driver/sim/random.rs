//! A small seeded generator: the only source of chance in a simulation.

use std::ops::RangeInclusive;

/// The chance of something, in thousandths: 0 is never, 1,000 is always.
pub type PerMille = u32;

/// A generator of 64-bit words (SplitMix64 of Steele, Lea and Flood, 2014). Two with the same seed
/// give the same words for ever. Not fit for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed; every seed is as good as any other.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number less than `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is less than 0");
        // The high half of the product is uniform but for a bias of 2^-64 times `bound`.
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// A position in a list of `length` entries, which must not be empty.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number of the range, which must not be empty.
    pub fn range(&mut self, range: RangeInclusive<usize>) -> usize {
        let span = range.end() - range.start();
        range.start() + self.below((span as u64).saturating_add(1)) as usize
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn chance(&mut self, per_mille: PerMille) -> bool {
        per_mille > 0 && self.below(1_000) < u64::from(per_mille)
    }

    /// Brings the entries of a list into any order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.index(last + 1));
        }
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
    }

    /// A generator that goes on by itself: what one takes does not change what the other gives.
    pub fn fork(&mut self) -> Random {
        Random(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_seed_are_those_of_the_published_algorithm() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.word(), 6_457_827_717_110_365_317);
        assert_eq!(random.word(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut random = Random::new(7);
        let seen: Vec<usize> = (0..1_000).map(|_| random.range(3..=6)).collect();
        assert_eq!(seen.iter().min(), Some(&3));
        assert_eq!(seen.iter().max(), Some(&6));
        assert!((0..1_000).all(|_| random.chance(1_000) && !random.chance(0)));
    }

    #[test]
    fn a_shuffled_list_has_the_same_entries() {
        let mut list: Vec<u32> = (0..50).collect();
        Random::new(7).shuffle(&mut list);
        assert_ne!(list, (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
    }
}
