//! From long-polling to WebSocket, with messages under way in both directions.

use std::time::Duration;

use fanfare::driver::sim::Faults;
use fanfare::{Data, Server};
use serde_json::json;

use crate::peer::{Kind, Phase};
use crate::seeds;
use crate::world::{Handlers, Plan, World};

const MESSAGES: u64 = 50;

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move || seen.with(|seen| seen.connected += 1));
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || seen.with(|seen| seen.disconnected += 1));
    let seen = handlers.clone();
    io.of("/").on("up", async move |Data(number): Data<u64>| {
        seen.with(|seen| seen.messages.push((0, number)));
    });
}

/// A client upgrades while both sides talk. Gives the world when everything has been said.
fn upgrade(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed, Plan { faults, ..Plan::new(seed) }, register);
    let client = world.connect(Kind::Upgrading);
    world.peers[client].spoiled_probes = (seed % 3) as usize;
    world.run_until_joined();
    let (mut up, mut down) = (0, 0);
    let pace = world.random.range(20..=400) as u32;
    while up < MESSAGES || down < MESSAGES {
        world.step();
        let peer = &mut world.peers[client];
        if up < MESSAGES && world.random.chance(pace) {
            peer.emit("up", vec![json!(up)], None);
            up += 1;
        }
        if down < MESSAGES && world.random.chance(pace) {
            let id = peer.id.clone().unwrap_or_default();
            match down % 4 {
                0 => world.server.to(id).emit("down", (down, bytes::Bytes::from_static(b"\x1e1"))),
                _ => world.server.to(id).emit("down", down),
            };
            down += 1;
        }
    }
    world.run_until("the upgrade ends", Duration::from_secs(20), |world| {
        let peer = &world.peers[0];
        peer.phase == Phase::Gone || (peer.is_upgraded() && peer.has_said_all())
    });
    world.settle();
    world
}

fn numbers_up(world: &World) -> Vec<u64> {
    world.handlers.with(|seen| seen.messages.iter().map(|(_, number)| *number).collect())
}

fn numbers_down(world: &World) -> Vec<u64> {
    let heard = world.peers[0].heard("down");
    heard.map(|event| event.args[0].as_u64().expect("a number")).collect()
}

#[test]
fn m16_fifty_messages_each_way_across_an_upgrade_are_all_there_once_and_in_order() {
    seeds::for_each("m16_fifty", 1, |seed| {
        let world = upgrade(seed, Faults::all(seed).without_resets());
        let all: Vec<u64> = (0..MESSAGES).collect();
        assert_eq!(numbers_up(&world), all, "to the server");
        assert_eq!(numbers_down(&world), all, "to the client");
        assert!(world.peers[0].is_upgraded());
        world.finish();
    });
}

#[test]
fn m16_an_upgrade_that_breaks_loses_nothing_before_the_end_and_doubles_nothing() {
    seeds::for_each("m16_an_upgrade", 4, |seed| {
        let world = upgrade(seed, Faults { resets: 3, ..Faults::all(seed) });
        let all: Vec<u64> = (0..MESSAGES).collect();
        let (up, down) = (numbers_up(&world), numbers_down(&world));
        assert!(all.starts_with(&up), "to the server: {up:?}");
        assert!(all.starts_with(&down), "to the client: {down:?}");
        if world.peers[0].is_joined() {
            assert_eq!((up.len(), down.len()), (all.len(), all.len()), "it was not lost");
        }
        world.finish();
    });
}
