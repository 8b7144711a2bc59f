// Publishes numbers to a room: publish.js ADDRESS ROOM PER_SECOND. It says "ready" when it is there,
// begins at "begin", and at "end" says how many it has published.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { io } = createRequire(new URL("../../clients/package.json", import.meta.url))("socket.io-client");
const [address, room, perSecond] = process.argv.slice(2);
const socket = io(`http://${address}`, { transports: ["websocket"] });
let published = 0;
let timer;
socket.once("connect", () => console.log("ready"));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "begin") {
    timer = setInterval(() => socket.emit("publish_room", room, published++), 1_000 / Number(perSecond));
  } else if (line === "end") {
    clearInterval(timer);
    console.log(published);
  }
}
