//! Who waits until everything that was queued for a session has been sent.
//!
//! Those who wait for any session are in one map, so that a session for which nobody waits has no
//! byte for it, and a shard where nobody waits looks at the size of the map and no further.

use std::collections::HashMap;

use futures_channel::oneshot;

use crate::base::slab::Key;
use crate::command::DrainError;

use super::state::{Job, State};

/// Who is told that a queue has drained, or that it never will.
pub type DrainWaiter = oneshot::Sender<Result<(), DrainError>>;

/// What must be sent before somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The next answer to a poll that holds packets: it holds all of them.
    Poll,
    /// So many bytes of the session's WebSocket.
    Bytes(usize),
}

/// Those who wait for the sessions of a shard.
#[derive(Default)]
pub struct Drains {
    by_session: HashMap<Key, Vec<(Mark, DrainWaiter)>>,
}

impl Drains {
    /// Whether nobody waits for any session.
    pub(super) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// Adds one who waits. Those who have lost interest make room; beyond `most` it is refused.
    fn add(&mut self, session: Key, mark: Mark, waiter: DrainWaiter, most: usize) {
        let waiting = self.by_session.entry(session).or_default();
        if waiting.len() >= most {
            waiting.retain(|(_, waiter)| !waiter.is_canceled());
        }
        if waiting.len() < most {
            return waiting.push((mark, waiter));
        }
        if waiting.is_empty() {
            self.by_session.remove(&session);
        }
        tell(waiter, Err(DrainError::TooMany));
    }

    /// So many bytes of a session's WebSocket have been sent. Gives those who waited for them.
    fn sent(&mut self, session: Key, bytes: usize) -> Vec<DrainWaiter> {
        self.take(session, |mark| match mark {
            Mark::Poll => false,
            Mark::Bytes(left) => {
                *left = left.saturating_sub(bytes);
                *left == 0
            }
        })
    }

    /// So many bytes were dropped that stood behind `offset` others. Those who waited for them wait
    /// for what is left, which is being sent.
    pub(super) fn dropped(&mut self, session: Key, offset: usize, bytes: usize) {
        for (mark, _) in self.by_session.get_mut(&session).into_iter().flatten() {
            if let Mark::Bytes(left) = mark
                && *left > offset
            {
                *left = (*left).saturating_sub(bytes).max(offset);
            }
        }
    }

    /// A poll was answered with all that was queued. Gives those who waited for that.
    fn polled(&mut self, session: Key) -> Vec<DrainWaiter> {
        self.take(session, |mark| *mark == Mark::Poll)
    }

    /// What was queued for polls is behind these bytes of a WebSocket now, or among them.
    fn upgraded(&mut self, session: Key, bytes: usize) {
        for (mark, _) in self.by_session.get_mut(&session).into_iter().flatten() {
            *mark = Mark::Bytes(bytes);
        }
    }

    /// Takes out all who wait for a session.
    fn remove(&mut self, session: Key) -> Vec<DrainWaiter> {
        self.take(session, |_| true)
    }

    fn take(
        &mut self,
        session: Key,
        mut is_over: impl FnMut(&mut Mark) -> bool,
    ) -> Vec<DrainWaiter> {
        let Some(waiting) = self.by_session.get_mut(&session) else { return Vec::new() };
        let over = waiting.extract_if(.., |(mark, _)| is_over(mark));
        let over = over.map(|(_, waiter)| waiter).collect();
        if waiting.is_empty() {
            self.by_session.remove(&session);
        }
        over
    }
}

/// Tells one who waited. What wakes it is user code.
pub fn tell(waiter: DrainWaiter, result: Result<(), DrainError>) {
    // Whoever waited may have lost interest; that is no fault.
    let _ = waiter.send(result);
}

