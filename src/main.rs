//! The `fanfare` binary: arguments, then the chat that shows the server at work.

#[path = "../examples/support/allocator.rs"]
mod allocator;
#[path = "../examples/support/arguments.rs"]
mod arguments;
#[path = "../examples/chat/app.rs"]
mod chat;

use std::process::exit;

use arguments::Arguments;
use fanfare::Server;
use lexopt::ValueExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const USAGE: &str = "
  --log FILTER            what is logged to standard error: scopes and levels, such as
                          engine=debug,socket.io:socket=trace (or FANFARE_LOG, or RUST_LOG);
                          warn, unless something else is said";

#[cfg(not(panic = "unwind"))]
compile_error!("a handler that panics would end the process: leave `panic` as Cargo.toml has it");

fn main() {
    allocator::give_back_at_once();
    let mut filter = ["FANFARE_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    let arguments = Arguments::read_with(USAGE, |name, parser| {
        if name == "log" {
            filter = Some(parser.value()?.string()?);
        }
        Ok(name == "log")
    });
    log_to_standard_error(filter.as_deref().unwrap_or("warn"));
    let server = chat::server(arguments.apply(Server::builder().on_crowd_left(allocator::collect)));
    if server.as_ref().is_ok_and(|io| io.client_version().is_none()) {
        eprintln!(
            "fanfare: the page needs the client bundle: npm install socket.io-client, \
             or --client FOLDER"
        );
    }
    arguments::serve(server, Server::start, Server::wait);
}

/// Logs what a filter asks for. Nothing that a client sends can end a line or colour it: see
/// `shard/log.rs`.
fn log_to_standard_error(filter: &str) {
    let filter: Targets = filter.parse().unwrap_or_else(|error| {
        eprintln!("fanfare: --log {filter:?}: {error}");
        exit(2);
    });
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
