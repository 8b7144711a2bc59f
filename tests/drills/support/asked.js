// Clients that are asked something by handlers that wait for the answer: asked.js ADDRESS COUNT. They
// say "ready" when all have been asked, begin to answer at "answer", each at a moment of the seconds
// after it, and when all are disconnected they say in JSON how many of them have had the acknowledgement
// that the handler then sends.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { io } = createRequire(new URL("../../clients/package.json", import.meta.url))("socket.io-client");
const [address, count] = process.argv.slice(2);
const ANSWERS_WITHIN_MS = 3_000;
const WAITS_MS = 60_000;
const JOIN_AT_ONCE = 100;
const answers = [];
const told = { acknowledged: 0, reasons: {} };
let connected = 0;

function come() {
  const socket = io(`http://${address}`, { transports: ["websocket"], forceNew: true, reconnection: false });
  socket.on("disconnect", (reason) => {
    told.reasons[reason] = (told.reasons[reason] ?? 0) + 1;
    connected -= 1;
    if (connected === 0) console.log(JSON.stringify(told));
  });
  return new Promise((resolve, reject) => {
    socket.on("connect_error", reject);
    socket.on("connect", () => {
      connected += 1;
      socket.emit("survey", WAITS_MS, [socket.id], "who are you?", (isComplete, [answer]) => {
        told.acknowledged += isComplete && answer === socket.id ? 1 : 0;
      });
    });
    socket.on("question", (_, answer) => {
      answers.push(() => answer(socket.id));
      resolve();
    });
  });
}

for (let left = Number(count); left > 0; left -= JOIN_AT_ONCE) {
  await Promise.all(Array.from({ length: Math.min(left, JOIN_AT_ONCE) }, come));
}
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "answer") answers.forEach((answer) => setTimeout(answer, Math.random() * ANSWERS_WITHIN_MS));
}
