//! What users type. Everything public is re-exported at the root of the crate.

pub mod ack;
pub mod adapter;
pub mod ask;
pub mod drained;
pub mod emit;
pub mod engine;
pub mod event;
pub mod extract;
pub mod fetch;
pub mod handler;
pub mod handshake;
pub mod hooks;
pub mod listeners;
pub mod namespace;
pub mod server;
#[cfg(feature = "tower")]
pub mod service;
pub mod session;
pub mod signals;
pub mod socket;
pub mod socket_emitter;
pub mod targets;
pub mod time;
