//! Copies of short texts that were received, which handlers may keep.

use bytes::{Bytes, BytesMut};

/// What is longer has memory of its own: a copy that is kept must not keep much else.
const SHARED_BYTES_MAX: usize = 512;
/// Copies that lie side by side.
const PIECE_BYTES: usize = 4 * 1024;

/// Makes copies, side by side in pieces of memory. A piece is used again when all its copies are
/// gone, so that a handler which relays what it got costs no allocation.
#[derive(Debug, Default)]
pub struct Copies(BytesMut);

impl Copies {
    /// A copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0.reserve(PIECE_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_are_kept_stay_what_they_are() {
        let mut copies = Copies::default();
        let text = |index: usize| vec![index as u8; index % 700];
        let kept: Vec<Bytes> = (0..3_000).map(|index| copies.copy(&text(index))).collect();
        assert!(kept.iter().enumerate().all(|(index, copy)| copy[..] == text(index)));
    }

    #[test]
    fn memory_is_used_again_when_nothing_is_kept() {
        let mut copies = Copies::default();
        let first = copies.copy(b"first").as_ptr();
        let places: Vec<_> = (0..2_000).map(|_| copies.copy(&[0; 100]).as_ptr()).collect();
        let span = places.iter().max().unwrap().addr() - first.addr();
        assert!(span < PIECE_BYTES, "{span} bytes are in use");
    }
}
