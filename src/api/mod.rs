//! What users type. Everything public is re-exported at the root of the crate.

pub mod ack;
pub mod ask;
pub mod emit;
pub mod engine;
pub mod extract;
pub mod fetch;
pub mod handler;
pub mod handshake;
pub mod listeners;
pub mod namespace;
pub mod server;
pub mod session;
pub mod signals;
pub mod socket;
pub mod targets;
pub mod time;
