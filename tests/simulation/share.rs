//! Clients that send more at once than their share of a turn, and more clients at once than that.

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

/// New clients in one turn.
const ACCEPTS: usize = 16;

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
    let plan = plan.limits(|limits| {
        limits.packets_per_turn = SHARE;
        limits.accepts_per_turn = ACCEPTS;
    });
    World::new(seed, plan, register)
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

/// Clients that were accepted.
fn accepted(world: &World) -> usize {
    let state = world.shards[0].shard.context();
    state.with(|state| state.stats.connections_accepted as usize)
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
fn m56_clients_that_connect_at_once_do_not_hold_up_those_who_are_there() {
    const CROWD: usize = 200;
    let mut world = orderly_world();
    let mut modest = join(&mut world);
    let mut crowd: Vec<Client> = Vec::new();
    crowd.resize_with(CROWD, || world.network.connect(world.address));
    crowd.iter_mut().for_each(|client| client.write(&wire::handshake("")));
    let mut turns = 0;
    while accepted(&world) < CROWD + 1 {
        say(&mut world, &mut modest, 2, 1);
        let (accepted_before, handled_before) = (accepted(&world), handled_count(&world));
        world.run_until("some are accepted", Duration::from_secs(1), |world| {
            accepted(world) > accepted_before
        });
        let new = accepted(&world) - accepted_before;
        assert!(new <= ACCEPTS, "{new} clients were accepted in a turn");
        assert_eq!(handled_count(&world), handled_before + 1, "others have their turn, too");
        turns += 1;
    }
    assert_eq!(turns, CROWD.div_ceil(ACCEPTS));
    drop((crowd, modest));
    world.close();
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
