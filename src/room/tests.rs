//! The index against a model that keeps sets of names.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Rooms and their members as the plainest data structure says.
#[derive(Default)]
struct Model(BTreeMap<&'static str, BTreeSet<u32>>);

struct World {
    rooms: Rooms,
    sockets: Vec<Memberships>,
    model: Model,
}

impl World {
    fn new(sockets: usize) -> World {
        World {
            rooms: Rooms::new(),
            sockets: (0..sockets).map(|_| Memberships::default()).collect(),
            model: Model::default(),
        }
    }

    fn join(&mut self, socket: u32, name: &'static str) {
        let joined = self.rooms.join(socket, &mut self.sockets[socket as usize], name);
        assert_eq!(joined, self.model.0.entry(name).or_default().insert(socket));
    }

    fn leave(&mut self, socket: u32, name: &'static str) {
        let mut own = std::mem::take(&mut self.sockets[socket as usize]);
        let sockets = &mut self.sockets;
        let left = self.rooms.leave(&mut own, name, |other, moved| {
            sockets[other as usize].moved(moved);
        });
        self.sockets[socket as usize] = own;
        let expected = self.model.0.get_mut(name).is_some_and(|members| members.remove(&socket));
        assert_eq!(left, expected);
        self.model.0.retain(|_, members| !members.is_empty());
    }

    fn leave_all(&mut self, socket: u32) {
        let mut own = std::mem::take(&mut self.sockets[socket as usize]);
        let sockets = &mut self.sockets;
        self.rooms.leave_all(&mut own, |other, moved| sockets[other as usize].moved(moved));
        for members in self.model.0.values_mut() {
            members.remove(&socket);
        }
        self.model.0.retain(|_, members| !members.is_empty());
    }

    fn select(&mut self, to: &[&str], except: &[&str]) -> Vec<u32> {
        let targets = |names: &[&str]| names.iter().map(|&name| Target::from(name)).collect();
        let selection = Selection { to: targets(to), except: targets(except) };
        let mut chosen = Vec::new();
        let everybody = 0..self.sockets.len() as u32;
        self.rooms.select(&selection, everybody, |name| name.parse().ok(), &mut chosen);
        chosen
    }

    fn expected(&self, to: &[&str], except: &[&str]) -> BTreeSet<u32> {
        let union = |names: &[&str]| -> BTreeSet<u32> {
            let rooms = names.iter().filter_map(|name| self.model.0.get(name)).flatten().copied();
            rooms.chain(names.iter().filter_map(|name| name.parse().ok())).collect()
        };
        let everybody = (0..self.sockets.len() as u32).collect();
        let meant = if to.is_empty() { everybody } else { union(to) };
        &meant - &union(except)
    }

    fn check(&self) {
        assert_eq!(self.rooms.len(), self.model.0.len(), "b24_9: empty rooms vanish");
        for (name, members) in &self.model.0 {
            assert_eq!(&self.rooms.members(name).collect::<BTreeSet<u32>>(), members);
        }
        for (socket, memberships) in self.sockets.iter().enumerate() {
            let names: BTreeSet<&str> = self.rooms.names(memberships).collect();
            let rooms = self.model.0.iter();
            let expected = rooms.filter(|(_, members)| members.contains(&(socket as u32)));
            assert_eq!(names, expected.map(|(name, _)| *name).collect::<BTreeSet<&str>>());
        }
    }
}

/// Names that look like globs, separators, other namespaces and JavaScript's own properties.
const NAMES: [&str; 10] =
    ["", "a", "*", "a*", "[a]", "#", "/", "__proto__", "constructor", "\0\u{202e}é"];

#[derive(Clone, Debug)]
enum Step {
    Join(u32, usize),
    Leave(u32, usize),
    LeaveAll(u32),
    Select(Vec<usize>, Vec<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (0..8u32, name.clone()).prop_map(|(socket, name)| Step::Join(socket, name)),
        2 => (0..8u32, name.clone()).prop_map(|(socket, name)| Step::Leave(socket, name)),
        1 => (0..8u32).prop_map(Step::LeaveAll),
        3 => (
            proptest::collection::vec(0..NAMES.len() + 8, 0..4),
            proptest::collection::vec(0..NAMES.len() + 8, 0..3),
        )
            .prop_map(|(to, except)| Step::Select(to, except)),
    ]
}

const IDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

proptest! {
    #[test]
    fn m42_the_delivery_set_equals_the_models(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(8);
        let name = |index: &usize| *NAMES.get(*index).unwrap_or(&IDS[index % 8]);
        for step in steps {
            match step {
                Step::Join(socket, name) => world.join(socket, NAMES[name]),
                Step::Leave(socket, name) => world.leave(socket, NAMES[name]),
                Step::LeaveAll(socket) => world.leave_all(socket),
                Step::Select(to, except) => {
                    let to: Vec<&str> = to.iter().map(name).collect();
                    let except: Vec<&str> = except.iter().map(name).collect();
                    let chosen = world.select(&to, &except);
                    let set: BTreeSet<u32> = chosen.iter().copied().collect();
                    prop_assert_eq!(set.len(), chosen.len(), "each socket at most once");
                    prop_assert_eq!(set, world.expected(&to, &except));
                }
            }
            world.check();
        }
    }
}

#[test]
fn b24_5_a_socket_in_two_targeted_rooms_is_chosen_once() {
    let mut world = World::new(2);
    world.join(0, "a");
    world.join(0, "*");
    assert_eq!(world.select(&["a", "*", "0"], &[]), [0]);
}

#[test]
fn leaving_all_rooms_at_once_leaves_the_others_in_theirs() {
    let mut world = World::new(3);
    for socket in 0..3 {
        world.join(socket, "a");
        world.join(socket, "*");
    }
    world.leave_all(0);
    assert!(world.sockets[0].is_empty());
    world.check();
}

/// With one order for all, a client that knows the hash could choose names that all collide.
#[test]
fn m43_every_index_hashes_names_in_its_own_way() {
    let order = || {
        let (mut rooms, mut own) = (Rooms::new(), Memberships::default());
        (0..100).for_each(|number| assert!(rooms.join(0, &mut own, &format!("room {number}"))));
        rooms.names.keys().cloned().collect::<Vec<_>>()
    };
    let (one, other) = (order(), order());
    assert_eq!((one.len(), other.len()), (100, 100));
    assert_ne!(one, other);
}
