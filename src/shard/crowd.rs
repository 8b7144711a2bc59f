//! When a crowd of clients has left, and what a shard gives back then.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::fanout::Encoder;
use crate::proto::http::Compressor;

use super::state::State;
use super::timer::Owner;

/// A crowd has left when one of so many is still there.
const CROWD_LEFT: usize = 4;
/// What costs more to make anew than a list is given back when nobody has returned for so long.
const STAYED_AWAY: Duration = Duration::from_secs(1);

/// How many clients there have been, and how many are left.
#[derive(Debug, Default)]
pub struct Crowd {
    /// The most since lists were last fitted to them.
    lately: usize,
    /// The most since all memory was last given back.
    most: usize,
    /// When it will be given back, unless they return.
    due: Option<Time>,
}

impl Crowd {
    /// As many as there are when memory has been given back.
    pub fn of(clients: usize) -> Crowd {
        Crowd { lately: clients, most: clients, due: None }
    }

    /// Takes note of how many there are. Answers whether most of those have left for whom lists
    /// had grown.
    pub fn shrinks(&mut self, clients: usize) -> bool {
        let shrinks = clients < self.lately / CROWD_LEFT;
        self.lately = if shrinks { clients } else { self.lately.max(clients) };
        shrinks
    }

    /// Takes note of how many there are. Gives the time at which all memory is to be given back,
    /// if most have left.
    pub fn gone_by(&mut self, clients: usize, now: Time) -> Option<Time> {
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
        self.dirty.fit(least);
        self.resumed.fit(least);
        self.jobs.fit(least);
        self.effects.fit(least);
        self.chosen.fit(least);
        self.batch.fit(least);
        self.spare.clear();
        self.timers.retain(|owner| match owner {
            Owner::Connection(index) => self.connections.key_at(index).is_some(),
            Owner::Session(index) => self.sessions.key_at(index).is_some(),
            Owner::Acks(index) => self.sockets.key_at(index).is_some(),
            Owner::Recovery => true,
            Owner::Sleep(index) => self.sleepers.key_at(index).is_some(),
        });
        for namespace in self.namespaces.iter_mut() {
            namespace.sockets.fit(least);
            namespace.rooms.fit();
        }
    }

    /// Gives back what else has grown for a crowd that is gone.
    pub fn relax(&mut self, least: usize) {
        self.connections.fit(least);
        self.sessions.fit(least);
        self.sockets.fit(least);
        self.sleepers.fit(least);
        // These are small and soon remade, but each keeps a page of the allocator in memory.
        self.encoder = Encoder::default();
        self.bodies = Compressor::default();
        self.compression.iter_mut().for_each(|compression| compression.relax());
        self.random = VecDeque::new();
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
        assert_eq!(crowd.gone_by(1_000, at(0)), None);
        assert_eq!(crowd.gone_by(250, at(10)), None);
        assert_eq!(crowd.gone_by(249, at(20)), Some(at(1_020)));
        assert_eq!(crowd.gone_by(3, at(30)), Some(at(1_020)));
        // They return, and leave again.
        assert_eq!(crowd.gone_by(300, at(1_010)), None);
        assert_eq!(crowd.gone_by(0, at(2_000)), Some(at(3_000)));
    }

    #[test]
    fn lists_shrink_each_time_that_most_have_left() {
        let mut crowd = Crowd::default();
        let counts = [100, 25, 24, 20, 6, 5, 7, 1, 0];
        let shrinks: Vec<bool> = counts.iter().map(|&clients| crowd.shrinks(clients)).collect();
        let expected = [false, false, true, false, false, true, false, false, true];
        assert_eq!(shrinks, expected);
    }

    #[test]
    fn whoever_was_left_of_a_crowd_may_leave_too() {
        let mut crowd = Crowd::of(1);
        assert_eq!(crowd.gone_by(1, at(0)), None);
        assert_eq!(crowd.gone_by(0, at(0)), Some(at(1_000)));
        assert_eq!(Crowd::of(0).gone_by(0, at(0)), None);
    }
}
