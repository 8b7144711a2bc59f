//! Who is in which room, and who is meant by `to`, `in` and `except`: no bytes, no descriptors.
//!
//! Members are the sockets of one namespace on one shard, named by their slab index. A room keeps
//! them in a dense array and each membership knows its position, so that joining and leaving hash
//! only the room's name and selecting walks arrays. The room that every socket has under its own id
//! is not stored: ids are looked up by index.

mod selection;

pub use selection::{Selection, Target};

use std::collections::HashMap;

/// Names a room within one index; used again after the room was deleted.
pub type RoomIndex = u32;

/// The rooms of one namespace on one shard.
#[derive(Debug, Default)]
pub struct Rooms {
    names: HashMap<Box<str>, RoomIndex>,
    rooms: Vec<Room>,
    vacant: Vec<RoomIndex>,
    /// By member: the selection that has last yielded or excluded it.
    marks: Vec<u32>,
    epoch: u32,
}

#[derive(Debug, Default)]
struct Room {
    name: Box<str>,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    socket: u32,
    /// Position of this room in the socket's own list.
    back: u32,
}

/// The rooms that one socket is in: one list for each socket, kept with it.
#[derive(Debug, Default)]
pub struct Memberships(Vec<Membership>);

#[derive(Clone, Copy, Debug)]
struct Membership {
    room: RoomIndex,
    /// Position of the socket in the room's array.
    position: u32,
}

/// What has changed for a member of a room that another member left.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    back: u32,
    position: u32,
}

impl Memberships {
    /// Takes note of a changed position.
    pub fn moved(&mut self, moved: Moved) {
        self.0[moved.back as usize].position = moved.position;
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the socket is in no room.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rooms {
    /// No rooms.
    pub fn new() -> Rooms {
        Rooms::default()
    }

    /// How many rooms have a member.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether a room has a member.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The rooms that have a member, in no particular order.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// Whether no room has a member.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Gives back what is left of rooms that have ended, when all have.
    pub fn fit(&mut self) {
        if self.is_empty() {
            *self = Rooms::default();
        }
    }

    /// Puts a socket into a room, which comes into being with its first member. Answers whether it
    /// was not in it before.
    pub fn join(&mut self, socket: u32, memberships: &mut Memberships, name: &str) -> bool {
        let room = match self.names.get(name) {
            Some(&room) => room,
            None => self.create(name),
        };
        if memberships.0.iter().any(|membership| membership.room == room) {
            return false;
        }
        let members = &mut self.rooms[room as usize].members;
        memberships.0.push(Membership { room, position: members.len() as u32 });
        members.push(Member { socket, back: memberships.0.len() as u32 - 1 });
        true
    }

    /// Takes a socket out of a room, which ends with its last member. The room's last member takes
    /// the vacant place: `moved` must pass that on to the list of the socket it names, with
    /// [`Memberships::moved`]. Answers whether the socket was in the room.
    pub fn leave(
        &mut self,
        memberships: &mut Memberships,
        name: &str,
        moved: impl FnMut(u32, Moved),
    ) -> bool {
        let Some(&room) = self.names.get(name) else { return false };
        let found = memberships.0.iter().position(|membership| membership.room == room);
        let Some(index) = found else { return false };
        self.remove(memberships, index, moved);
        true
    }

    /// Takes a socket out of all its rooms; `moved` as for [`Rooms::leave`].
    pub fn leave_all(&mut self, memberships: &mut Memberships, mut moved: impl FnMut(u32, Moved)) {
        while let Some(last) = memberships.0.len().checked_sub(1) {
            self.remove(memberships, last, &mut moved);
        }
        memberships.0 = Vec::new();
    }

    /// The names of the rooms that a socket is in, in no particular order.
    pub fn names<'a>(&'a self, memberships: &'a Memberships) -> impl Iterator<Item = &'a str> {
        memberships.0.iter().map(|membership| &*self.rooms[membership.room as usize].name)
    }

    /// The members of a room.
    pub fn members(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        let room = self.names.get(name).map(|&room| &self.rooms[room as usize]);
        room.into_iter().flat_map(|room| room.members.iter().map(|member| member.socket))
    }

    /// Adds to `chosen` every socket that `selection` means, each once. `everybody` are the sockets
    /// of the namespace; `by_id` finds the socket whose own id a room name is.
    pub fn select(
        &mut self,
        selection: &Selection,
        everybody: impl Iterator<Item = u32>,
        by_id: impl Fn(&str) -> Option<u32>,
        chosen: &mut Vec<u32>,
    ) {
        if selection.except.is_empty() && selection.to.is_empty() {
            chosen.extend(everybody);
            return;
        }
        self.begin_marking();
        for target in &selection.except {
            let excluded = by_id(target);
            self.mark_room(target);
            excluded.into_iter().for_each(|socket| {
                self.mark(socket);
            });
        }
        if selection.to.is_empty() {
            chosen.extend(everybody.filter(|&socket| !self.is_marked(socket)));
            return;
        }
        for target in &selection.to {
            if let Some(&room) = self.names.get(&**target) {
                for position in 0..self.rooms[room as usize].members.len() {
                    let socket = self.rooms[room as usize].members[position].socket;
                    if self.mark(socket) {
                        chosen.push(socket);
                    }
                }
            }
            if let Some(socket) = by_id(target)
                && self.mark(socket)
            {
                chosen.push(socket);
            }
        }
    }

    fn create(&mut self, name: &str) -> RoomIndex {
        let room = self.vacant.pop().unwrap_or_else(|| {
            self.rooms.push(Room::default());
            self.rooms.len() as u32 - 1
        });
        self.rooms[room as usize].name = name.into();
        self.names.insert(name.into(), room);
        room
    }

    fn remove(
        &mut self,
        memberships: &mut Memberships,
        index: usize,
        mut moved: impl FnMut(u32, Moved),
    ) {
        let Membership { room, position } = memberships.0.swap_remove(index);
        if let Some(other) = memberships.0.get(index) {
            let members = &mut self.rooms[other.room as usize].members;
            members[other.position as usize].back = index as u32;
        }
        let members = &mut self.rooms[room as usize].members;
        members.swap_remove(position as usize);
        if let Some(member) = members.get(position as usize) {
            moved(member.socket, Moved { back: member.back, position });
        } else if members.is_empty() {
            let name = std::mem::take(&mut self.rooms[room as usize].name);
            self.rooms[room as usize].members = Vec::new();
            self.names.remove(&name);
            self.vacant.push(room);
        }
    }

    fn begin_marking(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Marks of four thousand million selections ago must not count.
            self.marks.fill(0);
            self.epoch = 1;
        }
    }

    /// Marks a socket; answers whether it was not marked before.
    fn mark(&mut self, socket: u32) -> bool {
        if socket as usize >= self.marks.len() {
            self.marks.resize(socket as usize + 1, 0);
        }
        let mark = &mut self.marks[socket as usize];
        std::mem::replace(mark, self.epoch) != self.epoch
    }

    fn mark_room(&mut self, name: &str) {
        let Some(&room) = self.names.get(name) else { return };
        for position in 0..self.rooms[room as usize].members.len() {
            self.mark(self.rooms[room as usize].members[position].socket);
        }
    }

    fn is_marked(&self, socket: u32) -> bool {
        self.marks.get(socket as usize).is_some_and(|&mark| mark == self.epoch)
    }
}

#[cfg(test)]
mod tests;
