//! The same small server that load generators drive on every peer: echo, broadcast, rooms. It
//! relays payloads without parsing them.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use fanfare::{Ack, Builder, Data, Raw, Server, Socket};
use serde_json::value::RawValue;

const USAGE: &str = "
  --no-handshake          keep nothing of the requests that clients connect with";

fn main() {
    allocator::give_back_at_once();
    let mut keep_handshake = true;
    let arguments = Arguments::read_with(USAGE, |name, _| match name {
        "no-handshake" => {
            keep_handshake = false;
            Ok(true)
        }
        _ => Ok(false),
    });
    let builder = arguments.apply(Server::builder()).keep_handshake(keep_handshake);
    let builder = builder.on_crowd_left(allocator::collect);
    arguments::serve(server(builder), Server::start, Server::wait);
}

fn server(builder: Builder) -> fanfare::Result<Server> {
    let io = builder.build()?;
    let root = io.of("/");
    root.on("echo", async |payload: Raw, ack: Ack| {
        ack.send(payload);
    });
    root.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room);
        ack.send(());
    });
    let everybody = root.emitter();
    root.on("publish", async move |payload: Raw| {
        everybody.emit("broadcast", payload);
    });
    let namespace = root.clone();
    root.on("publish_room", async move |arguments: Raw| {
        // Two arguments, or one array of two: load generators do either.
        if let Some((room, payload)) = arguments.split_first::<String>() {
            namespace.to(room).emit("broadcast", payload);
        } else if let Ok(((room, payload),)) = arguments.decode::<((String, &RawValue),)>() {
            namespace.to(room).emit("broadcast", payload);
        }
    });
    Ok(io)
}
