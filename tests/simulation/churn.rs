//! Clients come and go faster than the kernel can follow, and the server closes under them.

use std::time::Duration;

use fanfare::driver::sim::Faults;
use fanfare::{Data, Server, Socket};
use serde_json::json;

use crate::peer::{Leave, Phase};
use crate::seeds;
use crate::world::{Handlers, Plan, World};

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move || seen.with(|seen| seen.connected += 1));
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || {
        // The socket is forgotten only when this has ended.
        fanfare::time::sleep(Duration::from_millis(3)).await;
        seen.with(|seen| seen.disconnected += 1);
    });
    io.of("/").on("token", async |socket: Socket, Data((name, number)): Data<(usize, u64)>| {
        if number.is_multiple_of(5) {
            fanfare::time::sleep(Duration::from_micros(200)).await;
        }
        socket.emit("token", (name, number));
    });
}

/// Clients that talk to the server alone, each for a little while. Connections, and so the places
/// where a driver keeps them, are used again and again, with operations of the last user in flight.
fn churn(seed: u64) -> World {
    let drawn = Faults::all(seed);
    let faults = Faults {
        descriptors: 4 + (seed % 9) as usize,
        cancels_late: drawn.cancels_late.max(400),
        receive_buffers: drawn.receive_buffers.min(4),
        ..drawn
    };
    // Shards that are behind leave completions for a later turn, when others may have their place.
    let plan = Plan::new(seed).limits(|limits| {
        if seed.is_multiple_of(2) {
            (limits.mailbox_commands, limits.outbox_commands) = (1, 1);
            limits.mailbox_commands_per_turn = 1;
        }
    });
    let mut world = World::new(seed, Plan { faults, ..plan }, register);
    world.connect_some(3);
    let mut next = 0u64;
    while world.names < 25 {
        world.step();
        let any = world.random.index(world.peers.len());
        let peer = &mut world.peers[any];
        if peer.is_joined() && world.random.chance(300) {
            peer.emit("token", vec![json!(peer.name), json!(next)], None);
            next += 1;
        }
        if world.random.chance(25) && peer.phase != Phase::Gone {
            peer.leave(Leave::any(&mut world.random));
        }
        check(peer);
        if peer.phase == Phase::Gone {
            world.peers.remove(any);
            world.connect_any();
        }
    }
    world
}

/// What a client hears is its own.
fn check(peer: &crate::peer::Peer) {
    for event in &peer.events {
        assert_eq!(event.args[0], json!(peer.name), "a token of another client");
    }
}

#[test]
fn m45_m46_m48_nothing_of_one_connection_reaches_the_next_and_nothing_stays() {
    seeds::for_each("m45_m46_m48", 2, |seed| {
        let mut world = churn(seed);
        world.everybody_leaves();
        world.close();
    });
}

#[test]
fn a_server_that_closes_under_operations_in_flight_leaves_nothing_behind() {
    seeds::for_each("a_server_that_closes", 4, |seed| {
        churn(seed).close();
    });
}
