//! A Socket.IO server for Linux.
//!
//! ```text
//! kernel ─▶ driver ─▶ proto ─▶ session ─▶ handler
//! kernel ◀─ driver ◀─ send queue ◀─ Frame ◀─ fanout ◀─ room::select ◀─ command ◀─ emit
//! ```

pub mod base;
pub mod command;
pub mod driver;
pub mod fanout;
pub mod mailbox;
pub mod proto;
pub mod room;
pub mod session;
pub mod shard;
