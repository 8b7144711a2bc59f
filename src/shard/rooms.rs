//! Sockets join and leave rooms, and those who want to know are told.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::slab::Key;
use crate::command::SocketAddress;
use crate::room::{Memberships, Moved, Rooms, Target};

use super::context::Context;
use super::handler::{Handlers, RoomEvent};
use super::log;
use super::namespaces::Namespace;
use super::state::{Job, SocketPhase, State};

/// What has become of a room, and who is to hear of it.
pub struct RoomChange {
    handlers: Rc<Handlers>,
    events: &'static [RoomEvent],
    room: Target,
    socket: SocketAddress,
}

impl Context {
    /// Tells the listeners of rooms.
    pub(super) fn room_changed(&self, change: &RoomChange) {
        for event in change.events {
            let listeners = change.handlers.rooms.iter().filter(|(heard, _)| heard == event);
            for (_, listener) in listeners {
                self.isolated(|| listener(&change.room, change.socket.id()));
            }
        }
    }
}

impl Namespace {
    /// A socket has joined a room.
    fn joined(&self, room: Target, socket: SocketAddress, is_first: bool) -> Job {
        let events: &[RoomEvent] = match is_first {
            true => &[RoomEvent::Create, RoomEvent::Join],
            false => &[RoomEvent::Join],
        };
        self.changed(events, room, socket)
    }

    /// A socket has left a room.
    fn left(&self, room: Target, socket: SocketAddress, is_last: bool) -> Job {
        let events: &[RoomEvent] = match is_last {
            true => &[RoomEvent::Leave, RoomEvent::Delete],
            false => &[RoomEvent::Leave],
        };
        self.changed(events, room, socket)
    }

    fn changed(&self, events: &'static [RoomEvent], room: Target, socket: SocketAddress) -> Job {
        let handlers = Rc::clone(&self.handlers);
        Job::Room(Box::new(RoomChange { handlers, events, room, socket }))
    }
}

impl State {
    /// Puts a socket into rooms. `false` when it is gone.
    pub fn join(&mut self, address: SocketAddress, rooms: &[Target]) -> bool {
        self.queue_batch();
        let Some(key) = self.socket_key(address) else { return false };
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        if matches!(socket.phase, SocketPhase::Leaving | SocketPhase::Gone) {
            return false;
        }
        let Some(space) = self.namespaces.get_mut(socket.namespace) else {
            return false;
        };
        log::joined(self.index, key, rooms);
        for room in rooms {
            let is_new_here = space.hears_rooms && !space.rooms.has(room);
            let is_new = is_new_here && space.definition.room_begins(room);
            let is_joining = space.rooms.join(key.index, &mut socket.memberships, room);
            if space.hears_rooms && is_joining {
                self.jobs.push_back(space.joined(Arc::clone(room), address, is_new));
            }
        }
        true
    }

    /// Takes a socket out of a room. `false` when it was not in it.
    pub fn leave(&mut self, address: SocketAddress, room: &str) -> bool {
        let Some(key) = self.socket_key(address) else { return false };
        let left = self.with_memberships(key, |rooms, memberships, moved| {
            rooms.leave(memberships, room, moved)
        });
        let has_left = left.unwrap_or(false);
        if has_left {
            log::left(self.index, key, room);
            self.tell_left(address, [room]);
        }
        has_left
    }

    /// Takes a socket out of all rooms.
    pub fn leave_all(&mut self, key: Key) {
        let heard = self.address(key).filter(|address| self.hears_rooms(address.namespace));
        let rooms = heard.map(|_| self.rooms_of(key)).unwrap_or_default();
        self.with_memberships(key, |rooms, memberships, moved| {
            rooms.leave_all(memberships, moved);
        });
        if let Some(address) = heard {
            // The first one is that of its id.
            self.tell_left(address, rooms.iter().skip(1).map(String::as_str));
        }
    }

    /// A socket is in its namespace from now on, and in the room of its id.
    pub(super) fn tell_begun(&mut self, address: SocketAddress) {
        if let Some(space) = self.namespaces.get(address.namespace)
            && space.hears_rooms
        {
            let room = address.id().to_string().into();
            self.jobs.push_back(space.joined(room, address, true));
        }
    }

    /// A socket is not in its namespace any more, nor in the room of its id.
    pub(super) fn tell_ended(&mut self, address: SocketAddress) {
        if let Some(space) = self.namespaces.get(address.namespace)
            && space.hears_rooms
        {
            let room = address.id().to_string().into();
            self.jobs.push_back(space.left(room, address, true));
        }
    }

    fn tell_left<'a>(&mut self, address: SocketAddress, rooms: impl IntoIterator<Item = &'a str>) {
        let space = self.namespaces.get(address.namespace);
        let Some(space) = space.filter(|space| space.hears_rooms) else { return };
        for room in rooms {
            let is_last = !space.rooms.has(room) && space.definition.room_ends(room);
            self.jobs.push_back(space.left(room.into(), address, is_last));
        }
    }

    fn hears_rooms(&self, namespace: u16) -> bool {
        self.namespaces.get(namespace).is_some_and(|space| space.hears_rooms)
    }

    fn with_memberships<R>(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Rooms, &mut Memberships, &mut dyn FnMut(u32, Moved)) -> R,
    ) -> Option<R> {
        self.queue_batch();
        let socket = self.sockets.get_mut(key)?;
        let space = self.namespaces.get_mut(socket.namespace)?;
        let mut memberships = std::mem::take(&mut socket.memberships);
        let sockets = &mut self.sockets;
        let result = change(&mut space.rooms, &mut memberships, &mut |other, moved| {
            if let Some(other) = sockets.key_at(other).and_then(|key| sockets.get_mut(key)) {
                other.memberships.moved(moved);
            }
        });
        self.sockets.get_mut(key)?.memberships = memberships;
        Some(result)
    }
}
