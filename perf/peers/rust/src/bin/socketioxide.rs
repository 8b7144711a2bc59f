//! The Socket.IO application on socketioxide, within axum.

use std::io;
use std::process::ExitCode;

use axum::Router;
use axum::serve::ListenerExt;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Packets waiting for one client, beyond which emits to it fail. The default of 128 would lose
/// messages in a burst that other peers deliver.
const MAX_BUFFERED_PACKETS: usize = 16 * 1024;

/// The default of the other Socket.IO servers; that of socketioxide is a tenth of it.
const MAX_PAYLOAD_BYTES: u64 = 1_000_000;

fn main() -> ExitCode {
    peers::run(serve)
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(MAX_BUFFERED_PACKETS)
        .max_payload(MAX_PAYLOAD_BYTES)
        .build_layer();
    io.ns("/", on_connect);
    axum::serve(listener.tap_io(without_delay), Router::new().layer(layer)).await
}

fn without_delay(stream: &mut TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("the kernel refuses TCP_NODELAY: {error}");
    }
}

// An emit fails for clients that are gone, which is no fault.
async fn on_connect(socket: SocketRef) {
    socket.on("echo", async |Data::<String>(payload), ack: AckSender| {
        ack.send(&payload).ok();
    });
    socket.on("join", async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
        socket.join(room);
        ack.send(&()).ok();
    });
    socket.on("publish", async |io: SocketIo, Data::<String>(payload)| {
        io.emit("broadcast", &payload).await.ok();
    });
    socket.on(
        "publish_room",
        async |io: SocketIo, Data((room, payload)): Data<(String, String)>| {
            io.to(room).emit("broadcast", &payload).await.ok();
        },
    );
}
