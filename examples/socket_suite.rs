//! The server that the upstream Socket.IO protocol suite expects to test: two namespaces that echo.

#[path = "support/arguments.rs"]
mod arguments;

use std::time::Duration;

use arguments::Arguments;
use fanfare::{Ack, Auth, Raw, Server, Socket};
use serde_json::Value;

fn main() {
    let arguments = Arguments::read();
    arguments::serve(server(&arguments), Server::start, Server::wait);
}

fn server(arguments: &Arguments) -> fanfare::Result<Server> {
    let builder = Server::builder()
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_millis(1500))
        .max_http_buffer_size(1_000_000);
    let io = arguments.apply(builder).build()?;
    for name in ["/", "/custom"] {
        io.of(name).on_connect(async |socket: Socket, Auth(auth): Auth<Value>| {
            socket.emit("auth", &auth);
        });
    }
    io.of("/").on("message", async |socket: Socket, arguments: Raw| {
        socket.emit("message-back", arguments);
    });
    io.of("/").on("message-with-ack", async |arguments: Raw, ack: Ack| {
        ack.send(arguments);
    });
    Ok(io)
}
