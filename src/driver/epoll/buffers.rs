//! Receive buffers: made when they are first needed, and lent to the shard one by one.

use std::io;

use crate::driver::{BufferId, check_receive_buffers};

/// All buffers of a driver.
pub struct Buffers {
    places: Box<[Place]>,
    /// Those that nobody holds, the latest one used last: its memory is warm.
    free: Vec<u16>,
    bytes_each: usize,
}

#[derive(Clone, Default)]
struct Place {
    is_held: bool,
    /// None, or all bytes of a buffer.
    bytes: Box<[u8]>,
}

impl Buffers {
    /// So many buffers of so many bytes.
    ///
    /// # Errors
    /// `InvalidInput` for buffers that no driver has.
    pub fn new(count: u16, bytes_each: usize) -> io::Result<Buffers> {
        check_receive_buffers(count, bytes_each)?;
        let places = vec![Place::default(); usize::from(count)].into_boxed_slice();
        Ok(Buffers { places, free: (0..count).rev().collect(), bytes_each })
    }

    /// Takes a free one, if there is one.
    pub fn take(&mut self) -> Option<BufferId> {
        let id = self.free.pop()?;
        let place = &mut self.places[usize::from(id)];
        place.is_held = true;
        if place.bytes.is_empty() {
            place.bytes = vec![0; self.bytes_each].into();
        }
        Some(BufferId(id))
    }

    /// The bytes of one that was taken.
    pub fn bytes(&mut self, buffer: BufferId) -> &mut [u8] {
        let place = &mut self.places[usize::from(buffer.0)];
        assert!(place.is_held, "a buffer that was released is the driver's");
        &mut place.bytes
    }

    /// Gives one back.
    pub fn release(&mut self, buffer: BufferId) {
        let place = &mut self.places[usize::from(buffer.0)];
        assert!(place.is_held, "a buffer is released once");
        place.is_held = false;
        self.free.push(buffer.0);
    }

    /// Whether one is free.
    pub fn is_available(&self) -> bool {
        !self.free.is_empty()
    }

    /// Gives the memory of those that nobody holds back.
    pub fn discard(&mut self) {
        for &free in &self.free {
            self.places[usize::from(free)].bytes = Box::default();
        }
    }

    /// How many have memory.
    #[cfg(test)]
    pub fn grown(&self) -> usize {
        self.places.iter().filter(|place| !place.bytes.is_empty()).count()
    }
}
