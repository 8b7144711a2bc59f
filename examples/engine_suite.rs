//! The server that the upstream Engine.IO protocol suite expects to test: it echoes messages.

#[path = "support/arguments.rs"]
mod arguments;

use std::time::Duration;

use arguments::Arguments;
use fanfare::engine::{Connection, Message, Server};

fn main() {
    let arguments = Arguments::read();
    arguments::serve(server(&arguments), Server::start, Server::wait);
}

fn server(arguments: &Arguments) -> fanfare::Result<Server> {
    let builder = Server::builder()
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .max_http_buffer_size(1_000_000);
    let engine = Server::build(arguments.apply(builder))?;
    engine.on_message(async |connection: Connection, message: Message| {
        connection.send(message);
    });
    Ok(engine)
}
