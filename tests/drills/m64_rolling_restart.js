// Three rolling restarts under load: 5,000 clients that are recovered, while 1,000 others connect each
// second. Nobody is refused, no connection is reset, and every client is back with its id.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { connect as dial } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const BINARY = fileURLToPath(new URL("../../target/release/fanfare", import.meta.url));
const CLIENT = fileURLToPath(new URL("../clients/node_modules/socket.io-client", import.meta.url));
const CLIENTS = Number(process.env.DRILL_CLIENTS ?? 5_000);
const CONNECTS_PER_SECOND = Number(process.env.DRILL_CONNECTS ?? 1_000);
const RESTARTS = 3;
/** How long the clients have to come back. */
const BACK_MS = 40_000;

export default {
  name: "m64 three rolling restarts refuse nobody and every client is back",
  rows: [64],
  seconds: 240,

  needs() {
    if (!existsSync(BINARY)) return "the binary: cargo build --release --bin fanfare";
    return existsSync(CLIENT) ? null : "the clients are not installed: tests/setup.sh";
  },

  run,
};

/** A process that serves, once it says so. */
async function start(listen, folder) {
  const args = ["--listen", listen, "--hand-over", join(folder, "next")];
  const child = spawn(BINARY, [...args, "--state", join(folder, "clients.state")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.ended = once(child, "exit").then(([code]) => code);
  const said = once(child.stdout, "data").then(([data]) => String(data));
  const line = await Promise.race([said, child.ended.then((code) => `it ended with ${code}`)]);
  const address = /listening on http:\/\/(\S+)/.exec(line);
  if (!address) throw new Error(`no server: ${line}`);
  return { child, address: address[1] };
}

/** Clients that stay, and come back when they are sent away. */
function stay() {
  const { io } = createRequire(import.meta.url)(CLIENT);
  const clients = [];
  const count = (is) => clients.filter(is).length;
  const options = { transports: ["websocket"], forceNew: true, reconnectionDelayMax: 1_000 };
  for (let index = 0; index < CLIENTS; index++) {
    setTimeout(() => {
      const socket = io(`http://${workerData.address}`, options);
      const client = { socket, times: 0, recovered: 0, errors: 0 };
      socket.on("connect", () => {
        client.times++;
        client.recovered += socket.recovered && socket.id === client.id ? 1 : 0;
        client.id ??= socket.id;
      });
      socket.on("connect_error", () => client.errors++);
      clients.push(client);
    }, index);
  }
  parentPort.on("message", (restarts) => {
    parentPort.postMessage({
      connected: count((client) => client.socket.connected && client.times > restarts),
      recovered: count((client) => client.recovered === restarts),
      errors: clients.reduce((sum, client) => sum + client.errors, 0),
    });
  });
}

/** Connections that come, open a session and go: what became of them, by outcome. */
function visit() {
  const outcomes = { served: 0 };
  const note = (outcome) => (outcomes[outcome] = (outcomes[outcome] ?? 0) + 1);
  const [host, port] = workerData.address.split(":");
  const head =
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: drill\r\nConnection: Upgrade\r\n" +
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  let underWay = 0;
  function connect() {
    underWay++;
    let response = "";
    let isOver = false;
    const socket = dial({ host, port: Number(port) }, () => socket.write(head));
    const end = (outcome) => {
      if (isOver) return;
      isOver = true;
      underWay--;
      note(outcome);
      socket.destroy();
    };
    socket.setTimeout(15_000, () => end("timed out"));
    socket.on("data", (data) => {
      response += data.toString("latin1");
      if (response.includes('{"sid":')) end("served");
    });
    socket.on("error", (error) => end(error.code));
    socket.on("close", () => end("closed"));
  }
  const begun = performance.now();
  let made = 0;
  const timer = setInterval(() => {
    const due = ((performance.now() - begun) / 1_000) * CONNECTS_PER_SECOND;
    for (; made < due; made++) connect();
  }, 5);
  parentPort.on("message", () => {
    clearInterval(timer);
    const wait = setInterval(() => {
      if (underWay > 0) return;
      clearInterval(wait);
      parentPort.postMessage(outcomes);
    }, 10);
  });
}

async function ask(worker, question) {
  worker.postMessage(question);
  return (await once(worker, "message"))[0];
}

/** Waits until all clients are back after so many restarts. */
async function allBack(clients, restarts) {
  const until = Date.now() + BACK_MS;
  let state;
  do {
    await sleep(250);
    state = await ask(clients, restarts);
  } while (state.connected < CLIENTS && Date.now() < until);
  if (state.connected < CLIENTS || state.recovered < CLIENTS) {
    throw new Error(`after ${restarts} restarts of ${CLIENTS} clients: ${JSON.stringify(state)}`);
  }
  return state;
}

async function run({ folder }) {
  const workers = [];
  let server = await start("127.0.0.1:0", folder);
  const { address } = server;
  try {
    const play = (role) => new Worker(new URL(import.meta.url), { workerData: { role, address } });
    const clients = play("stay");
    workers.push(clients);
    let state;
    // The first time they only come: there is nothing to recover.
    do {
      await sleep(250);
      state = await ask(clients, 0);
    } while (state.connected < CLIENTS);
    const visitors = play("visit");
    workers.push(visitors);
    const took = [];
    for (let restart = 1; restart <= RESTARTS; restart++) {
      await sleep(1_000);
      const begun = Date.now();
      const old = server;
      server = await start(address, folder);
      took.push(Date.now() - begun);
      const code = await old.child.ended;
      if (code !== 0) throw new Error(`the old process ended with ${code}`);
      state = await allBack(clients, restart);
    }
    const outcomes = await ask(visitors, "stop");
    const { served, ...others } = outcomes;
    if (Object.keys(others).length > 0) throw new Error(JSON.stringify(outcomes));
    return (
      `${served} connects, 0 refused, 0 reset; ${CLIENTS} clients recovered ${RESTARTS} times; ` +
      `${took.join(", ")} ms from one process to the next; ${state.errors} connect errors`
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
    server.child.kill("SIGKILL");
    await server.child.ended;
  }
}

if (!isMainThread) ({ stay, visit })[workerData.role]();
