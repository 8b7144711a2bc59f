//! Ends the wait of a driver from any thread: an event counter that it polls.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

use super::sys;
use crate::base::raised::Raised;

/// What wakers and the driver share. It owns the counter, so that a waker that outlives its driver
/// adds to a counter that nobody polls.
///
/// The counter is only ever added to. The poll reports each addition, not that the counter is not
/// zero, so nobody has to read it; and it would take 2^64 wake-ups to fill it.
#[derive(Debug)]
pub struct WakeSignal {
    counter: File,
    /// Whether the counter was added to since the driver last looked.
    raised: Raised,
}

impl WakeSignal {
    /// Makes the counter.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> io::Result<Arc<WakeSignal>> {
        let counter = File::from(sys::event_counter()?);
        Ok(Arc::new(WakeSignal { counter, raised: Raised::new() }))
    }

    /// What is to be polled.
    pub fn counter(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }

    /// The descriptor of that.
    pub fn descriptor(&self) -> RawFd {
        self.counter.as_raw_fd()
    }

    /// To be called by the driver after the poll reported and before its turn ends.
    pub fn lower(&self) {
        self.raised.lower();
    }
}

impl Wake for WakeSignal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.raised.raise() {
            // It fails only when the counter is full, which the type's comment excludes.
            let _ = (&self.counter).write(&1u64.to_ne_bytes());
        }
    }
}
