//! Listeners of one socket.

use crate::proto::socket::RESERVED_EVENTS;
use crate::shard::handler::{Handler as ShardHandler, Place};
use crate::shard::listeners::{Direction, ListenerId, Listeners};

use super::handler::{self, Handler, Middleware};
use super::socket::Socket;

/// Names what a socket or a session listens to, to be taken off again ([`Socket::off`],
/// [`Session::off`](crate::Session::off)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(pub(super) ListenerId);

/// Listeners of this socket alone. Each costs memory for each socket that has it: what all sockets
/// of a namespace listen to is better registered there ([`Namespace::on`](crate::Namespace::on)).
/// They are for handlers on the socket's shard; elsewhere, and when it has gone, nothing is
/// registered and the answer is `None`.
impl Socket {
    /// Runs `handler` for each event of this name that the client sends, behind those of its
    /// namespace.
    ///
    /// ```
    /// use fanfare::{Data, Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on("subscribe", async |socket: Socket, Data(topic): Data<String>| {
    ///     socket.on(&topic, async move |socket: Socket| {
    ///         socket.emit("heard", &topic);
    ///     });
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the name is one that Socket.IO reserves, as for
    /// [`Namespace::on`](crate::Namespace::on).
    pub fn on<A>(&self, event: &str, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(event, handler, false)
    }

    /// As [`on`](Socket::on), for the next such event only.
    ///
    /// # Panics
    /// As [`on`](Socket::on).
    pub fn once<A>(&self, event: &str, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(event, handler, true)
    }

    /// Takes a listener off, whatever it listens to. `false` when it is not there any more.
    pub fn off(&self, listener: Listener) -> bool {
        let removed = self.with_state(|state, key| {
            let extra = state.sockets.get_mut(key)?.extra.as_mut()?;
            let listeners = extra.listeners.as_mut()?;
            let heard = hears_outgoing(listeners);
            let removed = listeners.remove(listener.0);
            let hears = hears_outgoing(listeners);
            state.outgoing_listeners -= usize::from(heard && !hears);
            removed
        });
        // What is dropped is user code: not inside.
        removed.flatten().is_some()
    }

    /// Takes all listeners of an event off (`removeAllListeners`). Answers how many there were.
    pub fn off_event(&self, event: &str) -> usize {
        let removed = self.with_listeners(|listeners| listeners.remove_event(event));
        removed.map_or(0, |removed| removed.len())
    }

    /// Runs `handler` for every event that the client sends, before the handlers of that event
    /// (`onAny`).
    pub fn on_any<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Incoming, Place::Last, handler)
    }

    /// As [`on_any`](Socket::on_any), before those of this socket that are there (`prependAny`).
    pub fn prepend_any<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Incoming, Place::First, handler)
    }

    /// Runs `handler` for every event that the client is sent, also by a broadcast
    /// (`onAnyOutgoing`).
    pub fn on_any_outgoing<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Outgoing, Place::Last, handler)
    }

    /// As [`on_any_outgoing`](Socket::on_any_outgoing), before those of this socket that are there
    /// (`prependAnyOutgoing`).
    pub fn prepend_any_outgoing<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Outgoing, Place::First, handler)
    }

    /// Asks `middleware` before the handlers of each event of this socket (`use`), behind those of
    /// its namespace ([`Namespace::packet_middleware`](crate::Namespace::packet_middleware)).
    pub fn use_<A>(&self, middleware: impl Middleware<A>) -> Option<Listener> {
        let middleware = handler::middleware_recipe(middleware)();
        self.with_listeners(|listeners| Listener(listeners.add_middleware(middleware)))
    }

    fn listen<A>(&self, event: &str, handler: impl Handler<A>, is_once: bool) -> Option<Listener> {
        let is_reserved = RESERVED_EVENTS.contains(&event);
        assert!(!is_reserved, "{event:?} is reserved: see `Namespace::on_disconnect`");
        let handler = handler::recipe(handler)();
        self.with_listeners(|listeners| Listener(listeners.add(event, handler, is_once)))
    }

    fn listen_to_all<A>(
        &self,
        direction: Direction,
        place: Place,
        handler: impl Handler<A>,
    ) -> Option<Listener> {
        let handler: ShardHandler = handler::recipe(handler)();
        self.with_state(|state, key| {
            let socket = state.sockets.get_mut(key)?;
            let listeners = socket.extra.get_or_insert_default().listeners.get_or_insert_default();
            let heard = hears_outgoing(listeners);
            let id = listeners.add_any(direction, place, handler);
            let hears = hears_outgoing(listeners);
            state.outgoing_listeners += usize::from(hears && !heard);
            Some(Listener(id))
        })?
    }

    fn with_listeners<R>(&self, work: impl FnOnce(&mut Listeners) -> R) -> Option<R> {
        self.with_state(|state, key| {
            let socket = state.sockets.get_mut(key)?;
            Some(work(socket.extra.get_or_insert_default().listeners.get_or_insert_default()))
        })?
    }
}

fn hears_outgoing(listeners: &Listeners) -> bool {
    listeners.any(Direction::Outgoing).next().is_some()
}
