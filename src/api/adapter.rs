//! The rooms of a namespace, as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::id::SocketId;
use crate::shard::handler::RoomEvent;

use super::namespace::Namespace;

/// Who is in which room of a namespace, on all shards (`namespace.adapter`). Each socket is also in
/// a room of its own, which is named by its id.
#[derive(Clone, Debug)]
pub struct Adapter(Namespace);

impl Namespace {
    /// The rooms of this namespace. See [`Adapter`].
    pub fn adapter(&self) -> Adapter {
        Adapter(self.clone())
    }
}

impl Adapter {
    /// The rooms there are and who is in them, to be awaited on any thread (`adapter.rooms`).
    ///
    /// ```no_run
    /// # async fn example(io: fanfare::Server) {
    /// for (room, members) in io.of("/").adapter().rooms().await {
    ///     println!("{room}: {} members", members.len());
    /// }
    /// # }
    /// ```
    pub async fn rooms(&self) -> HashMap<String, HashSet<SocketId>> {
        let mut rooms: HashMap<String, HashSet<SocketId>> = HashMap::new();
        for socket in self.0.fetch_sockets().await {
            for room in socket.rooms() {
                match rooms.get_mut(room) {
                    Some(members) => drop(members.insert(socket.id())),
                    None => drop(rooms.insert(room.to_owned(), HashSet::from([socket.id()]))),
                }
            }
        }
        rooms
    }

    /// The sockets there are and the rooms that each is in, to be awaited on any thread
    /// (`adapter.sids`).
    pub async fn sids(&self) -> HashMap<SocketId, HashSet<String>> {
        let found = self.0.fetch_sockets().await;
        let rooms = found.iter().map(|socket| {
            let rooms = socket.rooms().map(str::to_owned);
            (socket.id(), rooms.collect())
        });
        rooms.collect()
    }

    /// Calls `listener` for each room that gets its first member (`create-room`). It must not
    /// block; what it does takes effect behind what has made the room.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// let io = fanfare::Server::builder().build()?;
    /// io.of("/").adapter().on_create_room(|room| println!("{room} was made"));
    /// io.of("/").adapter().on_join_room(|room, id| println!("{id} has joined {room}"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_create_room(&self, listener: impl Fn(&str) + Send + Sync + 'static) -> &Adapter {
        self.listen(RoomEvent::Create, move |room, _| listener(room))
    }

    /// Calls `listener` for each room whose last member has left it (`delete-room`). See
    /// [`on_create_room`](Adapter::on_create_room).
    pub fn on_delete_room(&self, listener: impl Fn(&str) + Send + Sync + 'static) -> &Adapter {
        self.listen(RoomEvent::Delete, move |room, _| listener(room))
    }

    /// Calls `listener` for each socket that joins a room (`join-room`). See
    /// [`on_create_room`](Adapter::on_create_room).
    pub fn on_join_room(
        &self,
        listener: impl Fn(&str, SocketId) + Send + Sync + 'static,
    ) -> &Adapter {
        self.listen(RoomEvent::Join, listener)
    }

    /// Calls `listener` for each socket that leaves a room (`leave-room`). See
    /// [`on_create_room`](Adapter::on_create_room).
    pub fn on_leave_room(
        &self,
        listener: impl Fn(&str, SocketId) + Send + Sync + 'static,
    ) -> &Adapter {
        self.listen(RoomEvent::Leave, listener)
    }

    fn listen(
        &self,
        event: RoomEvent,
        listener: impl Fn(&str, SocketId) + Send + Sync + 'static,
    ) -> &Adapter {
        self.0.definition.add_room_listener(event, Arc::new(listener));
        self.0.shared.changed();
        self
    }
}
