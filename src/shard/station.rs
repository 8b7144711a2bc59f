//! A shard on the seeded fake kernel that is given its turns one by one: nothing runs by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::clock::Time;
use crate::driver::Driver as _;
use crate::driver::sim::{Network, Sim};

use super::shared::{Post, Shared};
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
}