impl State {
    /// Has one told when all that is queued for a session by now has been sent.
    pub fn await_drain(&mut self, session: Key, waiter: DrainWaiter) {
        let result = match self.queued_bytes(session) {
            None => Err(DrainError::Disconnected),
            Some(0) => Ok(()),
            Some(bytes) => {
                let entry = self.sessions.get(session);
                let mark = match entry.and_then(|entry| entry.session.websocket()) {
                    Some(_) => Mark::Bytes(bytes),
                    None => Mark::Poll,
                };
                let most = self.shared.settings.options.limits.drain_waiters;
                return self.drains.add(session, mark, waiter, most);
            }
        };
        tell(waiter, result);
    }

    /// The kernel has taken bytes of a connection.
    pub(super) fn drained_by(&mut self, connection: Key, bytes: usize) {
        if let Some(session) = self.carried_by(connection) {
            let waiters = self.drains.sent(session, bytes);
            self.drain_over(waiters, Ok(()));
        }
    }

    /// A poll was answered with all that was queued for a session.
    pub(super) fn drained_by_poll(&mut self, session: Key) {
        if !self.drains.is_empty() {
            let waiters = self.drains.polled(session);
            self.drain_over(waiters, Ok(()));
        }
    }

    /// What was queued for the polls of a session was queued for its WebSocket.
    pub(super) fn drain_upgrades(&mut self, session: Key, connection: Key) {
        if !self.drains.is_empty()
            && let Some(conn) = self.connections.get(connection)
        {
            self.drains.upgraded(session, conn.queue.bytes());
        }
    }

    /// A session is over: what was not sent by now is not known to have been.
    pub(super) fn drain_ends(&mut self, session: Key) {
        if !self.drains.is_empty() {
            let waiters = self.drains.remove(session);
            self.drain_over(waiters, Err(DrainError::Disconnected));
        }
    }

    fn drain_over(&mut self, waiters: Vec<DrainWaiter>, result: Result<(), DrainError>) {
        if !waiters.is_empty() {
            self.jobs.push_back(Job::Drained(waiters, result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Key = Key { index: 1, generation: 0 };

    fn wait(drains: &mut Drains, mark: Mark) -> oneshot::Receiver<Result<(), DrainError>> {
        let (sender, receiver) = oneshot::channel();
        drains.add(SESSION, mark, sender, 2);
        receiver
    }

    #[test]
    fn who_waits_is_told_when_what_was_queued_before_is_sent_and_not_what_came_later() {
        let mut drains = Drains::default();
        let (_first, _second) =
            (wait(&mut drains, Mark::Bytes(10)), wait(&mut drains, Mark::Bytes(30)));
        assert_eq!(drains.sent(SESSION, 9).len(), 0);
        assert_eq!(drains.sent(SESSION, 1).len(), 1);
        assert_eq!(drains.polled(SESSION).len(), 0, "a WebSocket carries it");
        assert_eq!(drains.sent(SESSION, 1_000).len(), 1);
        assert!(drains.is_empty());
    }

    #[test]
    fn who_waits_for_a_poll_waits_for_the_websocket_after_an_upgrade() {
        let mut drains = Drains::default();
        let _waiting = wait(&mut drains, Mark::Poll);
        assert_eq!(drains.sent(SESSION, 1_000).len(), 0, "those of a probe are not its bytes");
        drains.upgraded(SESSION, 5);
        assert_eq!(drains.polled(SESSION).len(), 0);
        assert_eq!(drains.sent(SESSION, 5).len(), 1);
        let _waiting = wait(&mut drains, Mark::Poll);
        assert_eq!((drains.polled(SESSION).len(), drains.is_empty()), (1, true));
    }

    #[test]
    fn so_many_wait_and_no_more_and_those_who_have_lost_interest_do_not_count() {
        let mut drains = Drains::default();
        let first = wait(&mut drains, Mark::Poll);
        let _second = wait(&mut drains, Mark::Poll);
        let mut third = wait(&mut drains, Mark::Poll);
        assert_eq!(third.try_recv(), Ok(Some(Err(DrainError::TooMany))));
        drop(first);
        let mut fourth = wait(&mut drains, Mark::Poll);
        assert_eq!(fourth.try_recv(), Ok(None));
        assert_eq!((drains.remove(SESSION).len(), drains.is_empty()), (2, true));
    }
}
