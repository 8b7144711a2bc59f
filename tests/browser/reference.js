// The chat example's server on npm socket.io, to check the page and its test against the reference.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values: flags } = parseArgs({
  options: { listen: { type: "string" }, shards: { type: "string" } },
});

const page = readFileSync(new URL("../../examples/chat/index.html", import.meta.url));
const http = createServer((request, response) => {
  const found = new URL(request.url, "http://chat").pathname === "/";
  response.writeHead(found ? 200 : 404, { "Content-Type": "text/html; charset=utf-8" });
  response.end(found ? page : undefined);
});

const io = new Server(http);
let messages = 0;
const histories = new Map();

async function tellMembers(room) {
  const members = (await io.in(room).fetchSockets()).map((member) => member.data.name).sort();
  io.to(room).emit("members", members);
  return members;
}

io.on("connection", (socket) => {
  socket.on("join", async ({ name, room }, ack) => {
    const before = socket.data.room;
    socket.data = { name, room };
    if (before !== undefined) {
      socket.leave(before);
      await tellMembers(before);
    }
    socket.join(room);
    ack({ members: await tellMembers(room), history: histories.get(room) ?? [] });
  });
  socket.on("message", (text, ack) => {
    const { name, room } = socket.data;
    const message = { id: messages++, name, text, at: Date.now() };
    histories.set(room, [...(histories.get(room) ?? []), message]);
    socket.to(room).emit("message", { ...message, sid: socket.id });
    ack({ id: message.id, at: message.at });
  });
  socket.on("typing", (typing) => {
    const { name, room } = socket.data;
    socket.to(room).emit("typing", { name, typing });
  });
  socket.on("ping-time", (ack) => ack());
  socket.on("disconnect", () => {
    if (socket.data.room !== undefined) tellMembers(socket.data.room);
  });
});

const [host, port] = flags.listen.split(":");
http.listen(Number(port), host, () => {
  console.log(`listening on http://${host}:${http.address().port}`);
});
process.on("SIGTERM", () => io.close(() => process.exit(0)));
