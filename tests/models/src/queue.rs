//! A queue that gives no more order than the one of the server.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Values that one model may push.
const PLACES: usize = 4;

/// In the place of `crossbeam_queue::SegQueue`, and with its steps: a pusher takes a place, then
/// writes the value and says that it is there; who pops takes the place first, too, and then waits
/// for the value. `crossbeam` makes some of these steps sequentially consistent; here none is, so
/// that a model relies on acquire and release alone.
pub struct SegQueue<T> {
    tail: AtomicUsize,
    head: AtomicUsize,
    places: [Place<T>; PLACES],
}

struct Place<T> {
    is_written: AtomicBool,
    /// Locked for a moment that no other thread sees: a lock of `loom` would order more.
    value: Mutex<Option<T>>,
}

impl<T> SegQueue<T> {
    /// An empty queue.
    #[expect(clippy::new_without_default, reason = "the other one is made with `new`")]
    pub fn new() -> SegQueue<T> {
        let place = |_| Place { is_written: AtomicBool::new(false), value: Mutex::new(None) };
        let places = std::array::from_fn(place);
        SegQueue { tail: AtomicUsize::new(0), head: AtomicUsize::new(0), places }
    }

    /// Puts a value in.
    pub fn push(&self, value: T) {
        let place = &self.places[self.tail.fetch_add(1, Ordering::AcqRel)];
        *place.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        place.is_written.store(true, Ordering::Release);
    }

    /// Takes the oldest value.
    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == self.tail.load(Ordering::Acquire) {
                return None;
            }
            let (order, failed) = (Ordering::AcqRel, Ordering::Acquire);
            match self.head.compare_exchange(head, head + 1, order, failed) {
                Ok(_) => break,
                Err(other) => head = other,
            }
        }
        let place = &self.places[head];
        while !place.is_written.load(Ordering::Acquire) {
            loom::thread::yield_now();
        }
        place.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values wait, or are about to be written.
    pub fn len(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).saturating_sub(head)
    }
}

impl<T> fmt::Debug for SegQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SegQueue")
    }
}
