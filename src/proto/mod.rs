//! Codecs without input or output: bytes go in, values come out, and back.

pub mod engine;
pub mod engine_v3;
pub mod http;
pub mod json;
pub mod jsonp;
pub mod msgpack;
pub mod parser;
pub mod proxy_protocol;
pub mod socket;
pub mod socket_v4;
mod token;
pub mod websocket;
mod zlib;
