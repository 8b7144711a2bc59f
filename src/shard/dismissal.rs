//! The drain of a server, as one shard does its part: its clients are sent away one after the
//! other, so that those who come back, to another server or the next process, are no flood.
//!
//! A client whose event is still to be acknowledged keeps its session until that is done, or the
//! time is up.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::limits::DISMISSALS_PER_SECOND;
use crate::base::slab::Key;
use crate::command::SocketAddress;

use super::context::Context;
use super::state::State;

/// The mean pause between two looks at who is to go.
const PAUSE: Duration = Duration::from_millis(10);

/// Who is still to be sent away by a shard, and how fast. Its times are the driver's: how long a
/// drain may take is promised to whoever waits for its end.
#[derive(Debug)]
pub struct Dismissal {
    waiting: Vec<Key>,
    /// Those whose turn has come, but who are owed an answer.
    held: Vec<Key>,
    /// How many were waiting when it began.
    total: usize,
    began: Time,
    window: Duration,
    next: Time,
    /// Until then others may come.
    grace: Time,
    by: Time,
}

impl Dismissal {
    /// One of nobody, which is over after `timeout` at the latest, and not before `grace`.
    pub fn new(now: Time, timeout: Duration, grace: Duration) -> Dismissal {
        Dismissal {
            waiting: Vec::new(),
            held: Vec::new(),
            total: 0,
            began: now,
            window: Duration::ZERO,
            next: now,
            grace: now.after(grace),
            by: now.after(timeout),
        }
    }

    /// Sends these away from now on, too, but for those that are owed an answer: as fast as they
    /// would have to go if all of `shards` had as many, but no slower than in the time that is
    /// left.
    pub fn add(&mut self, mut sessions: Vec<Key>, now: Time, shards: usize) {
        let held: HashSet<Key> = self.held.iter().copied().collect();
        sessions.retain(|session| !held.contains(session));
        let everywhere = u32::try_from(sessions.len().saturating_mul(shards)).unwrap_or(u32::MAX);
        let quick = Duration::from_secs(1) * everywhere / DISMISSALS_PER_SECOND;
        (self.total, self.began) = (sessions.len(), now);
        self.window = quick.min(self.by.since(now));
        self.waiting = sessions;
    }

    /// Whether the turn of all has come.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether somebody may have to go now.
    pub fn is_due(&self, now: Time) -> bool {
        self.next <= now
    }

    /// When the next ones are to go.
    pub fn next(&self) -> Time {
        self.next.min(self.by)
    }

    /// Until when it is not over.
    pub fn grace(&self) -> Time {
        self.grace
    }

    /// When all have to be gone.
    pub fn by(&self) -> Time {
        self.by
    }

    /// Those who are to go now. It asks who is owed an answer, and draws the pause behind it.
    pub fn take(&mut self, now: Time, owed: &HashSet<Key>, random: u8) -> Vec<Key> {
        self.next = now.after(PAUSE * 2 * u32::from(random) / 255 + Duration::from_millis(1));
        let elapsed = now.since(self.began).as_micros().saturating_add(1);
        let share = self.total as u128 * elapsed / self.window.as_micros().max(1);
        let stay = self.total.saturating_sub(usize::try_from(share).unwrap_or(usize::MAX));
        let due = self.waiting.split_off(stay.min(self.waiting.len()));
        let (held, go) = self.held.drain(..).chain(due).partition(|key| owed.contains(key));
        self.held = held;
        go
    }
}

/// An acknowledgement that a handler may still give, for as long as this is not dropped.
pub struct Owed {
    context: Rc<Context>,
    name: Key,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.context.owed.borrow_mut().remove(self.name);
    }
}

impl Context {
    /// A handler that waits may still acknowledge an event of a socket.
    pub fn owes(self: &Rc<Self>, socket: SocketAddress) -> Owed {
        let name = self.owed.borrow_mut().insert(socket);
        Owed { context: Rc::clone(self), name }
    }

    /// The sessions whose clients are owed an answer.
    pub(super) fn owed_sessions(&self) -> HashSet<Key> {
        let owed = self.owed.borrow();
        self.with(|state| {
            let sockets = owed.iter().filter_map(|(_, socket)| state.socket_key(*socket));
            sockets.filter_map(|key| Some(state.sockets.get(key)?.session)).collect()
        })
    }
}

impl State {
    /// The sessions that are left: those that nobody has sent away, and those whose clients have
    /// still to hear of it.
    pub(super) fn sessions_left(&self) -> Vec<Key> {
        self.sessions.iter().map(|(key, _)| key).collect()
    }

    /// Sends the client of a session away, behind what is queued for it.
    pub(super) fn send_away(&mut self, session: Key) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        self.flush_session(session);
        self.drive(session, |session, effects| session.send_away(now, &options, effects));
    }

    /// A random byte; it need not be good.
    pub(super) fn any_byte(&mut self) -> u8 {
        self.random_bytes().map_or(0, |[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn keys(count: u32) -> Vec<Key> {
        (0..count).map(|index| Key { index, generation: 0 }).collect()
    }

    /// How long it takes to send so many away, and the most who go at once.
    fn run(count: u32, shards: usize) -> (Duration, usize) {
        let mut now = Time::ZERO;
        let mut dismissal = Dismissal::new(now, TIMEOUT, Duration::ZERO);
        dismissal.add(keys(count), now, shards);
        let (mut gone, mut most) = (HashSet::new(), 0);
        while !dismissal.is_idle() {
            let random = (now.as_micros() % 256) as u8;
            let go = dismissal.take(now, &HashSet::new(), random);
            most = most.max(go.len());
            assert!(go.into_iter().all(|key| gone.insert(key)), "each goes once");
            now = dismissal.next();
            assert!(now <= Time::ZERO.after(TIMEOUT));
        }
        assert_eq!(gone.len(), count as usize);
        (now.since(Time::ZERO), most)
    }

    #[test]
    fn m63_clients_go_at_a_pace_and_few_of_them_at_once() {
        let (took, most) = run(10_000, 1);
        assert!((9_900..10_100).contains(&took.as_millis()), "{took:?}");
        assert!(most <= 25, "{most}");
        assert!(run(3, 2).0 < Duration::from_millis(50));
        assert_eq!(run(0, 2).0, Duration::ZERO);
        let (took, _) = run(1_000_000, 2);
        assert!(took <= TIMEOUT, "no slower than they have to");
    }

    #[test]
    fn m63_who_is_owed_an_answer_goes_last() {
        let mut dismissal = Dismissal::new(Time::ZERO, TIMEOUT, Duration::ZERO);
        dismissal.add(keys(2), Time::ZERO, 1);
        let owed: HashSet<Key> = keys(1).into_iter().collect();
        let later = Time::ZERO.after(Duration::from_secs(1));
        assert_eq!(dismissal.take(later, &owed, 0), keys(2)[1..]);
        assert_eq!(dismissal.take(dismissal.next(), &HashSet::new(), 0), keys(1));
        assert!(dismissal.is_idle() && dismissal.held.is_empty());
    }
}
