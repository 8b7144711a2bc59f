//! Clients that do not read.

use std::ops::RangeInclusive;
use std::time::Duration;

use fanfare::driver::sim::{Client, Faults, Sim};
use fanfare::internal::{Shard, Shortage, run_short_of_memory};
use fanfare::{SendQueuePolicy, Stats};

use crate::broadcast::register;
use crate::peer::{Kind, Peer};
use crate::seeds;
use crate::wire::{self, Event};
use crate::world::{Plan, World};

/// What the kernel holds for a client, and then the server.
const SOCKET_BYTES: usize = 4_096;
const QUEUE_BYTES: usize = 8_192;
const MESSAGE_BYTES: usize = 300;

fn world(seed: u64) -> World {
    world_with(seed, SendQueuePolicy::Disconnect)
}

fn world_with(seed: u64, policy: SendQueuePolicy) -> World {
    world_of(seed, policy, QUEUE_BYTES)
}

fn world_of(seed: u64, policy: SendQueuePolicy, queue_bytes: usize) -> World {
    let faults = Faults { socket_buffer_bytes: SOCKET_BYTES, ..Faults::all(seed) };
    let plan = Plan { faults: faults.without_resets().without_stalls(), ..Plan::new(seed) };
    let mut plan = plan.limits(|limits| {
        limits.send_queue_bytes = queue_bytes;
        limits.send_queue_soft_bytes = queue_bytes / 2;
    });
    plan.builder = plan.builder.send_queue_policy(policy);
    let mut world = World::new(seed, plan, register);
    if queue_bytes == QUEUE_BYTES {
        world.watch = no_queue_is_over_its_limit;
    }
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

fn longest_queue(world: &World) -> usize {
    let longest = |shard: &Shard<Sim>| {
        shard.context().with(|state| {
            let connections = state.connections.iter();
            connections.map(|(_, conn)| conn.queue.bytes()).max().unwrap_or(0)
        })
    };
    world.shards.iter().map(|station| longest(&station.shard)).max().unwrap_or(0)
}

fn slow_clients(world: &World) -> u64 {
    count(world, |stats| stats.slow_clients)
}

fn count(world: &World, counter: fn(&Stats) -> u64) -> u64 {
    let stations = world.shards.iter();
    stations.map(|station| station.shard.context().with(|state| counter(&state.stats))).sum()
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

/// Numbered events, as a client has heard them.
fn heard(peer: &Peer, name: &str) -> Vec<u64> {
    let number = |event: &Event| event.args[0].as_u64().expect("a number");
    peer.heard(name).map(number).collect()
}

/// Those who were deaf hear again, and get what was kept for them.
fn listen_again(world: &mut World, done: impl Fn(&Peer) -> bool) {
    world.peers.iter_mut().for_each(|peer| peer.is_deaf = false);
    world.run_until("everybody has the latest", Duration::from_secs(5), |world| {
        world.peers.iter().all(&done)
    });
}

#[test]
fn m51_clients_that_do_not_read_miss_the_oldest_events_and_get_the_others_in_order() {
    seeds::for_each("the_oldest_events_are_dropped", 4, |seed| {
        let mut world = world_with(seed, SendQueuePolicy::DropOldest);
        let text = "x".repeat(MESSAGE_BYTES);
        let last = 3 * ((SOCKET_BYTES + 2 * QUEUE_BYTES) / MESSAGE_BYTES) as u64;
        for number in 1..=last {
            world.server.emit("number", (number, &text));
            world.run_until("those who read get it", Duration::from_secs(5), |world| {
                let mut readers = world.peers.iter().filter(|peer| !peer.is_deaf);
                readers.all(|peer| heard(peer, "number").last() == Some(&number))
            });
        }
        let deaf: Vec<usize> =
            (0..world.peers.len()).filter(|&peer| world.peers[peer].is_deaf).collect();
        listen_again(&mut world, |peer| heard(peer, "number").last() == Some(&last));
        for (name, peer) in world.peers.iter().enumerate() {
            let numbers = heard(peer, "number");
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            assert_eq!(numbers.len() < last as usize, deaf.contains(&name), "{numbers:?}");
        }
        let missed = world.peers.iter().map(|peer| last - heard(peer, "number").len() as u64);
        assert_eq!(count(&world, |stats| stats.events_dropped), missed.sum::<u64>());
        assert!(count(&world, |stats| stats.clients_lagged) >= deaf.len() as u64);
        assert_eq!(slow_clients(&world), 0, "clients that were disconnected");
        world.finish();
    });
}

#[test]
fn m51_of_what_is_coalesced_clients_that_do_not_read_get_the_latest_of_each_key_in_order() {
    seeds::for_each("the_latest_of_each_key", 4, |seed| {
        let mut world = world(seed);
        let text = "x".repeat(MESSAGE_BYTES);
        let keys = ["east", "west", "south"];
        let last = 6 * (QUEUE_BYTES / MESSAGE_BYTES) as u64;
        for number in 1..=last {
            let key = keys[number as usize % keys.len()];
            world.server.of("/").coalesce(key).emit(key, (number, &text));
            world.run_until("those who read get it", Duration::from_secs(5), |world| {
                let mut readers = world.peers.iter().filter(|peer| !peer.is_deaf);
                readers.all(|peer| heard(peer, key).last() == Some(&number))
            });
        }
        let latest = |key: &str| (1..=last).rfind(|&n| keys[n as usize % keys.len()] == key);
        listen_again(&mut world, |peer| {
            keys.iter().all(|key| heard(peer, key).last().copied() == latest(key))
        });
        for peer in &world.peers {
            let numbers = peer.events.iter().filter_map(|event| event.args.first()?.as_u64());
            assert!(numbers.is_sorted_by(|one, next| one < next), "the order of the emits");
        }
        let missed = world
            .peers
            .iter()
            .map(|peer| last - keys.iter().map(|key| heard(peer, key).len() as u64).sum::<u64>());
        assert_eq!(count(&world, |stats| stats.events_coalesced), missed.sum::<u64>());
        assert_eq!(slow_clients(&world), 0, "clients that were disconnected");
        world.finish();
    });
}

/// Sends numbered events with a text, each when those who read have got the one before.
fn count_up(world: &mut World, numbers: RangeInclusive<u64>) {
    let text = "x".repeat(1_000);
    for number in numbers {
        world.server.emit("number", (number, &text));
        world.run_until("those who read get it", Duration::from_secs(5), |world| {
            let mut readers = world.peers.iter().filter(|peer| !peer.is_deaf);
            readers.all(|peer| heard(peer, "number").last() == Some(&number))
        });
    }
}

#[test]
fn m53_when_memory_runs_short_those_for_whom_most_is_queued_go_and_nobody_new_comes() {
    seeds::for_each("memory_runs_short", 4, |seed| {
        let mut world = world_of(seed, SendQueuePolicy::Disconnect, 1024 * 1024);
        count_up(&mut world, 1..=100);
        assert_eq!(slow_clients(&world), 0, "clients that were too slow");
        let deaf = world.peers.iter().filter(|peer| peer.is_deaf).count();
        run_short_of_memory(&world.server, Shortage::High, u64::MAX);
        world.run_until("queues are given up", Duration::from_secs(1), |world| {
            connected(world) == world.peers.len() - deaf
        });
        assert!(count(&world, |stats| stats.clients_relieved) >= deaf as u64);
        // Each shard has done its part: who comes now is not among those whom it finds.
        world.run_for(Duration::from_millis(100));
        let refused = count(&world, |stats| stats.sessions_refused);
        let late = world.connect(Kind::WebSocket);
        world.peers[late].is_lenient = true;
        world.run_until("who is new is sent away", Duration::from_secs(5), |world| {
            count(world, |stats| stats.sessions_refused) == refused + 1
        });
        run_short_of_memory(&world.server, Shortage::None, 0);
        world.finish();
    });
}

#[test]
fn m53_when_memory_runs_short_the_longest_queues_go_first_and_no_more_than_must() {
    seeds::for_each("the_longest_queues_go_first", 8, |seed| {
        let faults = Faults { socket_buffer_bytes: SOCKET_BYTES, ..Faults::all(seed) };
        let faults = faults.without_resets().without_stalls();
        let mut world = World::new(seed, Plan { shards: 1, faults, ..Plan::new(seed) }, register);
        let mut order = [10, 30, 60];
        world.random.shuffle(&mut order);
        let queues = order.map(|queued| (world.connect(Kind::WebSocket), queued));
        world.run_until_joined();
        for (peer, queued) in queues {
            (world.peers[peer].is_deaf, world.peers[peer].is_lenient) = (true, true);
            let id = world.peers[peer].id.clone().expect("it has joined");
            let text = "x".repeat(10 * 1024);
            for _ in 0..queued {
                world.server.to(id.as_str()).emit("news", &text);
            }
        }
        world.run_for(Duration::from_millis(100));
        for (asked, gone, longest) in [(0, 0, 600), (500, 1, 300), (200, 2, 100), (1, 3, 0)] {
            run_short_of_memory(&world.server, Shortage::High, asked * 1024);
            world.run_for(Duration::from_millis(100));
            assert_eq!(count(&world, |stats| stats.clients_relieved), gone, "{asked} KiB");
            assert_eq!(connected(&world), queues.len() - gone as usize);
            // The kernel holds some of it, and each message is a little longer than its text.
            let left = longest_queue(&world) / 1024;
            assert!(left.abs_diff(longest) <= longest / 10, "{left} KiB for {longest}");
        }
        run_short_of_memory(&world.server, Shortage::None, 0);
        world.finish();
    });
}

#[test]
fn m53_while_memory_is_critically_short_nobody_adds_to_much_that_is_kept_for_it() {
    seeds::for_each("nobody_adds", 4, |seed| {
        let mut world = world_of(seed, SendQueuePolicy::Disconnect, 1024 * 1024);
        count_up(&mut world, 1..=100);
        // What a client that polls has not taken may be on its way in an answer already.
        let deaf = world.peers.iter().filter(|peer| peer.is_deaf && peer.is_upgraded());
        let deaf = deaf.count() as u64;
        let relieved = |world: &World| count(world, |stats| stats.clients_relieved);
        let mut senders = [(); 2].map(|()| world.network.connect(world.address));
        senders.iter_mut().for_each(|sender| sender.write(&wire::handshake("")));
        world.run_for(Duration::from_millis(100));
        // Nobody is picked out: those who stay are those who add nothing.
        run_short_of_memory(&world.server, Shortage::Critical, 0);
        begin_a_message(&mut senders[0], 1_000);
        world.run_for(Duration::from_millis(100));
        assert_eq!(relieved(&world), 0);
        count_up(&mut world, 101..=101);
        world.run_until("who has much and is sent more goes", Duration::from_secs(1), |world| {
            relieved(world) >= deaf
        });
        begin_a_message(&mut senders[1], 200_000);
        world.run_until("who sends much goes", Duration::from_secs(1), |world| {
            relieved(world) > deaf && senders[1].is_closed()
        });
        let left = relieved(&world) - 1;
        // Connections that carry no session count among those who were let go.
        assert!(connected(&world) as u64 >= world.peers.len() as u64 - left);
        assert!(!senders[0].is_closed(), "who has sent little stays");
        run_short_of_memory(&world.server, Shortage::None, 0);
        senders.iter_mut().for_each(Client::reset);
        world.finish();
    });
}

/// Sends so much of a message of half a megabyte.
fn begin_a_message(client: &mut Client, bytes: usize) {
    client.write(&[0x81, 0xff, 0, 0, 0, 0, 0, 7, 0xa1, 0x20, 0, 0, 0, 0]);
    client.write(&vec![b'4'; bytes]);
}
