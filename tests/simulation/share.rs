//! Clients that send more at once than their share of a turn.

use std::cell::Cell;
use std::time::Duration;

use fanfare::driver::sim::{Client, Faults};
use fanfare::{Data, Server, Socket};
use serde_json::json;

use crate::guest::Guest;
use crate::seeds;
use crate::wire;
use crate::world::{Handlers, Plan, World};

/// Packets of a client in one turn.
const SHARE: usize = 8;

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move |_: Socket| seen.with(|seen| seen.connected += 1));
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || seen.with(|seen| seen.disconnected += 1));
    let seen = handlers.clone();
    io.of("/").on("say", async move |Data(message): Data<(usize, u64)>| {
        seen.with(|seen| {
            assert_eq!(seen.disconnected, 0, "what came before the end is handled before it");
            seen.messages.push(message);
        });
    });
}

fn world(seed: u64, plan: Plan) -> World {
    World::new(seed, plan.limits(|limits| limits.packets_per_turn = SHARE), register)
}

/// One shard, and nothing goes wrong. All that a client has sent comes with one completion.
fn orderly_world() -> World {
    let plan = Plan { shards: 1, faults: Faults::none(), ..Plan::new(0) };
    let mut plan = plan.limits(|limits| limits.receive_buffer_bytes = 1 << 20);
    plan.builder = plan.builder.allow_eio3(true);
    world(0, plan)
}

/// A client that has joined, by a WebSocket from the start.
fn join(world: &mut World) -> Client {
    let mut client = world.network.connect(world.address);
    client.write(&wire::handshake(""));
    client.write(&wire::frame(&mut world.random, 1, b"40"));
    world.run_for(Duration::from_millis(200));
    client
}

/// Has a client say so many things at once.
fn say(world: &mut World, client: &mut Client, name: usize, count: u64) {
    let mut bytes = Vec::new();
    for number in 0..count {
        let packet = saying(name, number);
        bytes.extend_from_slice(&wire::frame(&mut world.random, 1, packet.as_bytes()));
    }
    client.write(&bytes);
}

/// The packet that says something.
fn saying(name: usize, number: u64) -> String {
    format!("42{}", json!(["say", name, number]))
}

fn handled(world: &World) -> Vec<(usize, u64)> {
    world.handlers.with(|seen| seen.messages.clone())
}

fn handled_count(world: &World) -> usize {
    world.handlers.with(|seen| seen.messages.len())
}

#[test]
fn what_one_client_sends_at_once_does_not_hold_up_the_others() {
    let mut world = orderly_world();
    let (mut greedy, mut modest) = (join(&mut world), join(&mut world));
    say(&mut world, &mut greedy, 1, 1_000);
    say(&mut world, &mut modest, 2, 1);
    world.run_until("everything is handled", Duration::from_secs(5), |world| {
        handled(world).len() == 1_001
    });
    let place = handled(&world).iter().position(|(name, _)| *name == 2).unwrap();
    assert!(place <= 4 * SHARE, "it was handled as number {place}");
    drop((greedy, modest));
    world.close();
}

#[test]
fn m19_ten_thousand_packets_of_one_body_are_handled_in_turns_and_do_not_hold_up_the_others() {
    const PACKETS: usize = 10_000;
    for version in [4, 3] {
        let mut world = orderly_world();
        let (mut greedy, mut modest) = (Guest::connect(&world), join(&mut world));
        let query = greedy.join_by_polling(&mut world, version);
        let packets: Vec<_> = (0..PACKETS as u64).map(|number| saying(1, number)).collect();
        let body = match version {
            3 => packets.iter().map(|packet| format!("{}:{packet}", packet.len())).collect(),
            _ => packets.join("\x1e"),
        };
        greedy.client.write(&wire::request_of(version, "POST", &query, Some(&body)));
        let before = Cell::new(0);
        let goes_on_in_shares = |world: &World, until: usize| {
            let now = handled_count(world);
            let done = now - before.replace(now);
            // What begins in a turn goes on at its end, when the others have had their share.
            assert!(done <= 2 * SHARE, "{done} packets were handled in a turn");
            now >= until
        };
        world.run_until("the body is begun", Duration::from_secs(1), |world| {
            goes_on_in_shares(world, 1)
        });
        say(&mut world, &mut modest, 2, 1);
        world.run_until("everything is handled", Duration::from_secs(1), |world| {
            goes_on_in_shares(world, PACKETS + 1)
        });
        let place = handled(&world).iter().position(|(name, _)| *name == 2).unwrap();
        assert!(place <= 4 * SHARE, "it was handled as number {place}");
        assert_eq!(greedy.answer(&mut world).status, 200);
        drop((greedy, modest));
        world.close();
    }
}

#[test]
fn what_is_sent_at_once_is_handled_in_order_and_before_the_end_that_follows_it() {
    seeds::for_each("sent_at_once", 4, |seed| {
        let faults = Faults::all(seed).without_resets();
        let mut world = world(seed, Plan { faults, ..Plan::new(seed) });
        let mut client = join(&mut world);
        say(&mut world, &mut client, 1, 200);
        client.shutdown();
        world.run_until("its end is seen", Duration::from_secs(20), |world| {
            world.handlers.with(|seen| seen.disconnected == 1)
        });
        assert!(handled(&world).into_iter().eq((0..200).map(|number| (1, number))));
        drop(client);
        world.close();
    });
}
