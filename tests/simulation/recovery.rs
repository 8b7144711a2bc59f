//! Clients that lose their connections and come back have every event once, on whichever shard.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::ConnectionStateRecovery;
use serde_json::json;

use crate::broadcast::{is_for, register};
use crate::peer::{Kind, Leave, Peer, Phase};
use crate::seeds;
use crate::world::{Plan, World};

/// Those who speak never go: the order of what they say is that of their one shard. Those who
/// listen do, at any moment after they have joined for the first time.
struct Meeting {
    world: World,
    speakers: usize,
    /// How much each speaker has said.
    said: HashMap<usize, u64>,
    /// How much each had said when all had joined.
    before: u64,
}

impl Meeting {
    fn new(seed: u64) -> Meeting {
        // Shards that are behind by as many commands as they like.
        let mut plan = Plan::new(seed).limits(|limits| {
            limits.mailbox_commands = if seed.is_multiple_of(2) { 4 } else { 65_536 };
            limits.mailbox_commands_per_turn = 1 + (seed % 4) as usize;
        });
        plan.builder = plan.builder.connection_state_recovery(ConnectionStateRecovery::default());
        let mut world = World::new(seed, plan, register);
        let (speakers, listeners) = (world.random.range(1..=2), world.random.range(1..=3));
        world.connect_some(speakers + listeners);
        world.run_until_joined();
        world.settle();
        Meeting { world, speakers, said: HashMap::new(), before: 0 }
    }

    fn say(&mut self) {
        let speaker = self.world.random.index(self.speakers);
        let number = self.said.entry(speaker).or_default();
        self.world.peers[speaker].emit("say", vec![json!(speaker), json!(*number)], None);
        *number += 1;
    }

    /// Somebody who listens loses its connections, or comes back.
    fn stir(&mut self) {
        let listeners = self.world.peers.len() - self.speakers;
        let any = self.speakers + self.world.random.index(listeners);
        match self.world.peers[any].phase {
            Phase::Gone => self.bring_back(any),
            _ => {
                let ways = [Leave::Reset, Leave::Vanish];
                let how = ways[self.world.random.index(ways.len())];
                self.world.peers[any].leave(how);
            }
        }
    }

    fn bring_back(&mut self, position: usize) {
        let kinds = [Kind::WebSocket, Kind::Polling, Kind::Upgrading];
        let kind = kinds[self.world.random.index(kinds.len())];
        let seed = self.world.random.fork();
        let old = self.world.peers.remove(position);
        self.world.peers.insert(position, Peer::coming_back(old, kind, seed));
    }

    fn go_on(&mut self, messages: u64) {
        let mut left = messages;
        while left > 0 {
            self.world.step();
            if self.world.random.chance(100) {
                let burst = self.world.random.range(1..=5).min(left as usize);
                (0..burst).for_each(|_| self.say());
                left -= burst as u64;
            }
            if self.world.random.chance(40) {
                self.stir();
            }
        }
    }

    /// Brings all back. What a client had sent on a connection that it has given up may reach the
    /// server after it has come back on another one, and takes the socket away from that; then it
    /// comes once more.
    fn everybody_is_back(&mut self) {
        for _ in 0..10 {
            let listeners = self.speakers..self.world.peers.len();
            let is_gone = |&position: &usize| self.world.peers[position].phase == Phase::Gone;
            let gone: Vec<usize> = listeners.filter(is_gone).collect();
            gone.iter().for_each(|&position| self.bring_back(position));
            self.world.run_until_joined();
            self.world.settle();
            if self.world.peers.iter().all(Peer::is_joined) {
                return;
            }
        }
    }

    fn check(&self) {
        for peer in &self.world.peers {
            let (name, kind) = (peer.name, peer.kind);
            assert_eq!(peer.phase, Phase::Joined, "client {name} ({kind:?})");
            assert!(peer.has_its_id(), "client {name} ({kind:?}) is another one");
            for (&speaker, &count) in &self.said {
                let heard = peer.heard("said").filter(|event| event.args[0] == json!(speaker));
                let heard: Vec<u64> = heard.filter_map(|event| event.args[1].as_u64()).collect();
                let meant: Vec<u64> =
                    (self.before..count).filter(|&number| is_for(speaker, number, name)).collect();
                assert_eq!(heard, meant, "client {name} ({kind:?}) of {speaker}");
            }
        }
    }
}

#[test]
fn m44_p15_who_comes_back_has_every_event_once_and_in_order_on_whichever_shard() {
    seeds::for_each("p15_who_comes_back", 2, |seed| {
        let mut meeting = Meeting::new(seed);
        meeting.go_on(60);
        meeting.everybody_is_back();
        meeting.check();
        meeting.world.run_for(Duration::from_millis(10));
        meeting.world.close();
    });
}

#[test]
fn p15_nothing_is_kept_of_those_who_do_not_come_back() {
    seeds::for_each("p15_nothing_is_kept", 20, |seed| {
        let mut meeting = Meeting::new(seed);
        meeting.go_on(10);
        meeting.world.everybody_leaves();
        for station in &meeting.world.shards {
            assert!(station.shard.context().with(|state| state.keeps_nothing()));
        }
        meeting.world.close();
    });
}
