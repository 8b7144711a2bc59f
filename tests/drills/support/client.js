// One official client at a time, in the process of a drill.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const CLIENT = fileURLToPath(new URL("../../clients/node_modules/socket.io-client", import.meta.url));

/** What this machine lacks, in words; null if nothing. */
export function lacking() {
  return existsSync(CLIENT) ? null : "the clients are not installed: tests/setup.sh";
}

/** A client that has joined `/` by WebSocket and does not come back; it leaves with the drill. */
export async function join(drill, server) {
  const { io } = createRequire(import.meta.url)(CLIENT);
  const socket = io(server.url, { transports: ["websocket"], forceNew: true, reconnection: false });
  drill.after(() => socket.close());
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return socket;
}
