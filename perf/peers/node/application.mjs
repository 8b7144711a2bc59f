// The Socket.IO application, the same for every engine that the JavaScript server runs on.

/** Registers the handlers, and what Socket.IO's pages advise to save memory. */
export function benchmark(io) {
  io.engine.on("connection", discardRequest);
  io.on("connection", (socket) => {
    socket.on("echo", (payload, ack) => ack(payload));
    socket.on("join", (room, ack) => {
      socket.join(room);
      ack();
    });
    socket.on("publish", (payload) => io.emit("broadcast", payload));
    socket.on("publish_room", (room, payload) => io.to(room).emit("broadcast", payload));
  });
}

// Advised under "Memory usage": nothing here asks for the HTTP request of the handshake.
function discardRequest(connection) {
  connection.request = null;
}
