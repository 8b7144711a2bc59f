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
//! | `base` `error` `room` `mailbox` | |
//! | `proto` `driver` | `base` |
//! | `session` `fanout` | `base` `proto` |
//! | `command` | `base` `proto` `room` `session::recovery` |
//! | `shard` | `base` `error` `proto` `session` `fanout` `room` `command` `mailbox` `driver` |
//! | `config` | `base` `error` `session` `shard::shared` |
//! | `api` | `base` `error` `proto` `room` `fanout` `command` `shard` `config` |
//!
//! `base` and `error` are words that every layer may use; `shard` is the only place where driver
//! meets session. `config` fills in what a shard is built with, so it names the two types of
//! `session` that are options. `api` encodes what users emit before it posts it, on the thread of
//! whoever emits, so it has `proto` and `fanout`. `tests/tidy.rs` holds the code against this
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
#[doc(hidden)]
pub mod proto;
mod room;
#[doc(hidden)]
pub mod session;
mod shard;

pub use api::ack::{AckError, Acknowledgement, Acknowledgements, Incomplete};
pub use api::emit::{EmitError, Emitted, Emitter, SocketEmitter};
pub use api::engine;
pub use api::extract::{
    Ack, Auth, Data, EventName, EventParts, FromEvent, Rejection, State, TryData,
};
pub use api::fetch::{FetchSockets, RemoteSocket};
pub use api::handler::{Handler, Middleware, Refuse};
pub use api::handshake::Handshake;
pub use api::listeners::Listener;
pub use api::namespace::{Candidate, Namespace};
pub use api::server::Server;
pub use api::session::{Packet, ReadyState, Session};
pub use api::socket::{Socket, SocketData};
pub use api::targets::IntoTargets;
pub use api::time;
pub use base::id::{SessionId, SocketId};
pub use base::limits::Limits;
pub use base::stats::Stats;
pub use config::Builder;
pub use error::{Error, Result};
pub use proto::json::{ArgsError, Arguments, FromArguments, Raw};
pub use proto::socket::DisconnectReason;
pub use session::departure::{Closer, DisconnectDetail, DisconnectLimit};
pub use session::handshake::Transport;
pub use session::recovery::ConnectionStateRecovery;
pub use shard::events::PacketKind;
pub use shard::run::Running;
pub use shard::shared::ExpiredSession;

/// What the tests of this crate need and nobody else should use: it may change at any time.
#[doc(hidden)]
pub mod internal {
    pub use crate::fanout::Encoder;
    pub use crate::mailbox::{Bell, Mailbox};
    pub use crate::room::{Memberships, Rooms, Selection};
    pub use crate::shard::shared::{Post, Shared};
    pub use crate::shard::{Outlook, Queue, Shard, Spare as SpareQueues};

    /// The shards' common part of a server that a test drives by itself.
    pub fn shared(server: &crate::Server) -> std::sync::Arc<Shared> {
        std::sync::Arc::clone(&server.shared)
    }
}
