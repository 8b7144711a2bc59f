//! The whole server on real sockets, byte for byte: every rule is checked on one shard and on two.
//!
//! Times are options of a few milliseconds; the tests check orders and lower bounds, never that
//! something is quick.

#[cfg(feature = "tls")]
#[path = "support/authority.rs"]
mod authority;
#[path = "support/inflate.rs"]
mod inflate;
#[path = "support/raw.rs"]
mod raw;
#[cfg(feature = "tls")]
#[path = "support/secure.rs"]
mod secure;
#[path = "support/site.rs"]
mod site;

mod server {
    mod allow_request;
    mod client_bundle;
    mod closing;
    mod compression;
    mod cookie;
    mod cross_origin;
    mod echo;
    mod engine_v3;
    mod hand_over;
    mod handshake;
    mod headers;
    mod heartbeat;
    mod http_compression;
    mod http_syntax;
    mod jsonp;
    mod limits;
    mod listeners;
    mod metrics;
    mod middleware;
    mod polling;
    mod rates;
    mod requests;
    #[cfg(feature = "tower")]
    mod service;
    mod session_ids;
    #[cfg(feature = "tls")]
    mod tls;
    mod upgrade;
    mod websocket;
}
