// A server whose descriptors are used up: those who are there are served as ever, the process does not
// spin, who is new waits, and is served as soon as somebody leaves.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect as dial } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const DESCRIPTORS = 200;
const NEW = 20;
const STARVED_MS = 3_000;
const CPU_PERCENT_MAX = 5;
const SERVED_WITHIN_MS = 100;
const CLIENT = fileURLToPath(new URL("../clients/node_modules/socket.io-client", import.meta.url));

export default {
  name: "m45 a server without descriptors serves those who are there and lets others in when some leave",
  rows: [45],
  seconds: 60,

  needs() {
    if (!existsSync("/usr/bin/prlimit")) return "prlimit";
    return existsSync(CLIENT) ? null : "the clients are not installed: tests/setup.sh";
  },

  async run(drill) {
    const seen = [];
    for (const driver of ["io_uring", "epoll"]) seen.push(`${driver}: ${await starve(drill, driver)}`);
    return seen.join("; ");
  },
};

async function starve(drill, driver) {
  // Each shard would take what there is but a reserve: together they have too little.
  drill.prefix = ["prlimit", `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`];
  const server = await drill.start("benchmark", "--driver", driver, "--shards", 4);
  const clients = [];
  for (let isFull = false; !isFull; ) {
    const client = join(drill, server);
    isFull = await Promise.race([client.connected.then(() => false), sleep(500, true)]);
    if (!isFull) clients.push(client.socket);
  }
  const newcomers = Array.from({ length: NEW }, () => visit(drill, server.port));
  const [before, begun] = [cpuSeconds(server.pid), performance.now()];
  let slowest = 0;
  while (performance.now() - begun < STARVED_MS) {
    const asked = performance.now();
    for (const client of clients) assert.equal(await client.timeout(5_000).emitWithAck("echo", "x"), "x");
    slowest = Math.max(slowest, performance.now() - asked);
    await sleep(500);
  }
  const percent = ((cpuSeconds(server.pid) - before) / ((performance.now() - begun) / 1_000)) * 100;
  assert.ok(newcomers.every((newcomer) => !newcomer.isServed), "there was a descriptor left");
  const left = performance.now();
  clients.slice(0, NEW + 1).forEach((client) => client.close());
  await Promise.all(newcomers.map((newcomer) => newcomer.served));
  const took = performance.now() - left;
  assert.ok(clients.slice(NEW + 1).every((client) => client.connected), "clients that stayed were let go");
  assert.ok(percent < CPU_PERCENT_MAX, `${percent.toFixed(1)} % of a core without descriptors`);
  assert.ok(took < SERVED_WITHIN_MS, `${took.toFixed(0)} ms until all who had waited were served`);
  return (
    `${clients.length} clients were served for ${STARVED_MS / 1_000} s with ${percent.toFixed(1)} % of a core, ` +
    `${NEW} who had waited ${took.toFixed(0)} ms after as many had left`
  );
}

/** A client of the server. */
function join(drill, server) {
  const { io } = createRequire(import.meta.url)(CLIENT);
  const options = { transports: ["websocket"], forceNew: true, reconnection: false, timeout: 60_000 };
  const socket = io(server.url, options);
  drill.after(() => socket.close());
  return { socket, connected: new Promise((resolve) => socket.once("connect", resolve)) };
}

/** Somebody new, who asks for a session. */
function visit(drill, port) {
  const visitor = { isServed: false };
  const socket = dial({ host: "127.0.0.1", port });
  drill.after(() => socket.destroy());
  socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: drill\r\n\r\n");
  visitor.served = new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("data", (data) => {
      visitor.isServed = true;
      data.toString("latin1").startsWith("HTTP/1.1 200") ? resolve() : reject(new Error(String(data)));
    });
  });
  return visitor;
}

/** What a process has used of the processor. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
