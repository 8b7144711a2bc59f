//! A shard on the seeded fake kernel that is given its turns one by one: nothing runs by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::clock::Time;
use crate::driver::Driver as _;
use crate::driver::sim::{Network, Sim};

use super::shared::{Post, Shared};
use super::state::State;
use super::turn::{Outlook, Shard};

/// A shard and what it waits for.
pub struct Station {
    /// The shard.
    pub shard: Shard<Sim>,
    /// What it said at the end of its last turn.
    pub outlook: Outlook,
    post: Arc<Post>,
}

impl Station {
    /// Makes the shards of a server, introduces them to each other and has them listen.
    pub fn start(
        shared: &Arc<Shared>,
        network: &Network,
        shards: usize,
        address: SocketAddr,
    ) -> Vec<Station> {
        let limits = &shared.settings.options.limits;
        let drivers: Vec<Sim> = (0..shards).map(|_| network.driver(limits)).collect();
        let posts: Vec<Arc<Post>> =
            drivers.iter().map(|driver| Shard::post(driver, limits)).collect();
        shared.start(posts.clone());
        let mut stations = Vec::with_capacity(shards);
        for (index, (driver, post)) in (0..).zip(drivers.into_iter().zip(posts)) {
            let mut shard =
                Shard::new(driver, index, shards, Arc::clone(shared), Arc::clone(&post));
            shard.listen(address);
            stations.push(Station { shard, outlook: Outlook::Busy, post });
        }
        stations
    }

    /// Whether there is a reason for a turn.
    pub fn is_runnable(&self) -> bool {
        let driver = self.shard.driver();
        match self.outlook {
            Outlook::Busy => true,
            Outlook::Idle(due) => driver.is_ready() || due.is_some_and(|due| due <= driver.now()),
            Outlook::Finished => false,
        }
    }

    /// A turn, if there is a reason for one; answers whether there was.
    ///
    /// # Errors
    /// Those of [`Shard::turn`].
    pub fn step(&mut self) -> io::Result<bool> {
        if !self.is_runnable() {
            return Ok(false);
        }
        let until = match self.outlook {
            Outlook::Idle(due) => due,
            Outlook::Busy | Outlook::Finished => Some(Time::ZERO),
        };
        self.outlook = self.shard.turn(until)?;
        // It goes to sleep, as it would at the beginning of a next turn: from now on only the
        // kernel, its bell or its deadline bring it back.
        self.post.mailbox.bell().announce_sleep();
        if matches!(self.outlook, Outlook::Idle(_))
            && !(self.post.mailbox.is_empty() && self.post.ready.is_empty())
        {
            self.outlook = Outlook::Busy;
        }
        Ok(true)
    }

    /// When it wants its next turn, if nothing happens before.
    pub fn due(&self) -> Option<Time> {
        match self.outlook {
            Outlook::Idle(due) => due,
            Outlook::Busy | Outlook::Finished => None,
        }
    }

    /// What the shard holds of its clients and of what others want of it, and how much: nothing
    /// when all have gone and their deadlines have passed.
    pub fn held(&self) -> Vec<(&'static str, usize)> {
        let context = self.shard.context();
        let mut held = vec![
            ("tasks", context.tasks()),
            ("tasks that are ready", self.post.ready.len()),
            ("clients", self.post.clients.load(Ordering::Relaxed)),
            ("commands that were posted", usize::from(!self.post.mailbox.is_empty())),
        ];
        context.with(|state| held.extend(state.held()));
        held.retain(|(_, count)| *count > 0);
        held
    }
}

impl State {
    fn held(&mut self) -> Vec<(&'static str, usize)> {
        let some = |is_empty: bool| usize::from(!is_empty);
        let rooms = self.namespaces.iter_mut().filter(|space| !space.rooms.is_empty()).count();
        let members = self.namespaces.iter_mut().map(|space| space.sockets.len()).sum();
        vec![
            ("connections", self.connections.len()),
            ("sessions", self.sessions.len()),
            ("sessions of sockets", self.sessions_of_sockets.len()),
            ("sockets", self.sockets.len()),
            ("sockets of namespaces", members),
            ("namespaces with rooms", rooms),
            ("undecided namespaces", self.undecided.len()),
            ("deadlines", usize::from(self.timers.next().is_some())),
            ("sleeping tasks", self.sleepers.len()),
            ("connections to flush", self.dirty.len()),
            ("sessions to flush", self.dirty_sessions.len()),
            ("connections to go on with", self.resumed.len()),
            ("bodies to go on with", self.backlog.len()),
            ("jobs", self.jobs.len()),
            ("actions", self.actions.len()),
            ("commands for others", self.outbox.iter().map(|outbox| outbox.len()).sum()),
            ("effects", self.effects.len()),
            ("broadcasts", some(self.batch.is_empty())),
            ("listeners to sessions", some(self.session_listeners.is_empty())),
            ("drains", some(self.drains.is_empty())),
            ("pongs", self.pongs.len()),
            ("sites", self.sites.len()),
            ("budgets", self.budgets.len()),
            ("events in progress", some(self.progress.is_empty())),
        ]
    }
}
