//! What a server tells of itself to those who watch it: which numbers there are, and their text in
//! the format that Prometheus reads (text exposition format 0.0.4).
//!
//! ```text
//! shards ─▶ Observed ─┐
//!                     ├─▶ Snapshot ─▶ METRICS ─▶ text
//! kernel ─▶ Process ──┘
//! ```
//! Nothing in here asks anybody: `shard/observe.rs` gathers the numbers, `shard/endpoint.rs` serves
//! the text. What a label says is part of the program, by its type: no client has a word in it.

mod histogram;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use crate::base::stats::Stats;
use crate::driver::DriverStats;

pub use histogram::Histogram;
pub use tally::{Counts, Departures};
pub use text::exposition;

/// A server, as it was when it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The process.
    pub process: Process,
    /// Its shards by index; `None` for one that has not answered in time.
    pub shards: Vec<Option<Box<Observed>>>,
}

/// What is not of one shard alone. What the kernel does not tell is `None`.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// The version of this crate.
    pub version: &'static str,
    /// The driver of the shards.
    pub driver: &'static str,
    /// Since when the server has been observed.
    pub uptime: Duration,
    /// Whether it takes new clients.
    pub is_ready: bool,
    /// Memory that is not paged out.
    pub resident_bytes: Option<u64>,
    /// What its memory is held against.
    pub memory_limit_bytes: Option<u64>,
    /// Descriptors that are open.
    pub descriptors: Option<u64>,
    /// How many may be.
    pub descriptors_max: Option<u64>,
}

/// One shard.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What it has counted, for applications too.
    pub stats: Stats,
    /// What it has counted by cause, or by time.
    pub counts: Counts,
    /// What its driver has counted.
    pub driver: DriverStats,
    /// What it has.
    pub holdings: Holdings,
}

/// What a shard has at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections, whatever they are used for.
    pub connections: usize,
    /// Sessions by polling.
    pub polling: usize,
    /// Sessions over WebSocket.
    pub websocket: usize,
    /// Sockets that are connected.
    pub sockets: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Rooms with a member, but for those that are named by a socket's id.
    pub rooms: usize,
    /// Handlers and other tasks that wait.
    pub tasks: usize,
    /// What is queued for clients, as it is charged to them.
    pub queued_bytes: usize,
}
