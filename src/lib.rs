//! A Socket.IO server for Linux: one shard per core, io_uring, every event encoded once.
//!
//! ```no_run
//! use fanfare::{Ack, Data, Server, Socket};
//!
//! fn main() -> fanfare::Result<()> {
//!     let io = Server::builder().build()?;
//!     io.of("/").on_connect(async |socket: Socket| {
//!         socket.join("lobby");
//!     });
//!     io.of("/").on("message", async |socket: Socket, Data(text): Data<String>, ack: Ack| {
//!         socket.to("lobby").emit("message", &text);
//!         ack.send("delivered");
//!     });
//!     io.listen("0.0.0.0:3000") // one shard per core, until SIGTERM
//! }
//! ```
//!
//! Names, options, defaults and what clients see are those of Socket.IO 4 on Node.js, whose clients
//! connect to it unchanged. The page `docs/from-node.md` has each option, method and event of its
//! documentation side by side with what is written here, `docs/differences.md` what differs on
//! purpose.
//!
//! # Where to begin
//! - Options, and limits on what clients may do: [`Builder`], [`Limits`].
//! - To serve on an address, on several, or for an application of its own: [`Server::listen`],
//!   [`Builder::listen`], [`Builder::fallback`], [`Server::handle_connection`].
//! - Who comes and goes, and who may: [`Namespace::on_connect`], [`Namespace::on_disconnect`],
//!   [`Namespace::middleware`].
//! - Events: [`Namespace::on`]. Handlers may ask for what is a [`FromEvent`]: [`Socket`], [`Data`],
//!   [`Raw`], [`Ack`], [`Auth`], [`State`] and others.
//! - To send, to one or to many: [`Socket::emit`], [`Emitter`]. [`Arguments`] says what.
//! - Answers of clients: [`Socket::emit_with_ack`], [`Emitter::emit_with_ack`].
//! - Rooms: [`Socket::join`], [`Adapter`].
//! - Namespaces that are made when they are asked for: [`Server::of_pattern`],
//!   [`Server::of_matching`].
//! - Clients that come back: [`ConnectionStateRecovery`], [`Socket::recovered`].
//! - TLS: `Builder::tls`, `TlsOptions`.
//! - HTTP: [`CorsOptions`], [`CookieOptions`], [`Builder::allow_request`], [`Engine`].
//! - Compression, other forms of packets, old clients: [`PerMessageDeflate`], [`parser`],
//!   [`Builder::allow_eio3`].
//! - Connections below sockets, and why they end: [`Session`], [`DisconnectReason`],
//!   [`DisconnectDetail`].
//! - The end of a server, and its next process: [`Server::drain`], [`Builder::hand_over_at`].
//!   Handlers that block: [`Builder::watchdog`]. Numbers and health for those who watch it:
//!   [`Builder::metrics`].
//! - Messages alone, without namespaces and events: [`engine`].
//!
//! # Handlers
//! A handler is an async function or closure, registered once for all clients, that names what it
//! needs by the types of its arguments ([`Handler`]). It runs on the shard of its socket, a thread
//! with many other clients: it may wait, but must not block. It need not be `Send`; what it
//! captures must be, and `Sync`. [`time`] has what waits without a runtime. A handler that panics
//! ends, and nothing else does.
//!
//! A [`Socket`] is a few numbers, to be copied and sent to other threads. All can emit by it; what
//! it *tells*, such as its rooms and data, is known on its own shard only.
//!
//! # Linux
//! Shards are on io_uring, or on epoll where that is missing or forbidden, as it is in containers
//! by default: [`DriverKind`] says what each of them needs.
//!
//! # Features
//! - `binary`, on by default: what only the `fanfare` binary needs; leave it out of a library.
//! - `tls`, on by default: `Builder::tls`, for servers that end TLS themselves.
//! - `brotli`, on by default: the files of the JavaScript client in Brotli, too, for clients that
//!   take nothing else.
//! - `tower`: [`Server`] as a service for applications of axum and hyper (`Server::service`).
//! - `test`: tests of applications, see below.
//!
//! # Events that are declared
//! An event may be a name, as above, or an [`Event`]: declared once, with the types of its
//! arguments and its acknowledgement. What does not fit does not compile, neither where it is sent
//! nor where it is handled.
//!
//! ```
//! use fanfare::{Ack, Data, Event, Server, Socket};
//!
//! /// Who says what; answered with whether it was delivered.
//! const CHAT: Event<(String, String), bool> = Event::new("chat");
//!
//! fn register(io: &Server) {
//!     io.of("/").on(CHAT, chat);
//! }
//!
//! async fn chat(socket: Socket, Data((who, what)): Data<(String, String)>, ack: Ack<bool>) {
//!     socket.broadcast().emit(CHAT, (&who, &what));
//!     ack.send(true);
//! }
//! ```
//!
//! # Tests of applications
//! With the feature `test` there is `fanfare::test`: a whole application and its clients in the
//! thread of a test, on virtual time, without ports and without sleeping.
//!
//! # Logging
//! What servers do is logged through [`tracing`](https://docs.rs/tracing), silent without a
//! subscriber, under the scopes of Socket.IO on Node.js as targets: `engine`, `engine:socket`,
//! `engine:polling`, `engine:ws`, `socket.io:server`, `socket.io:client`, `socket.io:namespace`,
//! `socket.io:parent-namespace`, `socket.io:socket`, `socket.io-parser`. The level is `debug`, for
//! rooms that are joined and left `trace`, for a handler that has panicked or blocks its shard
//! `warn`, for a shard that has died `error`, and for what the shards are on and why `info`.
//! Packets are not logged, nor ids, with which one could speak as a client. What clients call
//! things is escaped and cut. [`Server::stats`] has counters, [`Builder::metrics`] all there are.
//!
//! # How data flows
//! ```text
//! kernel ─▶ driver ─▶ proto::http | proto::websocket ─▶ proto::engine ─▶ proto::socket ─▶ session
//!                                                                                            │
//!                                                                       handler ◀────────────┘
//!                                                                          │
//! kernel ◀─ driver ◀─ Frame ◀─ fanout (encode once) ◀─ room ◀─ command ◀─ emit
//!                                 ▲
//!                     mailbox ────┘  (from and to the other shards and threads)
//! ```
//!
//! # Layers
//! | module | may import |
//! |---|---|
//! | `base` `room` | |
//! | `proto` `driver` `error` `mailbox` | `base` |
//! | `session` `fanout` | `base` `proto` |
//! | `metrics` | `base` `proto` `session::departure` `driver::DriverStats` |
//! | `command` | `base` `proto` `room` `session::recovery` `metrics::Observed` |
//! | `tls` | `base` `driver` `error` |
//! | `shard` | `base` `error` `proto` `session` `fanout` `room` `command` `mailbox` `driver` |
//! | `shard` | `metrics` `tls` |
//! | `config` | `base` `error` `proto` `session::Options` `session::handshake` `tls` |
//! | `config` | `session::recovery` `shard::shared` `shard::hooks` |
//! | `api` | `base` `error` `proto` `room` `fanout` `command` `shard` `config` |
//! | `test` | `api` `base` `driver` `proto` `session::handshake` `shard` |
//!
//! `base` and `error` are words that every layer may use; `shard` is the only place where driver
//! meets session. `config` fills in what a shard is built with, so it names the types of `proto`
//! and `session` that are options. `api` encodes what users emit before it posts it, on the thread
//! of whoever emits, so it has `proto` and `fanout`. `tests/tidy.rs` holds the code against this
//! table, and the table against the code: it allows nothing that is not used.

