//! A plain WebSocket echo for suites that test the framing (RFC 6455, RFC 7692): on every path, all
//! that a client says is sent back to it, as `tests/autobahn` wants it.
//!
//! It is the server with everything but Engine.IO, so what the suites say of it holds for every
//! client. There is no API for that: this is the one example that asks for something internal.

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use fanfare::engine::Server;
use fanfare::{Builder, PerMessageDeflate};
use lexopt::ValueExt;

const USAGE: &str = "
  --per-message-deflate WHAT  whether messages are compressed with the earlier ones in mind: kept,
                              or none (none)";

/// The largest message.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

fn main() {
    let mut each_by_itself = true;
    let arguments = Arguments::read_with(USAGE, |name, parser| {
        if name == "per-message-deflate" {
            each_by_itself = parser.value()?.string()? == "none";
        }
        Ok(name == "per-message-deflate")
    });
    let server = Server::build(arguments.apply(echo(each_by_itself)));
    arguments::serve(server, Server::start, Server::wait);
}

fn echo(each_by_itself: bool) -> Builder {
    // The suites send small messages, too, and look at what comes back for them.
    let deflate = PerMessageDeflate::default()
        .threshold(0)
        .server_no_context_takeover(each_by_itself)
        .client_no_context_takeover(each_by_itself);
    let builder = Server::builder()
        .max_http_buffer_size(MESSAGE_BYTES)
        .limits(|limits| limits.send_queue_bytes = 2 * MESSAGE_BYTES)
        .per_message_deflate(deflate);
    fanfare::internal::echo_websockets(builder)
}
