//! One client in one namespace.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::id::SocketId;
use crate::command::{SocketAddress, SocketCommand};
use crate::proto::json::{Arguments, FromArguments};
use crate::shard::context::Context;
use crate::shard::handler::Definition;
use crate::shard::shared::Shared;
use crate::shard::{Manner, SocketPhase, State};

use super::ack::Acknowledgement;
use super::ask::{ask_socket, deliver};
use super::emit::{Emitted, Emitter, Written};
use super::event::{Asks, Emits};
use super::handshake::Handshake;
use super::namespace::Namespace;
use super::socket_emitter::SocketEmitter;
use super::targets::{IntoTargets, targets};

/// A client that has joined a namespace: a few plain numbers, to be copied, kept and sent to other
/// threads as one likes. When the client has gone, what is asked of it answers so and does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Socket {
    pub(crate) server: u32,
    pub(crate) address: SocketAddress,
}

impl Socket {
    /// The public id: 20 characters, another one for each connection.
    pub fn id(&self) -> SocketId {
        self.address.id()
    }

    /// Whether it is connected. Only a shard knows of its own sockets: elsewhere than in handlers
    /// on the socket's shard this is `false`.
    pub fn is_connected(&self) -> bool {
        self.with_state(|state, key| {
            state.sockets.get(key).is_some_and(|socket| socket.phase == SocketPhase::Connected)
        })
        .unwrap_or(false)
    }

    /// Whether it has come back after a disconnection, with its id, rooms and data and what it had
    /// missed ([`Builder::connection_state_recovery`](crate::Builder::connection_state_recovery)).
    /// `false` elsewhere than on its own shard.
    ///
    /// ```
    /// # fn main() -> fanfare::Result<()> {
    /// use fanfare::{ConnectionStateRecovery, Server, Socket};
    ///
    /// let io = Server::builder()
    ///     .connection_state_recovery(ConnectionStateRecovery::default())
    ///     .build()?;
    /// io.of("/").on_connect(async |socket: Socket| {
    ///     if !socket.recovered() {
    ///         socket.emit("everything", "from the beginning");
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn recovered(&self) -> bool {
        self.with_state(|state, key| state.has_come_back(key)).unwrap_or(false)
    }

    /// The name of its namespace.
    pub fn namespace(&self) -> String {
        let definition = self.shared().and_then(|shared| shared.namespace(self.address.namespace));
        definition.map_or_else(String::new, |definition| definition.name.to_string())
    }

