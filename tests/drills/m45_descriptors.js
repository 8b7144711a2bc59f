// A server whose descriptors are used up: those who are there are served as ever, the process does not
// spin, who is new is told to come back while there is a descriptor to do so with, waits when there is
// none, and is let in as soon as somebody leaves.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { connect as dial } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { join, lacking } from "./support/client.js";

const DESCRIPTORS = 200;
// Those descriptors less 64, and less a sixteenth of what is left.
const CLIENTS = 128;
const NEW = 20;
const STARVED_MS = 3_000;
const CPU_PERCENT_MAX = 5;
const SOON_MS = 100;

export default {
  name: "m45 a server without descriptors serves those who are there and lets others in when some leave",
  rows: [45],
  seconds: 60,

  needs() {
    if (!existsSync("/usr/bin/prlimit")) return "prlimit";
    return lacking();
  },

  async run(drill) {
    const seen = [];
    for (const driver of ["io_uring", "epoll"]) seen.push(`${driver}: ${await starve(drill, driver)}`);
    return seen.join("; ");
  },
};

async function starve(drill, driver) {
  // All shards together have them.
  drill.prefix = ["prlimit", `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`];
  const server = await drill.start("benchmark", "--driver", driver, "--shards", 4);
  const clients = [];
  for (let number = 0; number < CLIENTS; number += 1) clients.push(await join(drill, server));
  const refused = await soon(Promise.all(Array.from({ length: NEW }, () => visit(drill, server.port).answer)));
  assert.ok(refused.every((status) => status === 503), `who is new was answered ${refused}`);

  // Whoever says nothing takes what is left.
  const silent = Array.from({ length: DESCRIPTORS - CLIENTS }, () => connect(drill, server.port));
  await sleep(200);
  const newcomers = Array.from({ length: NEW }, () => visit(drill, server.port));
  const { percent, slowest } = await serve(server, clients);
  assert.ok(newcomers.every((newcomer) => !newcomer.isAnswered), "there was a descriptor left");
  silent.forEach((socket) => socket.destroy());
  const told = await soon(Promise.all(newcomers.map((newcomer) => newcomer.answer)));
  assert.ok(told.every((status) => status === 503), `who has waited was answered ${told}`);

  clients.splice(0, NEW).forEach((client) => client.close());
  const left = performance.now();
  while ((await visit(drill, server.port).answer) !== 200) {
    assert.ok(performance.now() - left < SOON_MS, "nobody is let in after some have left");
  }
  assert.ok(clients.every((client) => client.connected), "clients that stayed were let go");
  return (
    `${CLIENTS} clients were served for ${STARVED_MS / 1_000} s with ${percent.toFixed(1)} % of a core, ` +
    `all within ${slowest.toFixed(0)} ms; ${NEW} were told 503 at once, ${NEW} when there were descriptors again`
  );
}

/** What must not take long. */
async function soon(promise) {
  const begun = performance.now();
  const result = await promise;
  const took = performance.now() - begun;
  assert.ok(took < SOON_MS, `${took.toFixed(0)} ms`);
  return result;
}

/** Asks for an echo for everybody, time and again. */
async function serve(server, clients) {
  const [before, begun] = [cpuSeconds(server.pid), performance.now()];
  let slowest = 0;
  while (performance.now() - begun < STARVED_MS) {
    const asked = performance.now();
    for (const client of clients) assert.equal(await client.timeout(5_000).emitWithAck("echo", "x"), "x");
    slowest = Math.max(slowest, performance.now() - asked);
    await sleep(500);
  }
  const percent = ((cpuSeconds(server.pid) - before) / ((performance.now() - begun) / 1_000)) * 100;
  assert.ok(percent < CPU_PERCENT_MAX, `${percent.toFixed(1)} % of a core without descriptors`);
  return { percent, slowest };
}

/** A connection. */
function connect(drill, port) {
  const socket = dial({ host: "127.0.0.1", port });
  drill.after(() => socket.destroy());
  socket.on("error", () => {});
  return socket;
}

/** Somebody new, who asks for a session and leaves when he is answered. */
function visit(drill, port) {
  const socket = connect(drill, port);
  const visitor = { isAnswered: false };
  socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: drill\r\n\r\n");
  visitor.answer = new Promise((resolve) => {
    socket.once("data", (data) => {
      visitor.isAnswered = true;
      resolve(Number(data.toString("latin1").slice(9, 12)));
      socket.destroy();
    });
  });
  return visitor;
}

/** What a process has used of the processor. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
