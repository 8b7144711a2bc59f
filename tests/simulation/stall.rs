//! The clock jumps, as it does when a machine was suspended, and when a handler blocks its shard.

use std::cell::RefCell;
use std::time::Duration;

use fanfare::base::stats::Stats;
use fanfare::driver::sim::Network;
use fanfare::{Data, Server};
use serde_json::json;

use crate::broadcast::register;
use crate::peer::{Kind, Peer};
use crate::seeds;
use crate::world::{Handlers, Inspect, Plan, World};

thread_local! {
    /// The time that a handler can let pass: the shards of a world run in its thread.
    static NETWORK: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// As [`register`], with an event whose handler blocks its shard for so many seconds.
fn register_with_block(io: &Server, handlers: &Handlers) {
    register(io, handlers);
    io.of("/").on("block", async |Data(seconds): Data<u64>| {
        let network = NETWORK.with_borrow(Clone::clone).expect("the world is made");
        network.advance(Duration::from_secs(seconds));
    });
}

/// The clock jumps when the test says so, and not else.
fn plan(seed: u64) -> Plan {
    let plan = Plan::new(seed);
    Plan { faults: plan.faults.clone().without_stalls(), ..plan }
}

/// A world with clients that have joined, after so many seconds of quiet.
fn quiet_world(seed: u64, clients: usize) -> World {
    let mut world = World::new(seed, plan(seed), register_with_block);
    NETWORK.set(Some(world.network.clone()));
    for _ in 0..clients {
        world.connect(Kind::WebSocket);
    }
    world.run_until_joined();
    let seconds = world.random.range(0..=60) as u64;
    world.run_for(Duration::from_secs(seconds));
    world
}

fn stats(world: &World) -> Vec<Stats> {
    world.shards.iter().map(|it| it.shard.context().with(|state| state.stats)).collect()
}

/// A handler blocks its shard for a minute.
fn block(world: &mut World) {
    world.peers[0].emit("block", vec![json!(60)], None);
    let is_over = |world: &World| stats(world).iter().any(|it| it.turn_longest_us >= 60_000_000);
    world.run_until("a handler has blocked", Duration::from_secs(90), is_over);
}

#[test]
fn m60_a_handler_that_blocks_for_a_minute_costs_no_client_its_connection() {
    seeds::for_each("m60", 4, |seed| {
        let mut world = quiet_world(seed, 4);
        let before: Vec<usize> = world.peers.iter().map(|peer| peer.pings).collect();
        block(&mut world);
        world.run_until("everybody is pinged", Duration::from_secs(5), |world| {
            world.peers.iter().zip(&before).all(|(peer, before)| peer.pings > *before)
        });
        world.run_for(Duration::from_secs(120));
        assert!(world.peers.iter().all(Peer::is_joined), "somebody was lost");
        assert!(stats(&world).iter().any(|it| it.stalls >= 1 && it.stalled_us >= 59_000_000));
        world.finish();
    });
}

#[test]
fn m66_who_answers_nothing_is_dropped_after_a_stall_and_not_before_a_ping_round() {
    seeds::for_each("m66", 4, |seed| {
        let mut world = quiet_world(seed, 1);
        block(&mut world);
        world.peers[0].is_deaf = true;
        let sessions = |world: &World| world.shards.iter().map(Inspect::sessions).sum::<usize>();
        world.run_for(Duration::from_millis(19_800));
        assert_eq!(sessions(&world), 1, "it had no time to answer");
        world.run_until("it is missed", Duration::from_secs(46), |world| sessions(world) == 0);
        world.peers[0].is_deaf = false;
        world.peers[0].is_lenient = true;
        world.finish();
    });
}

#[test]
fn clients_that_are_alive_after_minutes_without_a_turn_are_pinged_and_stay() {
    seeds::for_each("clients_that_are_alive", 4, |seed| {
        let mut world = World::new(seed, plan(seed), register);
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
