//! The same small server that load generators drive on every peer: echo, broadcast, rooms. It
//! relays payloads without parsing them.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use fanfare::{Ack, Builder, Data, Limits, Rate, Raw, Server, Socket};
use serde_json::value::RawValue;

const USAGE: &str = "
  --no-handshake          keep nothing of the requests that clients connect with
  --all-limits            also those that are off by default, beyond what a load reaches";

/// More than any load here does.
const BEYOND: Rate = Rate { burst: 1_000_000_000, per_second: 1_000_000_000 };

fn main() {
    allocator::give_back_at_once();
    let (mut keep_handshake, mut all_limits) = (true, false);
    let arguments = Arguments::read_with(USAGE, |name, _| match name {
        "no-handshake" => {
            keep_handshake = false;
            Ok(true)
        }
        "all-limits" => {
            all_limits = true;
            Ok(true)
        }
        _ => Ok(false),
    });
    let builder = arguments.apply(Server::builder()).keep_handshake(keep_handshake);
    let builder = if all_limits { builder.limits(limit_all) } else { builder };
    let builder = builder.on_crowd_left(allocator::collect);
    arguments::serve(server(builder), Server::start, Server::wait);
}

fn limit_all(limits: &mut Limits) {
    limits.connections_per_address = 1_000_000;
    limits.handshakes_per_address = Some(BEYOND);
    limits.packets_per_client = Some(BEYOND);
    limits.bytes_per_client = Some(BEYOND);
    limits.memory_bytes = 64 << 30;
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
