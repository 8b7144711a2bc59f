//! Memory that runs short by what is kept of many, none of whom has much.

use std::time::Duration;

use fanfare::Stats;
use fanfare::driver::sim::{Client, Faults};
use fanfare::internal::{Shortage, run_short_of_memory, share_memory};

use crate::broadcast::register;
use crate::peer::Kind;
use crate::seeds;
use crate::wire;
use crate::world::{Plan, World};

/// Connections beside the peers, and what comes on each and is not finished.
const MANY: usize = 20;
const BYTES_EACH: usize = 10_000;

/// Of this everybody's share is a few kilobytes.
const MEMORY_BYTES: u64 = 3 << 20;

fn world(seed: u64) -> World {
    let faults = Faults { socket_buffer_bytes: 4_096, ..Faults::all(seed) };
    let plan = Plan { faults: faults.without_resets().without_stalls(), ..Plan::new(seed) };
    let plan = plan.limits(|limits| {
        limits.send_queue_bytes = 8_192;
        limits.send_queue_soft_bytes = 4_096;
    });
    let mut world = World::new(seed, plan, register);
    for kind in [Kind::WebSocket, Kind::Polling, Kind::WebSocket] {
        world.connect(kind);
    }
    world.run_until_joined();
    share_memory(&world.server, MEMORY_BYTES, MANY + world.peers.len());
    world
}

/// So many connections that say this.
fn dial(world: &World, count: usize, said: &[u8]) -> Vec<Client> {
    let dial = |_| {
        let mut client = world.network.connect(world.address);
        client.write(said);
        client
    };
    (0..count).map(dial).collect()
}

fn count(world: &World, counter: fn(&Stats) -> u64) -> u64 {
    let stations = world.shards.iter();
    stations.map(|station| station.shard.context().with(|state| counter(&state.stats))).sum()
}

fn relieved(world: &World) -> usize {
    count(world, |stats| stats.clients_relieved) as usize
}

fn closed(clients: &[Client]) -> usize {
    clients.iter().filter(|client| client.is_closed()).count()
}

fn pass(world: &mut World) {
    world.run_for(Duration::from_millis(500));
}

/// The end of a shortage, at which nobody was let go who is served.
fn finish(mut world: World, mut clients: Vec<Client>) {
    assert!(world.peers.iter().all(|peer| peer.is_joined()), "those who are served stay");
    run_short_of_memory(&world.server, Shortage::None, 0);
    clients.iter_mut().for_each(Client::reset);
    pass(&mut world);
    world.finish();
}

#[test]
fn m53_many_messages_are_given_up_none_of_which_is_large_or_finished() {
    seeds::for_each("many_unfinished_messages", 4, |seed| {
        let mut world = world(seed);
        let mut senders = dial(&world, MANY, &wire::handshake(""));
        pass(&mut world);
        for sender in &mut senders {
            sender.write(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]);
            sender.write(&vec![b'4'; BYTES_EACH]);
        }
        pass(&mut world);
        assert_eq!((relieved(&world), closed(&senders)), (0, 0));
        run_short_of_memory(&world.server, Shortage::Critical, (MANY * BYTES_EACH / 4) as u64);
        pass(&mut world);
        let gone = closed(&senders);
        assert!((1..MANY).contains(&gone), "{gone} of {MANY} are enough");
        assert_eq!(relieved(&world), gone);
        // The others go when they go on.
        senders.iter_mut().filter(|it| !it.is_closed()).for_each(|it| it.write(b"444"));
        pass(&mut world);
        assert_eq!((relieved(&world), closed(&senders)), (MANY, MANY));
        finish(world, senders);
    });
}

#[test]
fn m53_who_has_no_session_does_not_add_to_a_request_while_memory_runs_short() {
    seeds::for_each("many_unfinished_heads", 4, |seed| {
        let mut world = world(seed);
        let head = format!("GET /socket.io/ HTTP/1.1\r\nX: {}", "x".repeat(BYTES_EACH));
        let mut callers = dial(&world, MANY, head.as_bytes());
        pass(&mut world);
        run_short_of_memory(&world.server, Shortage::High, 0);
        pass(&mut world);
        assert_eq!((relieved(&world), closed(&callers)), (0, 0));
        callers[0].write(b"xxx");
        // One that fits into its share is told when it is whole.
        let mut small = dial(&world, 1, b"GET /socket.io/?EIO=4");
        pass(&mut world);
        small[0].write(b"&transport=polling HTTP/1.1\r\nHost: sim\r\n\r\n");
        pass(&mut world);
        for client in [&mut callers[0], &mut small[0]] {
            let response = wire::take_response(&mut client.read()).expect("an answer");
            assert_eq!(response.status, 503);
        }
        assert_eq!(relieved(&world), 1);
        callers.append(&mut small);
        finish(world, callers);
    });
}

#[test]
fn m53_when_memory_is_critically_short_who_is_not_served_goes_first_and_nobody_comes() {
    seeds::for_each("who_is_not_served", 4, |seed| {
        let mut world = world(seed);
        let head = format!("GET /socket.io/ HTTP/1.1\r\nX: {}", "x".repeat(BYTES_EACH));
        let mut callers = dial(&world, MANY, head.as_bytes());
        callers.extend(dial(&world, MANY, b""));
        pass(&mut world);
        run_short_of_memory(&world.server, Shortage::Critical, u64::MAX);
        pass(&mut world);
        assert_eq!((relieved(&world), closed(&callers)), (2 * MANY, 2 * MANY));
        let late = dial(&world, 3, b"");
        pass(&mut world);
        assert_eq!(closed(&late), 3);
        callers.extend(late);
        finish(world, callers);
    });
}

#[test]
fn m49_who_asks_for_more_than_it_takes_is_ended_without_a_session_too() {
    seeds::for_each("answers_that_are_not_taken", 4, |seed| {
        let mut world = world(seed);
        let asked = wire::request("GET", "transport=none", None).repeat(400);
        let callers = dial(&world, 1, &asked);
        pass(&mut world);
        assert_eq!(closed(&callers), 1);
        finish(world, callers);
    });
}
