//! Places of connections that are used again while a shard is behind with what it was told.

use fanfare::Server;
use fanfare::base::slab::Key;
use fanfare::driver::sim::{Client, Faults};

use crate::wire;
use crate::world::{Handlers, Inspect, Plan, World};

fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on("shout", async move || {
        // One fills the mailbox of the other shard, and one has to wait for it.
        for number in 0..2 {
            seen.server().emit("heard", number);
        }
    });
}

/// Two shards, each behind as soon as one command waits for the other.
fn world() -> World {
    let plan = Plan { shards: 2, faults: Faults::none(), ..Plan::new(1) };
    let plan = plan.limits(|limits| {
        (limits.mailbox_commands, limits.outbox_commands) = (1, 1);
        limits.flushes_per_turn = 100;
    });
    World::new(1, plan, register)
}

/// The connections of a shard.
fn keys(world: &World, shard: usize) -> Vec<Key> {
    let context = world.shards[shard].shard.context();
    context.with(|state| state.connections.iter().map(|(key, _)| key).collect())
}

/// A client that a shard has accepted; what it says is answered before anything else happens.
fn connect(world: &mut World, shard: usize, said: &[u8]) -> Client {
    let before = keys(world, shard).len();
    loop {
        let mut client = world.network.connect(world.address);
        client.write(said);
        world.settle();
        if keys(world, shard).len() > before {
            return client;
        }
    }
}

#[test]
fn m48_an_end_that_a_shard_hears_of_late_is_not_that_of_the_next_connection_in_its_place() {
    let mut world = world();
    let mut opener = world.network.connect(world.address);
    opener.write(&wire::request("GET", "transport=polling", None));
    world.settle();
    let open = wire::take_response(&mut opener.read()).expect("an answer").body;
    let open: serde_json::Value = serde_json::from_slice(&open[1..]).expect("an open packet");
    let here = usize::from(world.shards[1].sessions() == 1);
    let there = 1 - here;
    drop(opener);
    world.settle();

    let joins = [wire::handshake(""), wire::frame(&mut world.random, 1, b"40")].concat();
    let mut shouting = connect(&mut world, here, &joins);
    let mut moving = connect(&mut world, there, b"");
    let [ended] = keys(&world, here)[..] else { panic!("it is alone") };

    // A request for a session on the other shard: its connection is about to leave for there.
    let query = format!("transport=polling&sid={}", open["sid"].as_str().expect("an id"));
    moving.write(&wire::request("POST", &query, Some("40")));
    assert!(world.shards[there].step().unwrap());

    // What it says leaves the shard behind, in front of its end; what it is sent finds it gone.
    let shout = wire::frame(&mut world.random, 1, br#"42["shout"]"#);
    shouting.write(&shout);
    shouting.reset();
    assert!(world.shards[here].step().unwrap());
    assert_eq!(keys(&world, here), []);

    // The connection that has left takes its place, in a turn that still has no time for the end.
    assert!(world.shards[there].step().unwrap());
    assert!(world.shards[here].step().unwrap());
    let [next] = keys(&world, here)[..] else { panic!("nobody has come") };
    assert!(next.index == ended.index && next != ended);
    moving.write(&wire::request("POST", &query, Some("42[\"more\"]")));
    world.settle();
    assert_eq!(keys(&world, here), [next]);
    let mut answers = moving.read();
    for _ in 0..2 {
        let answer = wire::take_response(&mut answers).expect("an answer");
        assert_eq!((answer.status, answer.body), (200, b"ok".to_vec()));
    }
    world.close();
}
