//! A shard that sleeps when it has nothing to do.

use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use loom::sync::{Condvar, Mutex};

use crate::base::raised::Raised;
use crate::mailbox::Bell;

/// The thread of a shard: its bell, and the counter on which its driver waits.
#[derive(Debug)]
pub struct Sleeper {
    counter: Arc<Counter>,
    /// Its bell.
    pub bell: Arc<Bell>,
}

/// What `WakeSignal` is in `src/driver/waker.rs`.
#[derive(Debug)]
struct Counter {
    raised: Raised,
    /// What was added since the poll reported the last time.
    added: Mutex<usize>,
    has_grown: Condvar,
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.raised.raise() {
            *self.added.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.has_grown.notify_one();
        }
    }
}

impl Sleeper {
    /// One that is awake.
    #[expect(clippy::new_without_default, reason = "it begins inside of a model only")]
    pub fn new() -> Sleeper {
        let counter = Arc::new(Counter {
            raised: Raised::new(),
            added: Mutex::new(0),
            has_grown: Condvar::new(),
        });
        let bell = Arc::new(Bell::new(Waker::from(Arc::clone(&counter))));
        Sleeper { counter, bell }
    }

    /// What wakes it.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.counter))
    }

    /// The beginning of a turn: sleeps unless there is news. When nothing ever wakes it, `loom`
    /// says that the model has come to a standstill.
    pub fn turn(&self, has_news: impl FnOnce() -> bool) {
        self.bell.announce_sleep();
        if !has_news() {
            self.wait();
        }
        self.bell.awake();
    }

    /// The wait of a driver.
    pub fn wait(&self) {
        let mut added = self.counter.added.lock().unwrap_or_else(PoisonError::into_inner);
        while *added == 0 {
            added = self.counter.has_grown.wait(added).unwrap_or_else(PoisonError::into_inner);
        }
        *added = 0;
        drop(added);
        self.counter.raised.lower();
    }
}
