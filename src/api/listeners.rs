//! Listeners of one socket.

use crate::proto::socket::is_reserved;
use crate::shard::handler::{Handler as ShardHandler, Place};
use crate::shard::listeners::{Direction, ListenerId, Listeners};
use crate::shard::watch::Label;

use super::event::{Heard, Named};
use super::handler::{self, Handler, Middleware};
use super::socket::Socket;

/// Names what a socket or a session listens to, to be taken off again ([`Socket::off`],
/// [`Session::off`](crate::Session::off)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener(pub(super) ListenerId);

/// Listeners of this socket alone. Each costs memory for each socket that has it: what all sockets
/// of a namespace listen to is better registered there ([`Namespace::on`](crate::Namespace::on)).
/// What a client can make an application register should have a limit of the application's.
///
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
    /// io.of("/").on_connect(async |socket: Socket| {
    ///     let address = socket.handshake().and_then(|handshake| handshake.address());
    ///     socket.on("message", async move |Data(text): Data<String>| {
    ///         println!("{address:?} says {text}");
    ///     });
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the name is one that Socket.IO reserves, as for
    /// [`Namespace::on`](crate::Namespace::on).
    pub fn on<A>(&self, event: impl Heard<A>, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(event.name(), handler, false)
    }

    /// As [`on`](Socket::on), for the next such event only.
    ///
    /// # Panics
    /// As [`on`](Socket::on).
    pub fn once<A>(&self, event: impl Heard<A>, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(event.name(), handler, true)
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
    pub fn off_event(&self, event: impl Named) -> usize {
        let removed = self.with_listeners(|listeners| listeners.remove_event(event.name()));
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
    /// (`onAnyOutgoing`). See [`Namespace::on_any_outgoing`](crate::Namespace::on_any_outgoing).
    pub fn on_any_outgoing<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Outgoing, Place::Last, handler)
    }

    /// As [`on_any_outgoing`](Socket::on_any_outgoing), before those of this socket that are there
    /// (`prependAnyOutgoing`).
    pub fn prepend_any_outgoing<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen_to_all(Direction::Outgoing, Place::First, handler)
    }

    /// Takes all listeners of all events off (`offAny`). Answers how many there were.
    pub fn off_any(&self) -> usize {
        self.off_all(Direction::Incoming)
    }

    /// Takes all listeners of what the client is sent off (`offAnyOutgoing`). Answers how many
    /// there were.
    pub fn off_any_outgoing(&self) -> usize {
        self.off_all(Direction::Outgoing)
    }

    fn off_all(&self, direction: Direction) -> usize {
        let removed = self.with_state(|state, key| {
            let listeners = state.sockets.get_mut(key)?.extra.as_mut()?.listeners.as_mut()?;
            let removed = listeners.remove_any(direction);
            let heard = direction == Direction::Outgoing && !removed.is_empty();
            state.outgoing_listeners -= usize::from(heard);
            Some(removed)
        });
        // What is dropped is user code: not inside.
        removed.flatten().map_or(0, |removed| removed.len())
    }

    /// Asks `middleware` before the handlers of each event of this socket (`use`), behind those of
    /// its namespace ([`Namespace::packet_middleware`](crate::Namespace::packet_middleware)).
    pub fn use_<A>(&self, middleware: impl Middleware<A>) -> Option<Listener> {
        let mut middleware = Some(handler::middleware_recipe(Label::LISTENER, middleware)());
        self.with_listeners(|listeners| {
            Some(Listener(listeners.add_middleware(middleware.take()?)))
        })?
    }

    fn listen<A>(&self, event: &str, handler: impl Handler<A>, is_once: bool) -> Option<Listener> {
        assert!(!is_reserved(event), "{event:?} is reserved: see `Namespace::on_disconnect`");
        let mut handler = Some(handler::recipe(Label::LISTENER, handler)());
        self.with_listeners(|listeners| {
            Some(Listener(listeners.add(event, handler.take()?, is_once)))
        })?
    }

    fn listen_to_all<A>(
        &self,
        direction: Direction,
        place: Place,
        handler: impl Handler<A>,
    ) -> Option<Listener> {
        let mut handler: Option<ShardHandler> = Some(handler::recipe(Label::LISTENER, handler)());
        self.with_state(|state, key| {
            let socket = state.sockets.get_mut(key)?;
            let listeners = socket.extra.get_or_insert_default().listeners.get_or_insert_default();
            let heard = hears_outgoing(listeners);
            let id = listeners.add_any(direction, place, handler.take()?);
            let hears = hears_outgoing(listeners);
            state.outgoing_listeners += usize::from(hears && !heard);
            Some(Listener(id))
        })?
    }

    /// Works with the listeners, if the socket is there. `work` is kept until the state is not
    /// borrowed any more: what it holds is user code.
    fn with_listeners<R>(&self, mut work: impl FnMut(&mut Listeners) -> R) -> Option<R> {
        self.with_state(|state, key| {
            let socket = state.sockets.get_mut(key)?;
            Some(work(socket.extra.get_or_insert_default().listeners.get_or_insert_default()))
        })?
    }
}

fn hears_outgoing(listeners: &Listeners) -> bool {
    listeners.any(Direction::Outgoing).next().is_some()
}

/// What this socket listens to, besides what all sockets of its namespace do. Empty when it has
/// gone, and elsewhere than on its own shard.
impl Socket {
    /// The events that it listens to by name, each once (`eventNames`).
    ///
    /// ```
    /// use fanfare::{Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_connect(async |socket: Socket| {
    ///     socket.on("details", async || {});
    ///     assert_eq!(socket.event_names(), ["details"]);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn event_names(&self) -> Vec<String> {
        self.listened(|listeners| listeners.names().into_iter().map(str::to_owned).collect())
    }

    /// Its listeners of every event that the client sends (`listenersAny`), in the order in which
    /// they run.
    pub fn listeners_any(&self) -> Vec<Listener> {
        self.listened(|listeners| listeners.any_ids(Direction::Incoming).map(Listener).collect())
    }

    /// Its listeners of every event that the client is sent (`listenersAnyOutgoing`), in the order
    /// in which they run.
    pub fn listeners_any_outgoing(&self) -> Vec<Listener> {
        self.listened(|listeners| listeners.any_ids(Direction::Outgoing).map(Listener).collect())
    }

    fn listened<T>(&self, read: impl FnOnce(&Listeners) -> Vec<T>) -> Vec<T> {
        let read = self.with_state(|state, key| {
            let listeners = state.sockets.get(key)?.extra.as_ref()?.listeners.as_ref()?;
            Some(read(listeners))
        });
        read.flatten().unwrap_or_default()
    }
}
