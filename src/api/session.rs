//! The Engine.IO session below the sockets of a client.

use std::fmt;
use std::rc::Rc;

use crate::base::id::SessionId;
use crate::base::slab::Key;
use crate::command::{Command, SessionAddress, SessionCommand};
use crate::proto::socket::DisconnectReason;
use crate::shard::State;
use crate::shard::context::Context;
use crate::shard::events::{Occasion, PacketKind};
use crate::shard::lag::Lagged;
use crate::shard::shared::Shared;
use crate::shard::watch::Label;

use super::ask::ask_shard;
use super::emit::Emitted;
use super::engine::Message;
use super::extract::{EventParts, FromEvent, Rejection};
use super::handler::{Handler, recipe};
use super::listeners::Listener;
use super::socket::Socket;

/// The connection of a client (`socket.conn`), which all its sockets share: an Engine.IO session,
/// over long-polling or WebSocket. A few plain numbers, as [`Socket`] is. What it tells, and
/// listeners, are for handlers on its own shard; elsewhere, and when it has gone, the answer is
/// `None`.
///
/// Its listeners are handlers as any others. They cost nothing for sessions that have none.
///
/// ```
/// use fanfare::{Packet, Server, Session, Socket};
///
/// # fn main() -> fanfare::Result<()> {
/// let io = Server::builder().build()?;
/// io.of("/").on_connect(async |socket: Socket| {
///     let Some(conn) = socket.conn() else { return };
///     println!("over {:?}", conn.transport());
///     conn.on_upgrade(async |conn: Session| println!("now over {:?}", conn.transport()));
///     conn.on_packet(async |packet: Packet| println!("{:?}", packet.kind));
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    pub(super) server: u32,
    pub(super) address: SessionAddress,
}

/// An Engine.IO packet, as listeners of [`Session::on_packet`] and [`Session::on_packet_create`]
/// may ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type.
    pub kind: PacketKind,
    /// What it carries: for a message, the text of a Socket.IO packet or one of its attachments.
    pub data: Message,
}

/// How far a session has come (`readyState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// Packets are exchanged.
    Open,
    /// It takes no more packets, but what is queued may still go out.
    Closing,
    /// It is over.
    Closed,
}

impl Session {
    /// Its id, which says where it is. Its client has it as [`sid`](Session::sid) says. Whoever has
    /// it can take the session over: it belongs in no log, and is not written by `{:?}`.
    pub fn id(&self) -> Option<SessionId> {
        self.with_state(|state, key| Some(*state.sessions.get(key)?.session.id()))?
    }

    /// The id that its client has (`conn.id`): that of [`generate_id`](crate::Engine::generate_id),
    /// if the application makes them. As text it is a secret that one can write down: whoever has
    /// it can take the session over.
    pub fn sid(&self) -> Option<String> {
        let (id, shared) = (self.id()?, Shared::by_key(self.server)?);
        let own = || String::from_utf8_lossy(&id.text()).into_owned();
        Some(shared.aliases.text(&id).unwrap_or_else(own))
    }

