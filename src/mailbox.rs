//! How other threads reach a shard: a bounded lock-free queue, and a bell that rings once a sleep.
//!
//! `tests/models` compiles this file once more, and tries it in every order of its threads' steps.

use std::sync::Arc;
use std::task::Waker;

use crossbeam_queue::SegQueue;

use crate::base::sync::{AtomicBool, AtomicUsize, Ordering, fence};

/// Wakes a shard, but only one that sleeps or is about to.
///
/// The shard announces its sleep before it looks at its queues for the last time; a sender rings
/// after it has put something in. Whichever comes second sees the other, so nothing is slept over.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// A bell of a shard that is awake; `waker` ends the wait of its driver.
    pub fn new(waker: Waker) -> Bell {
        Bell { asleep: AtomicBool::new(false), waker }
    }

    /// Wakes the shard if it sleeps; costs one load when it is awake.
    pub fn ring(&self) {
        // Pairs with the fence in `announce_sleep`: either this load sees the announcement, or the
        // shard's last look at its queues sees what was put in before the ring.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.waker.wake_by_ref();
        }
    }

    /// Called by the shard before its last look at its queues.
    pub fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the shard when it is awake again.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// The bounded queue of one shard. Any thread posts, the shard takes, in order of arrival; what one
/// thread posts arrives in the order in which it was posted. It takes memory for what waits in it,
/// and not for what might: a ring of 65,536 places would be the larger part of an idle server.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: SegQueue<T>,
    /// Values that are in the queue, or about to be.
    waiting: AtomicUsize,
    capacity: usize,
    bell: Arc<Bell>,
    /// Nobody takes from it any more.
    closed: AtomicBool,
}

impl<T> Mailbox<T> {
    /// A mailbox that holds at most `capacity` values.
    pub fn new(capacity: usize, bell: Arc<Bell>) -> Mailbox<T> {
        let (queue, waiting) = (SegQueue::new(), AtomicUsize::new(0));
        Mailbox { queue, waiting, capacity, bell, closed: AtomicBool::new(false) }
    }

    /// Puts a value in and wakes the shard if it sleeps.
    ///
    /// # Errors
    /// Gives the value back when the mailbox is full, so that the shard is behind and the caller
    /// decides, or when it was closed.
    pub fn post(&self, value: T) -> Result<(), T> {
        self.put(value, self.capacity)
    }

    /// Puts a question in, also when the mailbox is full: whoever asks waits for the answer, so
    /// that questions do not pile up as what is posted does.
    ///
    /// # Errors
    /// Gives the question back when the mailbox was closed.
    pub fn ask(&self, question: T) -> Result<(), T> {
        self.put(question, usize::MAX)
    }

    fn put(&self, value: T, most: usize) -> Result<(), T> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(value);
        }
        // A count, which orders nothing: the queue does.
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= most {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(value);
        }
        self.queue.push(value);
        self.bell.ring();
        // After the fence of `ring`, which pairs with that of `close`: either this load sees that
        // the mailbox was closed meanwhile, or the shard's last look at it sees the value.
        if self.closed.load(Ordering::Relaxed) {
            while self.take().is_some() {}
        }
        Ok(())
    }

    /// Called by a shard that ends, before it takes for the last time: from now on values stay with
    /// those who want to post them. Nobody would ever take or drop them here.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether its shard has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes the oldest value.
    pub fn take(&self) -> Option<T> {
        let value = self.queue.pop()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(value)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The bell of the shard.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

/// What is ready to run on one shard. Its length is bounded by the number of tasks, since a task is
/// in it once at most.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    queue: SegQueue<T>,
    bell: Arc<Bell>,
}

impl<T> ReadyQueue<T> {
    /// An empty queue.
    pub fn new(bell: Arc<Bell>) -> ReadyQueue<T> {
        ReadyQueue { queue: SegQueue::new(), bell }
    }

    /// Puts a value in and wakes the shard if it sleeps.
    pub fn push(&self, value: T) {
        self.queue.push(value);
        self.bell.ring();
    }

    /// Takes the oldest value.
    pub fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// How many values wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn mailbox(capacity: usize) -> (Mailbox<u32>, Arc<Count>) {
        let count = Arc::new(Count::default());
        let bell = Arc::new(Bell::new(Waker::from(Arc::clone(&count))));
        (Mailbox::new(capacity, bell), count)
    }

    #[test]
    fn a_shard_that_is_awake_is_not_woken() {
        let (mailbox, wakes) = mailbox(4);
        mailbox.post(1).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_sleeping_shard_is_woken_once_a_sleep() {
        let (mailbox, wakes) = mailbox(4);
        mailbox.bell().announce_sleep();
        mailbox.post(1).unwrap();
        mailbox.post(2).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        mailbox.bell().awake();
        mailbox.bell().announce_sleep();
        mailbox.post(3).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_full_mailbox_gives_the_value_back() {
        let (mailbox, _) = mailbox(1);
        mailbox.post(1).unwrap();
        assert_eq!(mailbox.post(2), Err(2));
        assert_eq!(mailbox.take(), Some(1));
        mailbox.post(3).unwrap();
    }

    #[test]
    fn a_question_is_put_into_a_full_mailbox_and_not_into_a_closed_one() {
        let (mailbox, _) = mailbox(1);
        mailbox.post(1).unwrap();
        mailbox.ask(2).unwrap();
        assert_eq!(mailbox.post(3), Err(3));
        assert_eq!((mailbox.take(), mailbox.take()), (Some(1), Some(2)));
        mailbox.close();
        assert_eq!(mailbox.ask(4), Err(4));
    }

    #[test]
    fn a_closed_mailbox_keeps_nothing() {
        let mailbox = Mailbox::new(4, Arc::new(Bell::new(Waker::noop().clone())));
        mailbox.post(1).unwrap();
        mailbox.close();
        assert_eq!(mailbox.take(), Some(1));
        assert_eq!(mailbox.post(2), Err(2));
        assert!(mailbox.is_empty());
    }

    #[test]
    fn nothing_posted_by_any_thread_is_slept_over_lost_or_reordered() {
        const EACH: u32 = 20_000;
        let parker = Arc::new(Parker { thread: std::thread::current() });
        let bell = Arc::new(Bell::new(Waker::from(parker)));
        let mailbox = Arc::new(Mailbox::new(64, bell));
        let senders: Vec<_> = (0..2u32)
            .map(|sender| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    for value in 0..EACH {
                        while mailbox.post((sender, value)).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; 2];
        while next != [EACH; 2] {
            mailbox.bell().announce_sleep();
            if mailbox.is_empty() {
                std::thread::park();
            }
            mailbox.bell().awake();
            while let Some((sender, value)) = mailbox.take() {
                assert_eq!(next[sender as usize], value);
                next[sender as usize] += 1;
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }

    struct Parker {
        thread: std::thread::Thread,
    }

    impl Wake for Parker {
        fn wake(self: Arc<Self>) {
            self.thread.unpark();
        }
    }
}
