//! The life of a server as whoever operates it sees it: real processes and signals.

#[path = "../examples/support/arguments.rs"]
#[allow(dead_code, reason = "the examples need more of it")]
mod arguments;
#[path = "support/authority.rs"]
mod authority;
#[path = "support/raw.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod raw;
#[path = "support/secure.rs"]
#[allow(dead_code, reason = "other suites need more of it")]
mod secure;

mod life {
    mod activation;
    mod certificates;
    pub mod child;
    mod death;
    mod drain;
    mod restart;
    mod stall;
}

/// What [`life::child::Child`] runs.
#[test]
#[ignore = "a server that other tests start"]
fn server_of_another_test() {
    life::child::serve();
}