    /// What carries it at this moment: `polling` or `websocket` (`conn.transport.name`).
    pub fn transport(&self) -> Option<&'static str> {
        self.with_state(|state, key| Some(state.sessions.get(key)?.session.transport_name()))?
    }

    /// How far it has come (`conn.readyState`). `None` elsewhere than on its own shard.
    pub fn ready_state(&self) -> Option<ReadyState> {
        self.with_state(|state, key| match state.sessions.get(key) {
            Some(entry) if entry.session.is_open() => ReadyState::Open,
            Some(entry) if !entry.session.is_closed() => ReadyState::Closing,
            _ => ReadyState::Closed,
        })
    }

    /// Bytes that wait to be sent (`conn.writeBuffer`), with their framing. What the kernel has
    /// taken counts as sent.
    pub fn queued_bytes(&self) -> Option<usize> {
        self.with_state(State::queued_bytes)?
    }

    /// Runs `handler` for each packet that comes (`packet`), before anything else is done with it.
    /// It may ask for a [`Packet`]. What is no Engine.IO packet ends the session and is not told.
    pub fn on_packet<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Packet, handler)
    }

    /// Runs `handler` for each packet that is about to be sent (`packetCreate`): messages and
    /// pings. It may ask for a [`Packet`]. While somebody listens to this on a shard, its
    /// broadcasts do without a shortcut.
    pub fn on_packet_create<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::PacketCreate, handler)
    }

    /// Runs `handler` when everything that was queued has been sent (`drain`).
    ///
    /// ```
    /// use fanfare::{Server, Session, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on("next", async |socket: Socket| {
    ///     let Some(conn) = socket.conn() else { return };
    ///     conn.on_drain(async |conn: Session| assert_eq!(conn.queued_bytes(), Some(0)));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_drain<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Drain, handler)
    }

    /// Runs `handler` when the client is behind: it has not taken what was queued for it, and that
    /// is more than [`Limits::send_queue_soft_bytes`](crate::Limits). It may ask for [`Lagged`]. It
    /// is told once until everything was taken, and again each time that events are dropped
    /// ([`SendQueuePolicy`](crate::SendQueuePolicy)).
    ///
    /// ```
    /// use fanfare::{Lagged, Server, Session, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_connect(async |socket: Socket| {
    ///     let Some(conn) = socket.conn() else { return };
    ///     conn.on_lagged(async |socket: Session, lagged: Lagged| {
    ///         println!("{socket:?} has {} bytes to take", lagged.queued_bytes);
    ///     });
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_lagged<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Lagged(Lagged::default()), handler)
    }

    /// Runs `handler` when a WebSocket has become the transport (`upgrade`).
    pub fn on_upgrade<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Upgrade, handler)
    }

    /// Runs `handler` for each ping that the client has answered (`heartbeat`).
    pub fn on_heartbeat<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Heartbeat, handler)
    }

    /// Runs `handler` when the session is over (`close`), after the disconnect handlers of its
    /// sockets have begun. It may ask for a [`DisconnectReason`] and a
    /// [`DisconnectDetail`](crate::DisconnectDetail).
    ///
    /// ```
    /// use fanfare::{DisconnectReason, Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_connect(async |socket: Socket| {
    ///     let Some(conn) = socket.conn() else { return };
    ///     conn.on_close(async |reason: DisconnectReason| println!("closed: {reason}"));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_close<A>(&self, handler: impl Handler<A>) -> Option<Listener> {
        self.listen(Occasion::Close, handler)
    }

    /// Takes a listener off. `false` when it is not there any more.
    pub fn off(&self, listener: Listener) -> bool {
        let removed = self.with_state(|state, key| state.session_listeners.remove(key, listener.0));
        // What is dropped is user code: not inside.
        removed.flatten().is_some()
    }

    /// Closes the session after what was sent before has gone out (`conn.close`). Its sockets see
    /// `forced close`. May be called on any thread.
    pub fn close(&self) -> Emitted {
        match self.own_shard() {
            Some(context) => {
                let key = self.address.key;
                context.with(|state| state.close_session(key, DisconnectReason::ForcedClose));
                Emitted::Queued
            }
            None => self.ask(SessionCommand::Close),
        }
    }

    fn listen<A>(&self, occasion: Occasion, handler: impl Handler<A>) -> Option<Listener> {
        let handler = recipe(Label::LISTENER, handler)();
        self.with_state(|state, key| {
            state.sessions.get(key)?;
            Some(Listener(state.session_listeners.add(key, occasion, handler)))
        })?
    }

    pub(super) fn own_shard(&self) -> Option<Rc<Context>> {
        Context::current().filter(|context| {
            context.shared.key == self.server && context.index == self.address.shard
        })
    }

    pub(super) fn ask(&self, command: SessionCommand) -> Emitted {
        let Some(shared) = Shared::by_key(self.server) else { return Emitted::Closed };
        ask_shard(&shared, self.address.shard, Command::Session(self.address, command))
    }

    fn with_state<R>(&self, work: impl FnOnce(&mut State, Key) -> R) -> Option<R> {
        Some(self.own_shard()?.with(|state| work(state, self.address.key)))
    }
}

impl Socket {
    /// The connection of its client (`conn`). `None` when it has gone, and elsewhere than on its
    /// own shard.
    pub fn conn(&self) -> Option<Session> {
        let context = self.own_shard()?;
        let key = self.with_state(|state, key| Some(state.sockets.get(key)?.session))??;
        let address = SessionAddress { key, shard: context.index };
        Some(Session { server: self.server, address })
    }
}

impl FromEvent for Session {
    /// The connection of the client, whatever the event.
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Session, Rejection> {
        let context = parts.0.context;
        if let Some(key) = parts.0.session {
            let address = SessionAddress { key, shard: context.index };
            return Ok(Session { server: context.shared.key, address });
        }
        let socket = Socket::from_event(parts)?;
        socket.conn().ok_or(Rejection::Missing("session: the client has gone"))
    }
}

impl FromEvent for Lagged {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Lagged, Rejection> {
        parts.0.lagged.ok_or(Rejection::Missing("lag: see `Session::on_lagged`"))
    }
}

impl FromEvent for Packet {
    fn from_event(parts: &mut EventParts<'_, '_>) -> Result<Packet, Rejection> {
        let kind = parts.0.packet.ok_or(Rejection::Missing("packet: see `Session::on_packet`"))?;
        Ok(Packet { kind, data: Message::from_event(parts)? })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session({}:{})", self.address.shard, self.address.key.index)
    }
}

impl fmt::Display for ReadyState {
    /// The word of the reference.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ReadyState::Open => "open",
            ReadyState::Closing => "closing",
            ReadyState::Closed => "closed",
        })
    }
}
