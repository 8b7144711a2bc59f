//! Codecs without input or output: bytes go in, values come out, and back.

pub mod engine;
pub mod http;
pub mod json;
pub mod msgpack;
pub mod parser;
pub mod socket;
mod token;
pub mod websocket;
mod zlib;
