// The reference implementation of FIXTURE.md, on npm socket.io.
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "socket.io";
import msgpackParser from "socket.io-msgpack-parser";

const { values: flags } = parseArgs({
  options: {
    listen: { type: "string" },
    shards: { type: "string" },
    "ping-interval-ms": { type: "string" },
    "ping-timeout-ms": { type: "string" },
    "connect-timeout-ms": { type: "string" },
    "upgrade-timeout-ms": { type: "string" },
    "max-payload-bytes": { type: "string" },
    transports: { type: "string" },
    parser: { type: "string" },
    "per-message-deflate": { type: "string" },
    // The package brings its own.
    client: { type: "string" },
  },
});

const options = {};
if (flags["ping-interval-ms"]) options.pingInterval = Number(flags["ping-interval-ms"]);
if (flags["ping-timeout-ms"]) options.pingTimeout = Number(flags["ping-timeout-ms"]);
if (flags["connect-timeout-ms"]) options.connectTimeout = Number(flags["connect-timeout-ms"]);
if (flags["upgrade-timeout-ms"]) options.upgradeTimeout = Number(flags["upgrade-timeout-ms"]);
if (flags["max-payload-bytes"]) options.maxHttpBufferSize = Number(flags["max-payload-bytes"]);
if (flags.parser === "msgpack") options.parser = msgpackParser;
if (flags["per-message-deflate"]) {
  // `false` would refuse clients that ask for it.
  const none = flags["per-message-deflate"] === "none" || undefined;
  options.perMessageDeflate = { serverNoContextTakeover: none, clientNoContextTakeover: none };
}
if (flags.transports) options.transports = flags.transports.split(",");

const http = createServer();
const io = new Server(http, options);
for (const name of ["/", "/custom"]) {
  const namespace = io.of(name);
  namespace.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("disconnect", (reason) => {
      if (reason !== "server shutting down") namespace.emit("gone", socket.id, reason);
    });
    answer(socket);
    target(namespace, socket);
    emit(namespace, socket);
  });
}

io.of("/guarded").use((socket, next) => {
  if (socket.handshake.auth.token === "open sesame") return next();
  const refusal = new Error("not allowed");
  refusal.data = { code: 7, why: "no ☃ token" };
  next(refusal);
});

// An ack is a function only if the client asked for one.
const done = (ack) => ack?.();

function answer(socket) {
  socket.on("echo", (...args) => socket.emit("echo", ...args));
  socket.on("message", (...args) => socket.send(...args));
  socket.on("ack", (...args) => args.pop()(...args));
  socket.on("whoami", (ack) => {
    ack({
      id: socket.id,
      transport: socket.conn.transport.name,
      rooms: [...socket.rooms].sort(),
    });
  });
  socket.on("ask", (timeoutMs, ...args) => {
    socket.timeout(timeoutMs).emit("question", ...args, (error, ...answers) => {
      if (error) socket.emit("answered", false);
      else socket.emit("answered", true, ...answers);
    });
  });
  socket.on("disconnect-me", (close) => socket.disconnect(close));
}

function target(namespace, socket) {
  socket.on("join", (room, ack) => {
    socket.join(room);
    done(ack);
  });
  socket.on("leave", (room, ack) => {
    socket.leave(room);
    done(ack);
  });
  socket.on("to", (rooms, except, event, payload, ack) => {
    socket.to(rooms).except(except).emit(event, payload);
    done(ack);
  });
  socket.on("in", (rooms, except, event, payload, ack) => {
    namespace.to(rooms).except(except).emit(event, payload);
    done(ack);
  });
  socket.on("in-custom", (rooms, except, event, payload, ack) => {
    io.of("/custom").to(rooms).except(except).emit(event, payload);
    done(ack);
  });
  socket.on("survey", (timeoutMs, rooms, payload, ack) => {
    namespace.to(rooms).timeout(timeoutMs).emit("question", payload, (error, answers) => {
      ack(!error, answers);
    });
  });
}

function emit(namespace, socket) {
  const bytes = Buffer.from([1, 2, 3]);
  const kinds = {
    normal: (i) => socket.emit("step", i),
    volatile: (i) => socket.volatile.emit("step", i),
    "volatile-binary": (i) => socket.volatile.emit("step", i, bytes),
    "namespace-normal": (i) => namespace.emit("step", i),
    "namespace-volatile": (i) => namespace.volatile.emit("step", i),
    "namespace-volatile-binary": (i) => namespace.volatile.emit("step", i, bytes),
  };
  socket.on("steps", (steps, ack) => {
    steps.forEach((kind, i) => kinds[kind](i));
    done(ack);
  });
  socket.on("burst", (count, sizeBytes, ack) => {
    for (let i = 0; i < count; i++) {
      if (sizeBytes === 0) socket.emit("burst", i);
      else socket.emit("burst", i, Buffer.alloc(sizeBytes));
    }
    done(ack);
  });
  socket.on("farewell", (count) => {
    for (let i = 0; i < count; i++) socket.emit("farewell", i);
    socket.disconnect(true);
  });
}

const [host, port] = flags.listen.split(":");
http.listen(Number(port), host, () => {
  console.log(`listening on http://${host}:${http.address().port}`);
});
process.on("SIGTERM", () => io.close(() => process.exit(0)));
