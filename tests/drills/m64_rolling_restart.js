// Three rolling restarts under load (matrix 64): 5,000 clients that are recovered, while 1,000 others
// connect each second. Nobody is refused, no connection is reset, and every client is back with its
// id. Alone: node tests/drills/m64_rolling_restart.js

"use strict";

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

const ROOT = path.join(__dirname, "../..");
const CLIENT = path.join(ROOT, "tests/clients/node_modules/socket.io-client");
const CLIENTS = Number(process.env.DRILL_CLIENTS ?? 5_000);
const CONNECTS_PER_SECOND = Number(process.env.DRILL_CONNECTS ?? 1_000);
const RESTARTS = 3;
/** How long the clients have to come back. */
const BACK_MS = 40_000;

/** The binary that was built last. */
function binary() {
  const built = ["release", "debug"].map((profile) =>
    path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), profile, "fanfare"),
  );
  const there = built.filter((file) => fs.existsSync(file));
  return there.sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs)[0];
}

function needs() {
  if (!binary()) return "the binary: cargo build --release";
  if (!fs.existsSync(CLIENT)) return "socket.io-client: make setup";
  return null;
}

/** A process that serves, once it says so. */
async function start(listen, folder) {
  const args = ["--listen", listen, "--hand-over", path.join(folder, "next")];
  const child = spawn(binary(), [...args, "--state", path.join(folder, "clients.state")], {
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
  const { io } = require(CLIENT);
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
  let under_way = 0;
  function connect() {
    under_way++;
    let response = "";
    let isOver = false;
    const socket = net.connect({ host, port: Number(port) }, () => socket.write(head));
    const end = (outcome) => {
      if (isOver) return;
      isOver = true;
      under_way--;
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
      if (under_way > 0) return;
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

async function run() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fanfare-drill-"));
  const workers = [];
  let server = await start("127.0.0.1:0", folder);
  const { address } = server;
  try {
    const play = (role) => new Worker(__filename, { workerData: { role, address } });
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
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

module.exports = { name: "m64_rolling_restart", rows: [64], seconds: 120, needs, run };

if (!isMainThread) {
  ({ stay, visit })[workerData.role]();
} else if (require.main === module) {
  const missing = needs();
  const result = missing ? Promise.reject(new Error(`it needs ${missing}`)) : run();
  result.then(
    (verdict) => console.log(`m64_rolling_restart: ${verdict}`),
    (error) => {
      console.error(`m64_rolling_restart: ${error.message}`);
      process.exitCode = 1;
    },
  );
}
