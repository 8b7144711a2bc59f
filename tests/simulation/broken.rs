//! Clients that break in the middle of something, and those beside them.

use std::time::Duration;

use fanfare::driver::sim::Faults;

use crate::broadcast::register;
use crate::peer::{Kind, Leave, Peer, Phase};
use crate::seeds;
use crate::world::{Inspect, Plan, World};

const MESSAGES: u64 = 40;

fn numbers(peer: &Peer) -> Vec<u64> {
    peer.heard("news").filter_map(|event| event.args[0].as_u64()).collect()
}

#[test]
fn m55_half_of_a_room_is_reset_during_broadcasts_and_the_others_get_each_once() {
    seeds::for_each("m55", 2, |seed| {
        let mut world = World::new(seed, Plan::new(seed), register);
        let clients = world.random.range(4..=10);
        world.connect_some(clients);
        world.run_until_joined();
        world.settle();
        let break_at = world.random.range(1..=MESSAGES as usize) as u64;
        for number in 1..=MESSAGES {
            world.server.emit("news", (number, "x".repeat(200)));
            let steps = world.random.range(0..=10);
            for _ in 0..steps {
                world.step();
            }
            if number == break_at {
                let half = world.peers.iter_mut().take(clients / 2);
                half.for_each(|peer| peer.leave(Leave::Reset));
            }
        }
        world.settle();
        let all: Vec<u64> = (1..=MESSAGES).collect();
        for (position, peer) in world.peers.iter().enumerate() {
            let heard = numbers(peer);
            match position < clients / 2 {
                true => assert!(peer.phase == Phase::Gone && all.starts_with(&heard), "{heard:?}"),
                false => assert_eq!((peer.is_joined(), heard), (true, all.clone())),
            }
        }
        world.finish();
    });
}

#[test]
fn m55_sends_that_fail_end_their_client_alone() {
    seeds::for_each("m55_sends_that_fail", 4, |seed| {
        let drawn = Faults::all(seed);
        let faults = Faults { sends_failed: drawn.sends_failed.max(2), resets: 0, ..drawn };
        let mut world = World::new(seed, Plan { faults, ..Plan::new(seed) }, register);
        world.connect_some(8);
        world.run_until_joined();
        world.settle();
        let already = world.peers.iter().filter(|peer| peer.is_joined()).count();
        for number in 1..=MESSAGES {
            world.server.emit("news", (number, "x".repeat(200)));
            world.step();
        }
        world.settle();
        let all: Vec<u64> = (1..=MESSAGES).collect();
        for peer in &world.peers {
            let heard = numbers(peer);
            assert!(all.starts_with(&heard) && (heard == all || !peer.is_joined()), "{heard:?}");
        }
        let stay = world.peers.iter().filter(|peer| peer.is_joined()).count();
        assert!(stay <= already);
        world.finish();
    });
}

#[test]
fn m29_a_frame_that_stalls_anywhere_ends_by_the_heartbeat_and_disturbs_nobody() {
    seeds::for_each("m29", 4, |seed| {
        let plan = Plan::new(seed);
        let faults = plan.faults.clone().without_stalls();
        let mut world = World::new(seed, Plan { faults, ..plan }, register);
        for _ in 0..3 {
            world.connect(Kind::WebSocket);
        }
        world.run_until_joined();
        world.settle();
        world.peers[0].stall_in_frame();
        let sessions = |world: &World| world.shards.iter().map(Inspect::sessions).sum::<usize>();
        world
            .run_until("it is missed", Duration::from_millis(45_200), |world| sessions(world) == 2);
        world.server.emit("news", 1);
        world.settle();
        assert!(world.peers[1..].iter().all(|peer| peer.is_joined() && numbers(peer) == [1]));
        world.finish();
    });
}
