// A server of the plain application that breaks the contract in one way: `faulty.mjs FAULT
// --listen ADDRESS:PORT`. Only contract.test.mjs runs it; with the fault `none` it is right.
import { spawn } from "node:child_process";
import { WebSocketServer } from "./packages.mjs";

const [fault, , address] = process.argv.slice(2);
const [host, port] = address.split(":");
const rooms = new Map();
/** How many broadcasts each client has been sent. */
const sent = new Map();

/** What SIGTERM does, where that is the fault. */
const END = {
  "ignores SIGTERM": () => {},
  "ends with a status": () => process.exit(3),
};

if (fault === "ends at once") {
  process.exit(1);
} else if (fault === "is started by another") {
  wrap();
} else {
  serve();
}

function wrap() {
  const args = [process.argv[1], "none", "--listen", address];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("exit", (status) => process.exit(status));
}

function serve() {
  const perMessageDeflate = fault === "compresses" ? { threshold: 0 } : false;
  const server = new WebSocketServer({ host, port, perMessageDeflate });
  server.on("listening", () => console.log(`listening on ${address}`));
  server.on("connection", (client) => {
    client.on("message", (data) => receive(server, client, data.toString()));
    client.on("close", () => leave(client));
  });
  process.on("SIGTERM", END[fault] ?? (() => process.exit(0)));
  if (fault === "dies of SIGTERM") {
    process.removeAllListeners("SIGTERM");
  }
}

function receive(server, client, message) {
  if (fault === "writes about each message") {
    console.log(message.slice(0, 10));
  }
  const rest = message.slice(1);
  switch (message[0]) {
    case "E":
      echo(client, rest);
      break;
    case "J":
      rooms.set(rest, (rooms.get(rest) ?? new Set()).add(client));
      client.send("J");
      break;
    case "P":
      publish(server.clients, client, rest);
      break;
    case "R":
      publishRoom(server, client, ...rest.split("\n"));
      break;
  }
}

function echo(client, payload) {
  client.send(`E${fault === "cuts long echoes" ? payload.slice(0, 65_535) : payload}`);
  if (fault === "echoes twice") {
    client.send(`E${payload}`);
  }
}

function publishRoom(server, client, room, payload) {
  const members = rooms.get(room) ?? new Set();
  if (fault === "takes a room for everybody") {
    publish(server.clients, client, payload);
  } else if (fault !== "lets only members publish" || members.has(client)) {
    publish(members, client, payload);
  }
}

function publish(clients, sender, payload) {
  for (const client of clients) {
    if (fault !== "leaves out the sender" || client !== sender) {
      deliver(client, `B${payload}`);
    }
  }
}

/** Sends a broadcast; what goes wrong does so at the thirtieth and its neighbour. */
function deliver(client, message) {
  const number = (sent.get(client) ?? 0) + 1;
  sent.set(client, number);
  if (number === 30 && fault === "loses") {
    return;
  }
  if (number === 30 && fault === "reorders") {
    client.held = message;
    return;
  }
  const damaged = number === 30 && fault === "damages";
  client.send(damaged ? message.replace("publish", "PUBLISH") : message, {
    binary: fault === "sends binary messages",
  });
  if (client.held) {
    client.send(client.held);
    client.held = null;
  }
  if (number === 30 && fault === "repeats") {
    client.send(message);
  }
}

function leave(client) {
  for (const [room, members] of rooms) {
    if (members.delete(client) && fault === "closes a room that one leaves") {
      rooms.delete(room);
    }
  }
}
