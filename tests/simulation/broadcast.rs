//! Broadcasts reach the clients of every shard and transport, once and in order.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::driver::sim::Faults;
use fanfare::{Ack, Auth, Data, Server, Socket};
use serde_json::json;

use crate::peer::{Leave, Peer, Phase};
use crate::seeds;
use crate::world::{Handlers, Plan, World};

/// Whom a message is for, by its number. Three in a row are for the same ones, and may be queued
/// as one.
fn way(number: u64) -> u64 {
    number / 3 % 6
}

/// What a client says of itself when it joins.
#[derive(serde::Deserialize)]
pub struct Hello {
    pub name: usize,
}

/// Rooms are a matter of the name, so that the test knows them, too.
fn is_in(name: usize, room: &str) -> bool {
    match room {
        "even" => name.is_multiple_of(2),
        "odd" => !name.is_multiple_of(2),
        _ => name.is_multiple_of(3),
    }
}

/// Whether the message of a sender is for a client.
pub fn is_for(sender: usize, number: u64, client: usize) -> bool {
    match way(number) {
        0 => true,
        1 => is_in(client, "even"),
        2 => !is_in(client, "odd"),
        3 => client != sender,
        4 => is_in(client, "even") || is_in(client, "third"),
        _ => is_in(client, "third") && !is_in(client, "even") && client != sender,
    }
}

pub fn register(io: &Server, handlers: &Handlers) {
    let seen = handlers.clone();
    io.of("/").on_connect(async move |socket: Socket, Auth(Hello { name }): Auth<Hello>| {
        seen.with(|seen| seen.connected += 1);
        for room in ["even", "odd", "third"].into_iter().filter(|room| is_in(name, room)) {
            socket.join(room);
        }
    });
    let seen = handlers.clone();
    io.of("/").on_disconnect(async move || seen.with(|seen| seen.disconnected += 1));
    let seen = handlers.clone();
    type Say = Data<(usize, u64)>;
    io.of("/").on("say", async move |socket: Socket, Data((name, number)): Say, ack: Ack| {
        seen.with(|seen| seen.messages.push((name, number)));
        let all = seen.server().of("/").emitter();
        let emitter = match way(number) {
            0 => all,
            1 => all.to("even"),
            2 => all.except("odd"),
            3 => socket.broadcast(),
            4 => all.to(["even", "third"]),
            _ => socket.to("third").except("even"),
        };
        match number % 4 {
            0 => emitter.emit("said", (name, number, bytes::Bytes::from(vec![7; 300]))),
            _ => emitter.emit("said", (name, number)),
        };
        ack.send(number);
    });
}

/// What the test knows of the clients' conversation.
#[derive(Default)]
struct Talk {
    /// How much each client has said.
    said: HashMap<usize, u64>,
    /// For each client: how much everybody had said when it knew that it was connected.
    heard_from: HashMap<usize, HashMap<usize, u64>>,
}

impl Talk {
    fn say(&mut self, peer: &mut Peer) {
        let number = self.said.entry(peer.name).or_default();
        let ack = number.is_multiple_of(3).then_some(*number);
        peer.emit("say", vec![json!(peer.name), json!(*number)], ack);
        *number += 1;
    }

    fn note_joined(&mut self, peers: &[Peer]) {
        for peer in peers.iter().filter(|peer| peer.id.is_some()) {
            self.heard_from.entry(peer.name).or_insert_with(|| self.said.clone());
        }
    }

    /// Checks what every client has heard against what the server has handled.
    fn check(&self, world: &World) {
        let mut handled: HashMap<usize, u64> = HashMap::new();
        world.handlers.with(|seen| {
            for (name, number) in &seen.messages {
                let next = handled.entry(*name).or_default();
                assert_eq!(number, next, "messages of client {name} are handled once, in order");
                *next += 1;
            }
        });
        for peer in &world.peers {
            if peer.is_joined() {
                let said = self.said.get(&peer.name).copied().unwrap_or(0);
                let handled = handled.get(&peer.name).copied().unwrap_or(0);
                assert_eq!(handled, said, "all that client {} said is handled", peer.name);
            }
            for (sender, count) in &handled {
                self.check_heard(peer, *sender, *count);
            }
        }
    }

