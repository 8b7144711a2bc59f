//! The engine alone: messages over long-polling and WebSocket, without namespaces, rooms and
//! events. What Engine.IO is to Socket.IO.
//!
//! ```no_run
//! use fanfare::engine::{Connection, Message, Server};
//!
//! fn main() -> fanfare::Result<()> {
//!     let engine = Server::build(Server::builder())?;
//!     engine.on_message(async |connection: Connection, message: Message| {
//!         connection.send(message);
//!     });
//!     engine.listen("127.0.0.1:3000")
//! }
//! ```

use std::fmt;
use std::os::fd::OwnedFd;

use bytes::Bytes;

use crate::base::address::ListenAddress;
use crate::base::frame::Encoded;
use crate::command::{SessionAddress, SessionCommand};
use crate::config::Builder;
use crate::error::Result;
use crate::fanout::Encoder;
use crate::shard::attach::HandOverError;
use crate::shard::handler::{Place, Trigger};
use crate::shard::running::Running;
use crate::shard::watch::Label;

use super::emit::Emitted;
use super::extract::{EventParts, FromEvent, Rejection};
use super::handler::{Handler, recipe};
use super::hooks::Engine;
use super::session::Session;

pub use crate::proto::parser::Message;

/// The revision of Engine.IO that clients speak (`EIO` in a request, `engine.protocol` in Node.js).
/// Those of revision 3 are served besides where
/// [`allow_eio3`](crate::Builder::allow_eio3) is on.
pub const PROTOCOL: u8 = 4;

/// An Engine.IO server. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Server(super::server::Server);

/// A client. Copyable; what is asked of a client that has gone does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    server: u32,
    address: SessionAddress,
}

impl Server {
    /// The options of a new server. The default path is `/engine.io`.
    pub fn builder() -> Builder {
        Builder::new("/engine.io", false)
    }

    /// Makes the server. It serves nobody until [`Server::listen`] or [`Server::spawn`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build(builder: Builder) -> Result<Server> {
        super::server::Server::build(&builder).map(Server)
    }

    /// Runs `handler` for each client that has connected. It may ask for a [`Connection`].
    pub fn on_open<A>(&self, handler: impl Handler<A>) -> &Server {
        self.add(Trigger::Connect, handler)
    }

    /// Runs `handler` for each message, in order. It may ask for a [`Connection`] and a
    /// [`Message`].
    pub fn on_message<A>(&self, handler: impl Handler<A>) -> &Server {
        self.add(Trigger::Message, handler)
    }

    /// Runs `handler` for each client that has gone. It may ask for a [`Connection`] and a
    /// [`DisconnectReason`](crate::DisconnectReason), which is one of the first five.
    pub fn on_close<A>(&self, handler: impl Handler<A>) -> &Server {
        self.add(Trigger::Disconnect, handler)
    }

    /// What is done with requests before they are clients.
    pub fn engine(&self) -> Engine {
        self.0.engine()
    }

    fn add<A>(&self, trigger: Trigger, handler: impl Handler<A>) -> &Server {
        let shared = &self.0.shared;
        let recipe = recipe(Label::of("engine", &trigger), handler);
        shared.define("/").add_handler(trigger, Place::Last, recipe);
        shared.changed();
        self
    }

    /// See [`fanfare::Server::start`](crate::Server::start).
    ///
    /// # Errors
    /// The same.
    pub fn start(&self) -> Result<Running> {
        self.0.start()
    }

    /// See [`fanfare::Server::spawn`](crate::Server::spawn).
    ///
    /// # Errors
    /// The same.
    pub fn spawn(&self, address: impl Into<ListenAddress>) -> Result<Running> {
        self.0.spawn(address)
    }

    /// See [`fanfare::Server::listen`](crate::Server::listen).
    ///
    /// # Errors
    /// The same.
    pub fn listen(&self, address: impl Into<ListenAddress>) -> Result<()> {
        self.0.listen(address)
    }

    /// See [`fanfare::Server::wait`](crate::Server::wait).
    ///
    /// # Errors
    /// The same.
    pub fn wait(&self, running: Running) -> Result<()> {
        self.0.wait(running)
    }

    /// See [`fanfare::Server::handle_connection`](crate::Server::handle_connection).
    ///
    /// # Errors
    /// The same.
    pub fn handle_connection(
        &self,
        stream: impl Into<OwnedFd>,
        read: impl Into<Vec<u8>>,
    ) -> std::result::Result<(), HandOverError> {
        self.0.handle_connection(stream, read)
    }

    /// See [`fanfare::Server::service`](crate::Server::service).
    #[cfg(feature = "tower")]
    pub fn service(&self) -> super::service::Service {
        self.0.service()
    }

    /// See [`fanfare::Server::addresses`](crate::Server::addresses).
    pub fn addresses(&self) -> &[ListenAddress] {
        self.0.addresses()
    }

    /// See [`fanfare::Server::drain`](crate::Server::drain).
    pub fn drain(&self) {
        self.0.drain();
    }

    /// See [`fanfare::Server::close`](crate::Server::close).
    pub fn close(&self) {
        self.0.close();
    }
}

impl Connection {
    /// Sends a message.
    pub fn send(&self, message: Message) -> Emitted {
        match message {
            Message::Text(text) => self.send_text(&text),
            Message::Binary(data) => self.send_binary(&data),
        }
    }

    /// Sends text.
    pub fn send_text(&self, text: &str) -> Emitted {
        self.encode_and_send(|encoder| encoder.text(text.as_bytes()))
    }

    /// Sends bytes.
    pub fn send_binary(&self, data: &[u8]) -> Emitted {
        self.encode_and_send(|encoder| encoder.binary(data))
    }

    /// The session below: what it listens to, and how far it has come.
    ///
    /// ```
    /// use fanfare::engine::{Connection, Server};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let engine = Server::build(Server::builder())?;
    /// engine.on_open(async |connection: Connection| {
    ///     connection.session().on_heartbeat(async || println!("still there"));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self) -> Session {
        Session { server: self.server, address: self.address }
    }

    /// Closes the connection after what was sent before has gone out.
    pub fn close(&self) -> Emitted {
        self.session().close()
    }

    fn encode_and_send(
        &self,
        encode: impl for<'a> FnOnce(&'a mut Encoder) -> Encoded<'a>,
    ) -> Emitted {
        let session = self.session();
        match session.own_shard() {
            Some(context) => context.with(|state| state.send_own(self.address.key, encode)).into(),
            None => session.ask(SessionCommand::Send(encode(&mut Encoder::default()).into())),
        }
    }
}

impl FromEvent for Connection {
    fn from_event(parts: &mut EventParts<'_, '_>) -> std::result::Result<Connection, Rejection> {
        let key = parts.0.session.ok_or(Rejection::Missing("connection"))?;
        let context = parts.0.context;
        let address = SessionAddress { key, shard: context.index };
        Ok(Connection { server: context.shared.key, address })
    }
}

impl FromEvent for Message {
    fn from_event(parts: &mut EventParts<'_, '_>) -> std::result::Result<Message, Rejection> {
        match parts.0.is_binary {
            true => Ok(Message::Binary(Bytes::copy_from_slice(parts.0.args))),
            false => match std::str::from_utf8(parts.0.args) {
                Ok(text) => Ok(Message::Text(text.to_owned())),
                Err(_) => Err(Rejection::Missing("text")),
            },
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({}:{})", self.address.shard, self.address.key.index)
    }
}
