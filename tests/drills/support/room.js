// Clients that join a room and check what is sent to it: room.js ADDRESS COUNT ROOM. They say "ready"
// when all are there. Events have numbers, from 0. "tell" is answered with a line of JSON.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { io } = createRequire(new URL("../../clients/package.json", import.meta.url))("socket.io-client");
const [address, count, room] = process.argv.slice(2);
const clients = [];

function come() {
  const options = { transports: ["websocket"], forceNew: true, reconnection: false, timeout: 60_000 };
  const socket = io(`http://${address}`, options);
  const client = { next: 0, faults: 0, ended: 0 };
  clients.push(client);
  socket.on("disconnect", () => client.ended++);
  socket.on("broadcast", (number) => {
    client.faults += number === client.next ? 0 : 1;
    client.next = number + 1;
  });
  return new Promise((resolve, reject) => {
    socket.on("connect_error", reject);
    socket.on("connect", () => socket.emit("join", room, resolve));
  });
}

await Promise.all(Array.from({ length: Number(count) }, come));
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "tell") continue;
  const numbers = clients.map((client) => client.next);
  const sum = (name) => clients.reduce((all, client) => all + client[name], 0);
  const told = { least: Math.min(...numbers), most: Math.max(...numbers), faults: sum("faults"), ended: sum("ended") };
  console.log(JSON.stringify(told));
}
