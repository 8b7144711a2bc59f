//! Receive buffers: made when they are first needed, and lent to the shard one by one.

use crate::driver::BufferId;

/// All buffers of a driver.
pub struct Buffers {
    places: Vec<Option<Box<[u8]>>>,
    /// Those that nobody has, the latest one used last: its memory is warm.
    free: Vec<u16>,
    bytes_each: usize,
}

impl Buffers {
    /// So many buffers of so many bytes.
    pub fn new(count: u16, bytes_each: usize) -> Buffers {
        let places = (0..count).map(|_| None).collect();
        Buffers { places, free: (0..count).rev().collect(), bytes_each }
    }

    /// Takes a free one, if there is one.
    pub fn take(&mut self) -> Option<BufferId> {
        self.free.pop().map(BufferId)
    }

    /// The bytes of one that was taken.
    pub fn bytes(&mut self, buffer: BufferId) -> &mut [u8] {
        let bytes_each = self.bytes_each;
        self.places[usize::from(buffer.0)].get_or_insert_with(|| vec![0; bytes_each].into())
    }

    /// Gives one back.
    pub fn release(&mut self, buffer: BufferId) {
        debug_assert!(!self.free.contains(&buffer.0), "a buffer is released once");
        self.free.push(buffer.0);
    }

    /// Whether one is free.
    pub fn is_available(&self) -> bool {
        !self.free.is_empty()
    }

    /// Gives the memory of those that nobody has back.
    pub fn discard(&mut self) {
        for &free in &self.free {
            self.places[usize::from(free)] = None;
        }
    }
}
