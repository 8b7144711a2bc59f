//! The receive buffers of a ring: the kernel takes one when bytes have arrived, and not before, so
//! an idle connection holds none.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::canary::{Canary, GUARD_BYTES};
use super::ring::Ring;
use crate::driver::sys::Mapping;
use crate::driver::{BufferId, check_receive_buffers};

/// The one group of provided buffers; operations name it.
pub const GROUP: u16 = 0;

/// Buffers that either the kernel may fill (it finds them in a ring of entries) or the shard holds.
///
/// One mapping has both: the entries at its beginning, which the kernel wants page-aligned, and
/// the buffers behind them.
pub struct Buffers {
    mapping: Mapping,
    /// Where the buffers begin in the mapping.
    offset: usize,
    size: usize,
    /// Which buffers are not the kernel's; whoever holds one may look at it.
    held: Box<[bool]>,
    held_count: usize,
    canaries: Box<[Canary]>,
    /// Entries written since the beginning; what the kernel is told of by [`Buffers::publish`].
    tail: u16,
    published: u16,
}

impl Buffers {
    /// Makes `count` buffers of `size` bytes and gives them to the ring.
    ///
    /// # Errors
    /// `InvalidInput` for buffers that no driver has; those of the kernel.
    pub fn new(ring: &Ring, count: u16, size: usize) -> io::Result<Buffers> {
        check_receive_buffers(count, size)?;
        let offset = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let mapping = Mapping::new(offset + usize::from(count) * (size + GUARD_BYTES))?;
        // SAFETY: a mapping begins at a page and has room for `count` entries before `offset`. It
        // is unmapped when `Uring` is dropped, which first waits for its operations to end.
        unsafe { ring.register_buffers(mapping.start().as_ptr() as u64, count, GROUP) }?;
        let held = vec![true; usize::from(count)].into_boxed_slice();
        let held_count = held.len();
        let canaries = Canary::of_all(count);
        let (tail, published) = (0, 0);
        let mut buffers =
            Buffers { mapping, offset, size, held, held_count, canaries, tail, published };
        for id in 0..count {
            buffers.release(BufferId(id));
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Takes note that the kernel has filled a buffer with so many bytes; it is now held.
    pub fn take(&mut self, id: u16, length: usize) -> BufferId {
        let held = &mut self.held[usize::from(id)];
        assert!(!*held, "the kernel gave a buffer that it does not have");
        *held = true;
        self.held_count += 1;
        if cfg!(debug_assertions) {
            let (canary, bytes) = self.guarded(BufferId(id));
            canary.filled(bytes, length);
        }
        BufferId(id)
    }

    /// The bytes of a buffer that is held.
    pub fn bytes(&mut self, id: BufferId) -> &mut [u8] {
        assert!(self.held[usize::from(id.0)], "a buffer that was released is the driver's");
        // SAFETY: `buffer` points to `size` bytes of the mapping, zero or written. The kernel gave
        // the buffer up when it completed the operation that filled it, and has it again only
        // after `release`; the borrow of `self` makes this the only reference until then.
        unsafe { std::slice::from_raw_parts_mut(self.buffer(id).as_ptr(), self.size) }
    }

    /// The bytes of a buffer that is held, and of its guard.
    fn guarded(&mut self, id: BufferId) -> (&mut Canary, &mut [u8]) {
        assert!(self.held[usize::from(id.0)]);
        let (start, length) = (self.buffer(id).as_ptr(), self.size + GUARD_BYTES);
        // SAFETY: as for `bytes`; the guard lies behind the buffer, and is nobody else's.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, length) };
        (&mut self.canaries[usize::from(id.0)], bytes)
    }

    /// Gives a held buffer back; the kernel is told with the next [`Buffers::publish`].
    pub fn release(&mut self, id: BufferId) {
        if cfg!(debug_assertions) && self.held[usize::from(id.0)] {
            let (canary, bytes) = self.guarded(id);
            canary.released(bytes);
        }
        let held = &mut self.held[usize::from(id.0)];
        assert!(*held, "a buffer is released once");
        *held = false;
        self.held_count -= 1;
        let position = usize::from(self.tail) & (self.held.len() - 1);
        let address = self.buffer(id).as_ptr() as u64;
        let entries = self.mapping.start().cast::<BufRingEntry>();
        // SAFETY: `position` is less than the number of entries, which lie at the beginning of the
        // mapping. The kernel reads an entry between `published` and the end of its turn only; this
        // one is beyond, because no more than all buffers are ever in the ring. Fields are written
        // one by one: the last two bytes of the first entry are the tail, which stays as it is.
        let entry = unsafe { &mut *entries.as_ptr().add(position) };
        entry.set_addr(address);
        entry.set_len(self.size as u32);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of all buffers that were released.
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        let entries = self.mapping.start().cast::<BufRingEntry>();
        // SAFETY: the entries begin with the mapping and are initialised, if only with zeros.
        let tail = unsafe { BufRingEntry::tail(entries.as_ptr()) };
        // SAFETY: the tail is two bytes of the mapping at an even address, and both sides access
        // it atomically while they share it. `Release` makes the entries visible before it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Ordering::Release);
    }

    /// Gives the memory of all buffers back to the system until they are filled again, unless one
    /// of them is held.
    ///
    /// # Safety
    /// The kernel must have no operation that may take a buffer.
    pub unsafe fn discard(&mut self) {
        if self.held_count == 0 {
            // SAFETY: the buffers begin at `offset`, behind the entries. None is held, so that
            // nobody looks at them, and the caller promises that nothing fills one.
            unsafe { self.mapping.discard(self.offset) };
            self.canaries.iter_mut().for_each(Canary::discarded);
        }
    }

    /// How many buffers the kernel has, or had when the last completion was reaped.
    pub fn available(&self) -> usize {
        self.held.len() - self.held_count
    }

    /// Where a buffer is.
    fn buffer(&self, id: BufferId) -> NonNull<u8> {
        assert!(usize::from(id.0) < self.held.len());
        let offset = self.offset + usize::from(id.0) * (self.size + GUARD_BYTES);
        // SAFETY: the id is less than the number of buffers, so that the buffer and its guard end
        // within the mapping, which has room for `count` of them behind `offset`.
        unsafe { self.mapping.start().add(offset) }
    }

    /// Fills every buffer, also those that the kernel has, while nothing can be in progress.
    #[cfg(test)]
    pub fn fill(&mut self, canary: u8) {
        for id in 0..self.held.len() as u16 {
            let start = self.buffer(BufferId(id)).as_ptr();
            // SAFETY: as for `bytes`, but for the kernel: the test promises that nothing arrives.
            unsafe { start.write_bytes(canary, self.size + GUARD_BYTES) };
            self.canaries[usize::from(id)].refilled(canary);
        }
    }

    /// How many bytes of the buffers that the kernel has are not the canary.
    #[cfg(test)]
    pub fn altered(&self, canary: u8) -> usize {
        let unheld = (0..self.held.len()).filter(|&index| !self.held[index]);
        unheld
            .map(|index| {
                let start = self.buffer(BufferId(index as u16)).as_ptr();
                // SAFETY: as for `bytes`, but for the kernel: the test promises that nothing
                // arrives.
                let bytes = unsafe { std::slice::from_raw_parts(start, self.size) };
                bytes.iter().filter(|&&byte| byte != canary).count()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::uring::ring::Work;

    #[test]
    fn buffers_have_their_size_and_do_not_overlap() {
        let ring = Ring::new(Work::Deferred).unwrap();
        let mut buffers = Buffers::new(&ring, 4, 100).unwrap();
        assert_eq!(buffers.available(), 4);
        for id in 0..4 {
            let id = buffers.take(id, 0);
            buffers.bytes(id).fill(id.0 as u8);
        }
        assert_eq!(buffers.available(), 0);
        for id in 0..4 {
            let bytes = buffers.bytes(BufferId(id));
            assert_eq!(bytes.len(), 100);
            assert!(bytes.iter().all(|&byte| byte == id as u8));
        }
    }

    #[test]
    fn a_buffer_that_is_held_keeps_its_bytes() {
        let ring = Ring::new(Work::Deferred).unwrap();
        let mut buffers = Buffers::new(&ring, 2, 64).unwrap();
        let id = buffers.take(1, 64);
        buffers.bytes(id).fill(7);
        // SAFETY: there is no operation at all.
        unsafe { buffers.discard() };
        assert_eq!(buffers.bytes(id), [7; 64]);
        buffers.release(id);
        // SAFETY: as above.
        unsafe { buffers.discard() };
        let id = buffers.take(1, 0);
        assert_eq!(buffers.bytes(id), [0; 64]);
    }

    /// Writes to a buffer, as a kernel does that has gone wrong.
    fn write_late(buffers: &mut Buffers, id: BufferId, offset: usize) {
        assert!(offset < buffers.size + GUARD_BYTES);
        // SAFETY: the byte is one of the buffer or of its guard, to which nobody refers.
        unsafe { buffers.buffer(id).add(offset).write(0x77) };
    }

    #[test]
    #[should_panic(expected = "byte 10 was written in a buffer that the kernel was given")]
    fn m48_a_write_that_is_not_reported_is_found_when_the_buffer_is_filled_again() {
        let ring = Ring::new(Work::Deferred).unwrap();
        let mut buffers = Buffers::new(&ring, 2, 64).unwrap();
        let id = buffers.take(1, 0);
        buffers.release(id);
        write_late(&mut buffers, id, 10);
        buffers.take(1, 10);
    }

    #[test]
    #[should_panic(expected = "byte 64 was written in a buffer that the kernel does not have")]
    fn m48_a_write_behind_a_buffer_that_is_held_is_found() {
        let ring = Ring::new(Work::Deferred).unwrap();
        let mut buffers = Buffers::new(&ring, 2, 64).unwrap();
        let id = buffers.take(0, 0);
        write_late(&mut buffers, id, 64);
        buffers.release(id);
    }
}
