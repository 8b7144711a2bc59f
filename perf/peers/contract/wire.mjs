// What a handshake must show; these speak to the server without a client library.
import { get } from "node:http";
import { within } from "./deadline.mjs";
import { WebSocket } from "./packages.mjs";

/** The rules of each protocol. A rule takes the server's ADDRESS:PORT and throws where broken. */
export const WIRE_RULES = {
  socketio: [
    ["the heartbeat is the default, and an upgrade is offered", defaultHeartbeat],
    ["compression is not agreed to", (target) => uncompressed(target, SOCKETIO_PATH)],
  ],
  websocket: [["compression is not agreed to", (target) => uncompressed(target, "/")]],
};

const SOCKETIO_PATH = "/socket.io/?EIO=4&transport=websocket";
const PING_INTERVAL_MS = 25_000;
const PING_TIMEOUT_MS = 20_000;

async function defaultHeartbeat(target) {
  const body = await within(read(`http://${target}/socket.io/?EIO=4&transport=polling`), "a poll");
  if (body[0] !== "0") {
    throw new Error(`the first packet is ${body.slice(0, 60)}`);
  }
  const { pingInterval, pingTimeout, upgrades } = JSON.parse(body.slice(1));
  if (pingInterval !== PING_INTERVAL_MS || pingTimeout !== PING_TIMEOUT_MS) {
    throw new Error(`pings every ${pingInterval} ms, waits ${pingTimeout} ms`);
  }
  if (!upgrades.includes("websocket")) {
    throw new Error("an upgrade to websocket is not offered");
  }
}

function read(url) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, async (response) => {
      resolve((await response.setEncoding("utf8").toArray()).join(""));
    });
    request.once("error", reject);
  });
}

async function uncompressed(target, path) {
  const socket = new WebSocket(`ws://${target}${path}`, { perMessageDeflate: true });
  const open = new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.on("error", reject);
  });
  await within(open, "a connection");
  const agreed = socket.extensions;
  socket.close();
  if (agreed !== "") {
    throw new Error(`the server agreed to ${agreed}`);
  }
}
