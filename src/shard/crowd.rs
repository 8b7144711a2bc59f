//! When a crowd of clients has left, and what a shard gives back then.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::fanout::Encoder;

use super::state::State;
use super::timer::Owner;

/// A crowd has left when one of so many is still there.
const CROWD_LEFT: usize = 4;
/// And when it has stayed away for so long: one that comes back finds everything as it was.
const STAYED_AWAY: Duration = Duration::from_secs(1);

/// How many clients there have been, and how many are left.
#[derive(Debug, Default)]
pub struct Crowd {
    /// The most since memory was last given back.
    most: usize,
    /// When it will be given back, unless they return.
    due: Option<Time>,
}

impl Crowd {
    /// As many as there are when memory has been given back.
    pub fn of(clients: usize) -> Crowd {
        Crowd { most: clients, due: None }
    }

    /// Takes note of how many there are. Gives the time at which memory is to be given back, if
    /// most have left.
    pub fn look(&mut self, clients: usize, now: Time) -> Option<Time> {
        self.most = self.most.max(clients);
        // Rounded so that the last one to leave is a crowd, too: it may leave a whole page behind.
        self.due = match clients < self.most.div_ceil(CROWD_LEFT) {
            true => Some(self.due.unwrap_or(now.after(STAYED_AWAY))),
            false => None,
        };
        self.due
    }
}

impl State {
    /// How many clients there are: most have a connection and a session.
    pub fn clients(&self) -> usize {
        self.connections.len().max(self.sessions.len())
    }

    /// Gives back what lists have grown by for a crowd that has left.
    pub fn fit(&mut self, least: usize) {
        self.connections.fit(least);
        self.sessions.fit(least);
        self.sockets.fit(least);
        self.sleepers.fit(least);
        self.dirty.fit(least);
        self.resumed.fit(least);
        self.jobs.fit(least);
        self.effects.fit(least);
        self.chosen.fit(least);
        // These are small, but each keeps a page of the allocator in memory, and are soon remade.
        self.encoder = Encoder::default();
        self.random = VecDeque::new();
        self.spare.clear();
        self.timers.retain(|owner| match owner {
            Owner::Connection(index) => self.connections.key_at(index).is_some(),
            Owner::Session(index) => self.sessions.key_at(index).is_some(),
            Owner::Acks(index) => self.sockets.key_at(index).is_some(),
            Owner::Sleep(index) => self.sleepers.key_at(index).is_some(),
        });
        for namespace in &mut self.namespaces {
            namespace.sockets.fit(least);
            namespace.rooms.fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn a_crowd_has_left_when_few_are_still_there_for_a_while() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.look(1_000, at(0)), None);
        assert_eq!(crowd.look(250, at(10)), None);
        assert_eq!(crowd.look(249, at(20)), Some(at(1_020)));
        assert_eq!(crowd.look(3, at(30)), Some(at(1_020)));
        // They return, and leave again.
        assert_eq!(crowd.look(300, at(1_010)), None);
        assert_eq!(crowd.look(0, at(2_000)), Some(at(3_000)));
    }

    #[test]
    fn whoever_was_left_of_a_crowd_may_leave_too() {
        let mut crowd = Crowd::of(1);
        assert_eq!(crowd.look(1, at(0)), None);
        assert_eq!(crowd.look(0, at(0)), Some(at(1_000)));
        assert_eq!(Crowd::of(0).look(0, at(0)), None);
    }
}
