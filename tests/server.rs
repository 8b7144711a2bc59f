//! The whole server on real sockets, byte for byte: every rule is checked on one shard and on two.
//!
//! Times are options of a few milliseconds; the tests check orders and lower bounds, never that
//! something is quick.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/site.rs"]
mod site;

mod server {
    mod client_bundle;
    mod closing;
    mod engine_v3;
    mod handshake;
    mod heartbeat;
    mod http_syntax;
    mod jsonp;
    mod limits;
    mod polling;
    mod requests;
    mod upgrade;
    mod websocket;
}
