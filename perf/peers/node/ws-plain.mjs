// The plain WebSocket application on `ws`: a set of clients for everybody and one for each room.
import { WebSocket, WebSocketServer } from "ws";
import { announce, fail, listenAddress } from "./arguments.mjs";
import { MAX_PAYLOAD_BYTES } from "./limits.mjs";
import { BROADCAST, ECHO, JOIN, NEWLINE, PUBLISH, PUBLISH_ROOM } from "./operations.mjs";

const TEXT = { binary: false };

const rooms = new Map();
const address = listenAddress();
const server = new WebSocketServer({
  ...address,
  maxPayload: MAX_PAYLOAD_BYTES,
  perMessageDeflate: false,
});
server.on("error", (error) => fail(error.message));
server.on("listening", () => announce(address));
server.on("connection", (client) => {
  const joined = new Set();
  client.on("error", () => client.terminate());
  client.on("close", () => leave(client, joined));
  client.on("message", (message) => receive(client, joined, message));
});

function receive(client, joined, message) {
  switch (message[0]) {
    case ECHO:
      client.send(message, TEXT);
      break;
    case JOIN:
      join(client, joined, message.toString("utf8", 1));
      client.send("J");
      break;
    case PUBLISH:
      broadcast(server.clients, message);
      break;
    case PUBLISH_ROOM: {
      const newline = message.indexOf(NEWLINE);
      const members = rooms.get(message.toString("utf8", 1, newline)) ?? [];
      broadcast(members, message.subarray(newline));
      break;
    }
  }
}

function join(client, joined, room) {
  if (!rooms.has(room)) {
    rooms.set(room, new Set());
  }
  rooms.get(room).add(client);
  joined.add(room);
}

function leave(client, joined) {
  for (const room of joined) {
    const members = rooms.get(room);
    members.delete(client);
    if (members.size === 0) {
      rooms.delete(room);
    }
  }
}

/** Sends the bytes as they came but for the first, which becomes the operation. */
function broadcast(members, message) {
  message[0] = BROADCAST;
  for (const client of members) {
    if (client.readyState === WebSocket.OPEN) {
      client.send(message, TEXT);
    }
  }
}
