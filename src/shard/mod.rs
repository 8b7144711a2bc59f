//! The only place where driver meets session: one shard owns its connections, sessions, sockets and
//! rooms, and works on them in turns.
//!
//! A turn takes what has completed, what other threads have asked for and what is due, runs the
//! handlers this leads to, and then sends what they have queued: one gathered send for each
//! connection. Nothing in a shard is shared and nothing is locked. User code never runs while its
//! state is borrowed.

mod addresses;
pub mod aliases;
pub mod attach;
mod batch;
mod budget;
mod bundle;
mod clock;
mod close;
mod compression;
mod conn;
mod connect;
mod connection;
pub mod context;
mod copies;
mod crowd;
mod decide;
pub mod dismissal;
mod dispatch;
mod doors;
pub mod drains;
mod due;
mod echo;
mod emit;
mod endpoint;
pub mod events;
pub mod hand_over;
pub mod handler;
pub mod hooks;
mod join;
mod joined;
mod kept;
pub mod lag;
pub mod listeners;
mod log;
mod message;
pub mod moved;
mod namespaces;
mod parse;
pub mod places;
pub mod pongs;
pub mod pressure;
mod progress;
mod pump;
mod queue;
mod recovery;
pub mod registry;
mod relief;
mod request;
mod response;
mod rooms;
mod route;
pub mod run;
pub mod running;
#[cfg(feature = "tls")]
mod secure;
mod session;
mod share;
pub mod shared;
mod state;
pub mod station;
mod stopwatch;
mod succession;
pub mod time;
mod timer;
mod turn;
pub mod watch;

pub use crate::session::departure::DisconnectDetail;
pub use emit::{Manner, Queued};
pub use kept::KeptRequest;
pub use queue::{Queue, Spare};
pub use state::{SocketPhase, State};
pub use turn::{Outlook, Shard};