    /// The transport of its session at this moment: `polling` or `websocket`. `None` when it has
    /// gone, and elsewhere than on its own shard.
    pub fn transport(&self) -> Option<&'static str> {
        self.with_state(|state, key| {
            let session = state.sockets.get(key)?.session;
            Some(state.sessions.get(session)?.session.transport_name())
        })?
    }

    /// Sends an event to this client: one of this name, or an [`Event`](crate::Event) with exactly
    /// its arguments. A tuple is several arguments, `()` is none, everything else
    /// is one; see [`Arguments`].
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) -> Emitted {
        self.emitter().emit(event, args)
    }

    /// Sends the event `message` to this client.
    pub fn send(&self, args: impl Arguments) -> Emitted {
        self.emit("message", args)
    }

    /// The same as [`send`](Socket::send).
    pub fn write(&self, args: impl Arguments) -> Emitted {
        self.send(args)
    }

    /// Sends an event and waits for the client's acknowledgement. The answer is its first argument,
    /// or all of them when `T` is a tuple. See [`timeout`](Socket::timeout).
    ///
    /// ```no_run
    /// # async fn example(socket: fanfare::Socket) {
    /// let name: Result<String, fanfare::AckError> = socket.emit_with_ack("name?", ()).await;
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AckError`](crate::AckError) says why there is no answer.
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        &self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Acknowledgement<T> {
        self.emitter().emit_with_ack(event, args)
    }

    /// How long the `emit_with_ack` that follows waits.
    pub fn timeout(&self, timeout: Duration) -> SocketEmitter {
        self.emitter().timeout(timeout)
    }

    /// The packet that follows is dropped when the client is not writable at that moment.
    pub fn volatile(&self) -> SocketEmitter {
        self.emitter().volatile()
    }

    /// Of the events of this key that follow only the latest one matters: see
    /// [`Emitter::coalesce`].
    pub fn coalesce(&self, key: impl Into<Arc<str>>) -> SocketEmitter {
        self.emitter().coalesce(key)
    }

    /// Whether the packet that follows may be compressed: see [`Emitter::compress`].
    pub fn compress(&self, compress: bool) -> SocketEmitter {
        self.emitter().compress(compress)
    }

    fn emitter(&self) -> SocketEmitter {
        SocketEmitter {
            socket: *self,
            is_volatile: false,
            compress: true,
            timeout: None,
            coalesce: None,
        }
    }

    /// Its namespace (`nsp`), from which everybody in it can be reached.
    ///
    /// ```
    /// use fanfare::{Server, Socket};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = Server::builder().build()?;
    /// io.of_pattern(r"^/tenant-\d+$")?.on("maintenance", async |socket: Socket| {
    ///     socket.nsp().emit("maintenance", ());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the server was dropped; its handlers do not run any more then.
    pub fn nsp(&self) -> Namespace {
        let shared = self.shared().unwrap_or_else(|| panic!("the server of {self:?} was dropped"));
        let definition = shared.namespace(self.address.namespace);
        // A child may have gone with its last socket, and its index be another one's by now: then
        // nobody is meant.
        let definition = definition
            .filter(|definition| definition.parent_of().is_none() || !self.is_forgotten())
            .unwrap_or_else(Definition::nowhere);
        Namespace { shared, definition }
    }

    /// Aims at everybody in the namespace but this client.
    ///
    /// # Panics
    /// As [`nsp`](Socket::nsp).
    pub fn broadcast(&self) -> Emitter {
        self.nsp().emitter().except(self.id())
    }

    /// Aims at those in any of these rooms, but not at this client.
    pub fn to(&self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().to(rooms)
    }

    /// The same as [`to`](Socket::to); `in` is a keyword of Rust.
    pub fn in_(&self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().to(rooms)
    }

    /// Aims at those in none of these rooms, and not at this client.
    pub fn except(&self, rooms: impl IntoTargets) -> Emitter {
        self.broadcast().except(rooms)
    }

    /// Aims at everybody of this process but this client.
    pub fn local(&self) -> Emitter {
        self.broadcast().local()
    }

    /// Joins rooms: at once on the socket's shard, in order from elsewhere. `false` when the socket
    /// is known to be gone.
    pub fn join(&self, rooms: impl IntoTargets) -> bool {
        let rooms = targets(rooms);
        match self.own_shard() {
            Some(context) => context.with(|state| state.join(self.address, &rooms)),
            None => self.ask(SocketCommand::Join(rooms)),
        }
    }

    /// Leaves a room. `false` when the socket is known to be gone or was not in it.
    pub fn leave(&self, room: &str) -> bool {
        match self.own_shard() {
            Some(context) => context.with(|state| state.leave(self.address, room)),
            None => self.ask(SocketCommand::Leave(room.into())),
        }
    }

    /// The rooms it is in: first the one that is named by its id, then those it has joined, in no
    /// particular order. Empty when it has gone, and elsewhere than on its own shard.
    pub fn rooms(&self) -> Vec<String> {
        self.with_state(|state, key| state.rooms_of(key)).unwrap_or_default()
    }

    /// Disconnects it from its namespace; with `close` from all, and its connection is closed.
    /// `false` when it is known to be gone.
    pub fn disconnect(&self, close: bool) -> bool {
        match self.own_shard() {
            Some(context) => context.with(|state| state.disconnect(self.address, close)),
            None => self.ask(SocketCommand::Disconnect(close)),
        }
    }

    /// What the application keeps with it. Only handlers on the socket's shard reach it.
    pub fn data(&self) -> SocketData {
        SocketData(*self)
    }

    /// The request that opened the session. `None` when it has gone for good or is not kept
    /// ([`Builder::keep_handshake`](crate::Builder::keep_handshake)), and elsewhere than on the
    /// socket's shard.
    pub fn handshake(&self) -> Option<Handshake> {
        let (request, auth) = self.with_state(|state, key| {
            let socket = state.sockets.get(key)?;
            let extra = socket.extra.as_ref();
            let late = extra.and_then(|extra| extra.request.clone());
            let session = state.sessions.get(socket.session);
            let request = late.or_else(|| session?.session.request.clone())?;
            Some((request, extra.and_then(|extra| extra.auth.clone())))
        })??;
        Some(Handshake::new(request, auth))
    }

    /// Whether its shard, if this thread works for it, does not know it any more.
    fn is_forgotten(&self) -> bool {
        let context = self.own_shard();
        context.is_some_and(|own| own.with(|state| state.socket_key(self.address).is_none()))
    }

    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        match Context::current() {
            Some(context) if context.shared.key == self.server => Some(Arc::clone(&context.shared)),
            _ => Shared::by_key(self.server),
        }
    }

    /// The shard of this socket, if this thread works for it.
    pub(crate) fn own_shard(&self) -> Option<Rc<Context>> {
        let is_own = |context: &Rc<Context>| {
            context.shared.key == self.server
                && context.index == context.shared.moved.shard_of(self.address)
        };
        Context::current().filter(is_own)
    }

    pub(crate) fn with_state<R>(
        &self,
        work: impl FnOnce(&mut State, crate::base::slab::Key) -> R,
    ) -> Option<R> {
        self.own_shard()?.with(|state| {
            let key = state.socket_key(self.address)?;
            Some(work(state, key))
        })
    }

    pub(super) fn ask(&self, command: SocketCommand) -> bool {
        let shared = self.shared();
        shared.is_some_and(|shared| ask_socket(&shared, self.address, command).is_queued())
    }

    pub(crate) fn answer(&self, id: u64, args: &impl Arguments) -> Emitted {
        let written = match Written::new(args) {
            Ok(written) => written,
            Err(error) => return Emitted::Refused(error),
        };
        deliver(self, Manner::default(), |packets, _| {
            packets.ack(id, &written.json, &written.attachments)
        })
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Socket({})", self.id())
    }
}