mod api;
#[doc(hidden)]
pub mod base;
mod command;
mod config;
#[doc(hidden)]
pub mod driver;
mod error;
mod fanout;
mod mailbox;
mod metrics;
#[doc(hidden)]
pub mod proto;
mod room;
#[doc(hidden)]
pub mod session;
mod shard;
#[cfg(feature = "test")]
pub mod test;
#[cfg(feature = "tls")]
mod tls;

pub use api::ack::{AckError, Acknowledgement, Acknowledgements, Incomplete};
pub use api::adapter::Adapter;
pub use api::drained::Drained;
pub use api::emit::{EmitError, Emitted, Emitter};
pub use api::engine;
pub use api::event::{self, Event};
pub use api::extract::{
    Ack, Auth, Data, EventName, EventParts, FromEvent, Rejection, State, TryData,
};
pub use api::fetch::{FetchSockets, RemoteSocket};
pub use api::handler::{Handler, Middleware, Refuse};
pub use api::handshake::Handshake;
pub use api::hooks::{Engine, Interrupt};
pub use api::listeners::Listener;
pub use api::namespace::{Candidate, Namespace};
pub use api::server::Server;
#[cfg(feature = "tower")]
pub use api::service;
pub use api::session::{Packet, ReadyState, Session};
pub use api::socket::{Socket, SocketData};
pub use api::socket_emitter::SocketEmitter;
pub use api::targets::IntoTargets;
pub use api::time;
pub use base::address::ListenAddress;
pub use base::driver_kind::{DriverKind, UnknownDriver};
pub use base::id::{SessionId, SocketId};
pub use base::limits::Limits;
pub use base::rate::Rate;
pub use base::shed::SendQueuePolicy;
pub use base::stats::Stats;
pub use command::DrainError;
pub use config::{Builder, HttpCompression, PerMessageDeflate};
pub use error::{Error, Result};
pub use proto::http::{CookieOptions, CookiePriority, CorsOptions, CorsOrigin, SameSite};
pub use proto::json::{ArgsError, Arguments, FromArguments, Raw};
pub use proto::parser;
pub use proto::socket::DisconnectReason;
pub use session::departure::{Closer, DisconnectDetail, DisconnectLimit};
pub use session::handshake::Transport;
pub use session::recovery::{ConnectionStateRecovery, StateFile};
pub use shard::attach::{HandOverError, HandOverReason};
pub use shard::events::PacketKind;
pub use shard::hooks::{ConnectionError, ErrorContext};
pub use shard::lag::Lagged;
pub use shard::running::Running;
pub use shard::shared::ExpiredSession;
#[cfg(feature = "tls")]
pub use tls::TlsOptions;

