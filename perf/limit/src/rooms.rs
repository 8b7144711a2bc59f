//! Who is in which room. A socket that never joined costs nothing.

use std::collections::HashMap;
use std::rc::Rc;

/// The rooms that have members.
#[derive(Debug, Default)]
pub struct Rooms {
    members: HashMap<Rc<[u8]>, Vec<u32>>,
    joined: HashMap<u32, Vec<Rc<[u8]>>>,
}

impl Rooms {
    /// Puts a socket into a room, unless it is there.
    pub fn join(&mut self, socket: u32, room: &[u8]) {
        let joined = self.joined.entry(socket).or_default();
        if joined.iter().any(|each| **each == *room) {
            return;
        }
        let room: Rc<[u8]> = match self.members.get_key_value(room) {
            Some((known, _)) => Rc::clone(known),
            None => room.into(),
        };
        joined.push(Rc::clone(&room));
        self.members.entry(room).or_default().push(socket);
    }

    /// The sockets in a room.
    pub fn members(&self, room: &[u8]) -> &[u32] {
        self.members.get(room).map_or(&[], Vec::as_slice)
    }

    /// Takes a socket out of all its rooms.
    pub fn leave(&mut self, socket: u32) {
        for room in self.joined.remove(&socket).into_iter().flatten() {
            let Some(members) = self.members.get_mut(&room) else { continue };
            members.retain(|&member| member != socket);
            if members.is_empty() {
                self.members.remove(&room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_twice_is_joining_once_and_the_last_to_leave_takes_the_room_along() {
        let mut rooms = Rooms::default();
        rooms.join(1, b"a");
        rooms.join(1, b"a");
        rooms.join(2, b"a");
        rooms.join(2, b"b");
        assert_eq!(rooms.members(b"a"), [1, 2]);
        rooms.leave(2);
        assert_eq!((rooms.members(b"a"), rooms.members(b"b")), ([1].as_slice(), [].as_slice()));
        rooms.leave(1);
        rooms.leave(1);
        assert!(rooms.members.is_empty() && rooms.joined.is_empty());
    }
}