/// What the application keeps with a socket: one value of any type (`socket.data`). It is dropped
/// when the last disconnect handler of the socket has ended, and the socket cannot come back.
/// A socket that comes back may be on another thread, so values must be `Send`.
///
/// ```
/// # fn main() -> fanfare::Result<()> {
/// use fanfare::{Data, DisconnectReason, Server, Socket};
///
/// let io = Server::builder().build()?;
/// io.of("/").on("name", async |socket: Socket, Data(name): Data<String>| {
///     socket.data().set(name);
/// });
/// io.of("/").on_disconnect(async |socket: Socket| {
///     if let Some(name) = socket.data().take::<String>() {
///         println!("{name} has gone");
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SocketData(Socket);

impl SocketData {
    /// Puts a value there instead of the one that was. `false` when the socket has gone, or this is
    /// not its shard.
    pub fn set<T: Send + 'static>(self, value: T) -> bool {
        let mut value: Option<Box<dyn Any + Send>> = Some(Box::new(value));
        let previous = self.0.with_state(|state, key| state.replace_data(key, value.take()));
        // The previous value is dropped here: its drop is user code.
        previous.flatten().is_some()
    }

    /// A copy of the value, if it is of this type.
    pub fn get<T: Clone + 'static>(self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Takes the value out, if it is of this type.
    pub fn take<T: 'static>(self) -> Option<T> {
        let value = self.detach()?;
        match value.downcast::<T>() {
            Ok(value) => Some(*value),
            Err(other) => {
                self.attach(other);
                None
            }
        }
    }

    /// Works with the value, if it is of this type. Inside `work` the socket has none.
    pub fn with<T: 'static, R>(self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.detach()?;
        let result = value.downcast_mut::<T>().map(work);
        self.attach(value);
        result
    }

    fn detach(self) -> Option<Box<dyn Any + Send>> {
        self.0.with_state(|state, key| state.replace_data(key, None))??
    }

    fn attach(self, value: Box<dyn Any + Send>) {
        let mut value = Some(value);
        self.0.with_state(|state, key| state.replace_data(key, value.take()));
    }
}