/// The front page: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The page for those who come from Node.js: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-node.md")]
struct FromNode;

/// The page on limits: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/limits.md")]
struct LimitsPage;

/// The page on TLS: its examples are tests.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../docs/tls.md")]
struct TlsPage;

/// What the tests of this crate need and nobody else should use: it may change at any time.
#[doc(hidden)]
pub mod internal {
    pub use crate::fanout::Encoder;
    pub use crate::mailbox::{Bell, Mailbox};
    pub use crate::room::{Memberships, Rooms, Selection};
    pub use crate::shard::pressure::Shortage;
    pub use crate::shard::shared::{Post, Shared};
    pub use crate::shard::station::Station;
    pub use crate::shard::{Outlook, Queue, Shard, Spare as SpareQueues};
    #[cfg(feature = "tls")]
    pub use crate::tls::{Context as TlsContext, Tls};

    /// A server that also sends back what WebSockets outside its path say, for suites that test
    /// the framing alone.
    pub fn echo_websockets(mut builder: crate::Builder) -> crate::Builder {
        builder.echo_outside = true;
        builder
    }

    /// Has a server believe that memory runs short.
    pub fn run_short_of_memory(server: &crate::Server, shortage: Shortage, excess_bytes: u64) {
        server.shared.pressure.set(shortage);
        crate::shard::pressure::relieve(&server.shared, excess_bytes);
    }

    /// Has it believe that its clients, of which there are so many, share so much memory.
    pub fn share_memory(server: &crate::Server, limit_bytes: u64, clients: usize) {
        server.shared.pressure.divide(limit_bytes, clients);
    }

    /// Has a shard of a server panic, as a fault in it would: what it is told to adopt is no
    /// connection, and panics when it is dropped.
    pub fn break_shard(server: &crate::Server, shard: usize) {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a test wants it to");
            }
        }

        let post = &server.shared.posts()[shard];
        let command = crate::command::Command::Adopt(Box::new(Bomb), Vec::new(), None);
        assert!(post.mailbox.post(command).is_ok(), "the shard is behind");
    }

    /// The shards' common part of a server that a test drives by itself.
    pub fn shared(server: &crate::Server) -> std::sync::Arc<Shared> {
        std::sync::Arc::clone(&server.shared)
    }
}
