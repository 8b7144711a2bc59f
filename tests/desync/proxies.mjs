// The proxies that a payload is sent through.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const START_DEADLINE_MS = 10_000;

export const PROXIES = {
  haproxy: { configuration: "haproxy.cfg", flags: ["-db", "-f"], version: ["-v"] },
  nginx: { configuration: "nginx.conf", flags: ["-c"], version: ["-v"] },
};

/** Those that are not installed. */
export function missing() {
  return Object.keys(PROXIES).filter((name) => spawnSync(name, PROXIES[name].version).error);
}

/** The version of a proxy. */
export function versionOf(name) {
  const { stdout, stderr } = spawnSync(name, PROXIES[name].version, { encoding: "utf8" });
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0];
}

/** Starts a proxy in front of a server, to be ended with the drill; gives its port. */
export async function startProxy(drill, name, server) {
  const { configuration, flags } = PROXIES[name];
  const port = await vacantPort();
  const text = readFileSync(new URL(configuration, import.meta.url), "utf8");
  const values = { PORT: port, SERVER: server.port, FOLDER: drill.folder };
  const file = join(drill.folder, configuration);
  writeFileSync(file, text.replace(/@([A-Z]+)@/g, (_, key) => values[key]));
  const child = spawn(name, [...flags, file], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (piece) => (said += piece));
  drill.after(async () => {
    if (child.exitCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  });
  const deadline = Date.now() + START_DEADLINE_MS;
  while (!(await listens(port))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`${name} does not start: ${said}`);
    }
    await sleep(20);
  }
  return port;
}

async function vacantPort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
