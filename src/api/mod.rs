//! What users type. Everything public is re-exported at the root of the crate.

pub mod emit;
pub mod engine;
pub mod extract;
pub mod handler;
pub mod handshake;
pub mod namespace;
pub mod run;
pub mod server;
pub mod socket;
pub mod time;
