//! The atomics of `loom`, in the place of those of the standard library.

pub use loom::sync::atomic::{AtomicUsize, Ordering, fence};

/// A flag. It is stored to by a swap: `loom` does not know that nothing comes between what a swap
/// reads and what it writes, so that it takes a store of another thread for older than a swap
/// which it follows, and sees wake-ups lost that no machine loses.
#[derive(Debug)]
pub struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    /// With a first value.
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool(loom::sync::atomic::AtomicBool::new(value))
    }

    /// Reads it.
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    /// Writes it.
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    /// Writes it, and reads what was there.
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}
