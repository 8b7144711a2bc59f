//! What a shard tells of itself when it is asked: see [`crate::metrics`].
//!
//! Counters are at hand. What it has is counted when it is asked for, by a look at each session and
//! at what is queued for it: that is what a scrape costs, so that clients need not be counted as
//! they come, go and change their transport. Nobody is answered more than once a second.

use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::stats::Stats;
use crate::driver::Driver;
use crate::metrics::{Holdings, Observed};

use super::super::state::State;
use super::Shard;

impl<D: Driver> Shard<D> {
    /// What it has counted, and what it has.
    pub fn observed(&self) -> Observed {
        let (driver, tasks) = (self.driver.stats(), self.context.tasks());
        self.context.with(|state| {
            let (stats, counts) = (state.stats(), state.counts.clone());
            Observed { stats, counts, driver, holdings: state.holdings(tasks) }
        })
    }

    pub(super) fn tell(&self, who: &Sender<(u16, Box<Observed>)>) {
        // Whoever asked may have lost patience; that is no fault.
        let _ = who.send((self.context.index, Box::new(self.observed())));
    }
}

impl State {
    /// Its counters, and what the watchdog has counted of it.
    pub(super) fn stats(&self) -> Stats {
        let post = self.shared.posts().get(usize::from(self.index));
        Stats { turns_blocked: post.map_or(0, |post| post.pulse.blocked()), ..self.stats }
    }

    fn holdings(&mut self, tasks: usize) -> Holdings {
        let mut holdings =
            Holdings { connections: self.connections.len(), tasks, ..Holdings::default() };
        for (key, entry) in self.sessions.iter() {
            match entry.session.websocket() {
                Some(_) => holdings.websocket += 1,
                None => holdings.polling += 1,
            }
            holdings.queued_bytes += self.charge(key);
        }
        for space in self.namespaces.iter_mut() {
            holdings.namespaces += 1;
            holdings.sockets += space.sockets.len();
            holdings.rooms += space.rooms.len();
        }
        holdings
    }

    /// A turn took so long, and ends now, by the driver.
    pub(super) fn turn_ends(&mut self, took: Duration, now: Time) {
        self.counts.turns.record(took);
        if let Some(took) = self.stopwatch.stops(now) {
            self.counts.broadcasts.record(took);
        }
    }

    /// When this turn began, by the driver.
    pub(in super::super) fn turn_began(&self) -> Option<Time> {
        self.shared.posts().get(usize::from(self.index))?.pulse.since()
    }
}
