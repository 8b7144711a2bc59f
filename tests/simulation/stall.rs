//! The clock jumps, as it does when a machine was suspended.

use std::time::Duration;

use crate::broadcast::register;
use crate::peer::{Kind, Peer};
use crate::seeds;
use crate::world::{Plan, World};

#[test]
fn clients_that_are_alive_after_minutes_without_a_turn_are_pinged_and_stay() {
    seeds::for_each("clients_that_are_alive", 4, |seed| {
        let mut world = World::new(seed, Plan::new(seed), register);
        world.connect_some(4);
        world.run_until_joined();
        world.run_until("upgrades end", Duration::from_secs(20), |world| {
            world.peers.iter().all(|peer| peer.kind != Kind::Upgrading || peer.is_upgraded())
        });
        for stall in 1..=3 {
            world.run_for(Duration::from_secs(1));
            let minutes = world.random.range(1..=30) as u64;
            world.network.advance(Duration::from_secs(minutes * 60));
            world.run_until("everybody is pinged", Duration::from_secs(5), |world| {
                world.peers.iter().all(|peer| peer.pings == stall)
            });
            world.run_for(Duration::from_secs(1));
            assert!(world.peers.iter().all(Peer::is_joined), "somebody was lost");
        }
        world.finish();
    });
}
