//! The same small server that load generators drive on every peer: echo, broadcast, rooms. It
//! relays payloads without parsing them.

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use fanfare::{Ack, Data, Raw, Server, Socket};
use serde_json::value::RawValue;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments = Arguments::read();
    arguments::serve(server(&arguments), |io| io.spawn(&arguments.listen), Server::wait);
}

fn server(arguments: &Arguments) -> fanfare::Result<Server> {
    let io = arguments.apply(Server::builder()).build()?;
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