    fn check_heard(&self, peer: &Peer, sender: usize, count: u64) {
        let (name, kind) = (peer.name, peer.kind);
        let heard = peer.heard("said").filter(|event| event.args[0] == json!(sender));
        let heard: Vec<u64> = heard.filter_map(|event| event.args[1].as_u64()).collect();
        let meant: Vec<u64> = (0..count).filter(|number| is_for(sender, *number, name)).collect();
        let told = format!("client {name} ({kind:?}) of {sender}: {heard:?} of {meant:?}");
        let Some(first) = heard.first() else {
            if let Some(from) = self.heard_from.get(&name).filter(|_| peer.is_joined()) {
                let from = from.get(&sender).copied().unwrap_or(0);
                assert!(meant.iter().all(|number| *number < from), "nothing was heard: {told}");
            }
            return;
        };
        let start = meant.iter().position(|number| number == first);
        let start = start.unwrap_or_else(|| panic!("not meant for it: {told}"));
        assert_eq!(
            heard,
            meant[start..].iter().copied().take(heard.len()).collect::<Vec<_>>(),
            "lost, doubled or out of order: {told}"
        );
        if peer.is_joined() {
            assert_eq!(heard.last(), meant.last(), "the last ones are missing: {told}");
            let from = self.heard_from[&name].get(&sender).copied().unwrap_or(0);
            let next = meant.iter().find(|number| **number >= from);
            assert!(next.is_none_or(|next| first <= next), "the first ones are missing: {told}");
        }
    }
}

/// Clients connect, talk and leave; then all that was said must have arrived.
fn converse(mut world: World, messages: u64, may_break: bool) -> World {
    let mut talk = Talk::default();
    let clients = world.random.range(2..=4);
    world.connect_some(clients);
    let mut left = messages;
    world.run_until_one_joined();
    while left > 0 {
        world.step();
        talk.note_joined(&world.peers);
        if world.random.chance(20) && world.peers.len() < 8 {
            world.connect_any();
        }
        let any = world.random.index(world.peers.len());
        if may_break && world.random.chance(1) {
            world.peers.iter_mut().for_each(|peer| peer.is_lenient = true);
            world.network.advance(Duration::from_secs(world.random.range(1..=300) as u64));
        }
        let peer = &mut world.peers[any];
        if may_break && peer.phase != Phase::Gone && world.random.chance(5) {
            peer.leave(Leave::any(&mut world.random));
        }
        if world.random.chance(300) && (peer.is_joined() || peer.phase == Phase::Gone) {
            // Now and then several at once, so that shards have to post faster than others take.
            let burst = if world.random.chance(100) { left.min(8) } else { 1 };
            for _ in 0..if peer.is_joined() { burst } else { 0 } {
                talk.say(peer);
            }
            left -= burst;
        }
    }
    world.run_until_joined();
    talk.note_joined(&world.peers);
    world.run_until("everything is said", Duration::from_secs(20), |world| {
        world.peers.iter().all(|peer| !peer.is_joined() || peer.has_said_all())
    });
    world.settle();
    talk.check(&world);
    world
}

#[test]
fn a_broadcast_reaches_everybody_on_every_shard_once_and_in_order() {
    seeds::for_each("a_broadcast_reaches", 1, |seed| {
        let world = World::new(seed, Plan::new(seed), register);
        let world = converse(world, 30, false);
        let all_stay = world.peers.iter().all(Peer::is_joined);
        assert!(all_stay, "nobody is lost without a reason");
        world.finish();
    });
}

#[test]
fn clients_that_come_go_and_break_take_nothing_from_the_others() {
    seeds::for_each("clients_that_come_go", 1, |seed| {
        let plan = Plan { faults: Faults::all(seed), ..Plan::new(seed) };
        let mut world = World::new(seed, plan, register);
        world.run_for(Duration::from_millis(1));
        converse(world, 30, true).finish();
    });
}

#[test]
fn m61_shards_whose_mailboxes_are_full_neither_wait_for_each_other_nor_lose_anything() {
    seeds::for_each("m61", 2, |seed| {
        let mut plan = Plan::new(seed).limits(|limits| {
            limits.mailbox_commands = 2 + (seed % 3) as usize;
            limits.mailbox_commands_per_turn = 1 + (seed % 4) as usize;
        });
        plan.shards = 2 + (seed % 3) as usize;
        let world = converse(World::new(seed, plan, register), 60, false);
        assert!(world.peers.iter().all(Peer::is_joined), "nobody is lost without a reason");
        world.finish();
    });
}

#[test]
fn a_seed_goes_the_same_way_every_time() {
    seeds::for_each("a_seed_goes", 20, |seed| {
        let run = || {
            let plan = Plan { faults: Faults::all(seed), ..Plan::new(seed) };
            let world = converse(World::new(seed, plan, register), 20, true);
            let heard: Vec<_> = world.peers.iter().map(|peer| peer.events.clone()).collect();
            (heard, world.close())
        };
        assert_eq!(run(), run());
    });
}
