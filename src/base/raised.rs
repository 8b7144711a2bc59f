//! A flag that is up while a wake-up is under way, so that further ones are free.

use super::sync::{AtomicBool, Ordering};

/// Whether somebody has been woken who has not looked since.
#[derive(Debug)]
pub struct Raised(AtomicBool);

impl Raised {
    /// Down.
    #[expect(clippy::new_without_default, reason = "the atomic of a model has no default")]
    pub fn new() -> Raised {
        Raised(AtomicBool::new(false))
    }

    /// Puts it up; answers whether it was down, so that the caller is the one to wake.
    pub fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Called by who was woken, before it looks at what there is to do.
    ///
    /// Who raises before this wakes nobody, and its thread's work is seen: the swap here reads what
    /// the swap there has written. Who raises after it wakes.
    pub fn lower(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}
