//! Finds writes to a receive buffer that nobody was to make, the kernel least of all: no sanitizer
//! sees what that writes. Debug builds only, in which all tests run.
//!
//! A buffer is filled with a pattern when it is given to the kernel, and has some bytes of it
//! behind its end. What the kernel says that it has written is nobody's pattern any more; all the
//! rest must still be there when the kernel gives the buffer up, and when the shard does: a write
//! that comes later than its completion is found at the next of these looks.

/// Bytes behind each buffer that are neither the kernel's nor the shard's.
pub const GUARD_BYTES: usize = if cfg!(debug_assertions) { 64 } else { 0 };

/// What a buffer is filled with that has been used.
const PATTERN: u8 = 0xdb;

/// What is known of the bytes of one buffer.
#[derive(Clone, Debug, Default)]
pub struct Canary {
    /// What the bytes are that the kernel has not written. Memory that was never used, or has been
    /// given back, is zero, and stays so that it takes no room.
    pattern: u8,
    /// What the kernel has written: the first bytes.
    written: usize,
}

impl Canary {
    /// The canaries of so many buffers; none in a release build.
    pub fn of_all(count: u16) -> Box<[Canary]> {
        vec![Canary::default(); if cfg!(debug_assertions) { count.into() } else { 0 }].into()
    }

    /// The kernel gives the buffer up, and says that it has written so many bytes. Here and below,
    /// `bytes` are those of the buffer and of its guard.
    ///
    /// # Panics
    /// There are others that are not what they were.
    pub fn filled(&mut self, bytes: &[u8], length: usize) {
        self.written = length;
        self.look(bytes, "in a buffer that the kernel was given");
    }

    /// The shard has read the buffer, and the kernel may have it again.
    ///
    /// # Panics
    /// As for [`Canary::filled`].
    pub fn released(&mut self, bytes: &mut [u8]) {
        self.look(bytes, "in a buffer that the kernel does not have");
        let stale = if self.pattern == PATTERN { self.written } else { bytes.len() };
        if self.written > 0 {
            self.pattern = PATTERN;
            bytes[..stale].fill(PATTERN);
        }
        self.written = 0;
    }

    /// The memory of the buffer was given back to the system.
    pub fn discarded(&mut self) {
        *self = Canary::default();
    }

    /// The buffer was filled with something else.
    #[cfg(test)]
    pub fn refilled(&mut self, pattern: u8) {
        *self = Canary { pattern, written: 0 };
    }

    fn look(&self, bytes: &[u8], place: &str) {
        let rest = &bytes[self.written..];
        let expected = [self.pattern; 256];
        // Compared by blocks: this runs twice for all that arrives.
        if rest.chunks(expected.len()).all(|block| block == &expected[..block.len()]) {
            return;
        }
        let behind = rest.iter().take_while(|&&byte| byte == self.pattern).count();
        let (at, length) = (self.written + behind, bytes.len() - GUARD_BYTES);
        panic!("byte {at} was written {place}: {} of {length} were reported", self.written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer of 100 bytes with its guard, in the kernel's hands after it was used once.
    fn used() -> (Canary, Vec<u8>) {
        let (mut canary, mut bytes) = (Canary::default(), vec![0; 100 + GUARD_BYTES]);
        bytes[..40].fill(1);
        canary.filled(&bytes, 40);
        canary.released(&mut bytes);
        assert!(bytes.iter().all(|&byte| byte == PATTERN), "nothing of it is left");
        (canary, bytes)
    }

    #[test]
    fn a_buffer_is_used_again_and_again() {
        let (mut canary, mut bytes) = used();
        for length in [100, 1, 0, 64] {
            bytes[..length].fill(2);
            canary.filled(&bytes, length);
            canary.released(&mut bytes);
        }
        bytes.fill(0);
        canary.discarded();
        canary.filled(&bytes, 0);
    }

    #[test]
    #[should_panic(expected = "byte 3 was written in a buffer that the kernel was given: 2 of 100")]
    fn m48_a_write_behind_what_was_reported_is_found() {
        let (mut canary, mut bytes) = used();
        bytes[..4].fill(2);
        bytes[2] = PATTERN;
        canary.filled(&bytes, 2);
    }

    #[test]
    #[should_panic(expected = "byte 100 was written")]
    fn m48_a_write_behind_the_buffer_is_found() {
        let (mut canary, mut bytes) = used();
        bytes[..101].fill(2);
        canary.filled(&bytes, 100);
    }

    #[test]
    #[should_panic(expected = "byte 50 was written in a buffer that the kernel does not have")]
    fn m48_a_write_while_the_shard_reads_is_found() {
        let (mut canary, mut bytes) = used();
        bytes[..40].fill(2);
        canary.filled(&bytes, 40);
        bytes[50] = 2;
        canary.released(&mut bytes);
    }
}
