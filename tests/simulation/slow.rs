//! Clients that do not read.

use std::time::Duration;

use fanfare::driver::sim::{Faults, Sim};
use fanfare::internal::Shard;

use crate::broadcast::register;
use crate::peer::Kind;
use crate::seeds;
use crate::world::{Plan, World};

/// What the kernel holds for a client, and then the server.
const SOCKET_BYTES: usize = 4_096;
const QUEUE_BYTES: usize = 8_192;
const MESSAGE_BYTES: usize = 300;

fn world(seed: u64) -> World {
    let faults = Faults { socket_buffer_bytes: SOCKET_BYTES, ..Faults::all(seed) };
    let plan = Plan { faults: faults.without_resets(), ..Plan::new(seed) };
    let plan = plan.limits(|limits| limits.send_queue_bytes = QUEUE_BYTES);
    let mut world = World::new(seed, plan, register);
    world.watch = no_queue_is_over_its_limit;
    world.connect_some(5);
    world.run_until_joined();
    world.run_until("upgrades end", Duration::from_secs(20), |world| {
        world.peers.iter().all(|peer| peer.kind != Kind::Upgrading || peer.is_upgraded())
    });
    for slow in 0..1 + (seed % 3) as usize {
        (world.peers[slow].is_deaf, world.peers[slow].is_lenient) = (true, true);
    }
    world
}

fn no_queue_is_over_its_limit(shard: &Shard<Sim>) {
    shard.context().with(|state| {
        for (key, _) in state.connections.iter() {
            let bytes = state.connections.get(key).map_or(0, |conn| conn.queue.bytes());
            // One answer to a poll holds a whole queue, and its head.
            assert!(bytes <= QUEUE_BYTES + 2 * MESSAGE_BYTES, "{bytes} bytes wait for a client");
        }
    });
}

/// Sends messages, each when those who read have got the one before.
fn send(world: &mut World, count: usize) {
    let text = "x".repeat(MESSAGE_BYTES);
    for number in 1..=count {
        world.server.emit("news", &text);
        world.run_until("those who read get their news", Duration::from_secs(5), |world| {
            let mut readers = world.peers.iter().filter(|peer| !peer.is_deaf);
            readers.all(|peer| peer.heard("news").count() == number)
        });
    }
}

fn slow_clients(world: &World) -> u64 {
    let stations = world.shards.iter();
    stations.map(|station| station.shard.context().with(|state| state.stats.slow_clients)).sum()
}

fn connected(world: &World) -> usize {
    let sockets = |shard: &Shard<Sim>| shard.context().with(|state| state.sockets.len());
    world.shards.iter().map(|station| sockets(&station.shard)).sum()
}

#[test]
fn m51_cve_2020_35896_clients_that_do_not_read_are_ended_and_cost_the_others_nothing() {
    seeds::for_each("clients_that_do_not_read", 4, |seed| {
        let mut world = world(seed);
        // A polling client may have a queue's worth in an answer, and another one behind it.
        send(&mut world, (SOCKET_BYTES + 2 * QUEUE_BYTES) / MESSAGE_BYTES + 5);
        let deaf = world.peers.iter().filter(|peer| peer.is_deaf).count();
        assert_eq!(slow_clients(&world), deaf as u64, "clients that were too slow");
        assert_eq!(connected(&world), world.peers.len() - deaf, "clients that are left");
        world.finish();
    });
}

#[test]
fn clients_that_take_nothing_for_ten_seconds_are_ended_below_the_limit() {
    seeds::for_each("clients_that_take_nothing", 4, |seed| {
        let mut world = world(seed);
        send(&mut world, SOCKET_BYTES / MESSAGE_BYTES + 4);
        world.run_for(Duration::from_secs(11));
        let on_websocket = |peer: &&crate::peer::Peer| peer.is_deaf && peer.is_upgraded();
        let stalled = world.peers.iter().filter(on_websocket).count();
        assert_eq!(slow_clients(&world), stalled as u64, "clients that were too slow");
        world.finish();
    });
}
