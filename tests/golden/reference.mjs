// The application of README.md on npm socket.io, whose answers are the expected ones.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const { Server } = createRequire(new URL("../clients/", import.meta.url))("socket.io");

const { values: flags } = parseArgs({
  options: {
    listen: { type: "string" },
    shards: { type: "string" },
    options: { type: "string", default: "{}" },
  },
});

let sockets = 0;
let reasons = [];

const http = createServer((request, response) => {
  if (request.url !== "/gone") return response.writeHead(404).end();
  response.end(JSON.stringify({ sockets, reasons }));
  reasons = [];
});

const io = new Server(http, JSON.parse(flags.options));
for (const name of ["/", "/admin"]) {
  io.of(name).on("connection", (socket) => {
    sockets++;
    socket.on("disconnect", (reason) => {
      sockets--;
      reasons.push(reason);
    });
    answer(socket);
  });
}

function answer(socket) {
  for (const event of ["a", "", "1", "__proto__", "error"]) {
    socket.on(event, (...args) => {
      // Packets that cannot be decoded are told to the application as the same event.
      if (args[0] instanceof Error) return;
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      socket.emit("saw", event, ...args);
      ack?.();
    });
  }
  socket.on("deep", () => socket.emit("saw", "deep"));
  socket.on("sync", (ack) => ack());
}

const [host, port] = flags.listen.split(":");
http.listen(Number(port), host, () => {
  console.log(`listening on http://${host}:${http.address().port}`);
});
process.on("SIGTERM", () => io.close(() => process.exit(0)));
