//! A Socket.IO server for Linux.
//!
//! ```text
//! kernel ─▶ driver ─▶ proto ─▶ session ─▶ handler
//! kernel ◀─ driver ◀─ send queue ◀─ Frame ◀─ fanout ◀─ room::select ◀─ command ◀─ emit
//! ```

#[allow(missing_docs)]
pub mod base;
pub mod driver;
pub mod mailbox;
pub mod proto;
pub mod room;
