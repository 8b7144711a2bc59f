// The clients, unmodified and as their registries have them, and what each of them cannot do.
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

const javascript = (npmPackage) => [process.execPath, path("javascript/main.js"), npmPackage];
const python = (kind) => [path("python/.venv/bin/python"), path("python/main.py"), kind];
const rust = (kind) => [path("rust/target/debug/matrix"), kind];

const bundle = (name, file, parser) => ({
  name,
  what: `Chromium with ${file}`,
  command: [process.execPath, path("../../browser/bundle.js"), file],
  server: ["--client", path("../node_modules/socket.io-client/dist")],
  parser,
});

const rustCannot = {
  bare: "it takes an event without arguments for a `message` with its name",
  empty: {
    websocket: "it takes an empty binary message for an incomplete packet",
    upgrade: "it takes an empty binary message for an incomplete packet",
  },
  questions: "it gives callbacks no way to answer an event",
  nested: "a payload of it is one binary value or JSON without any",
  shared: "a connection of it has one namespace",
};

/**
 * `name` heads its column, `what` is what it is, `command` starts its program, `server` are flags
 * that the server needs for it, `parser` what both speak instead of the default, `cannot` says why a
 * scenario is impossible with it, at all or by transport. One that `overlaps` may send a pong while
 * it sends an event, which ends a polling session: but for `heartbeat` it is not pinged.
 */
export const CLIENTS = [
  { name: "js-4", what: "socket.io-client", command: javascript("socket.io-client") },
  {
    name: "js-4-mp",
    what: "socket.io-client with socket.io-msgpack-parser",
    command: javascript("socket.io-client"),
    parser: "msgpack",
  },
  { name: "js-3", what: "socket.io-client", command: javascript("socket.io-client-3") },
  {
    name: "js-2",
    what: "socket.io-client",
    command: javascript("socket.io-client-2"),
    server: ["--allow-eio3"],
  },
  { name: "python", what: "python-socketio, Client", command: python("sync") },
  { name: "asyncio", what: "python-socketio, AsyncClient", command: python("asyncio") },
  {
    name: "asyncio-mp",
    what: "python-socketio, AsyncClient with serializer msgpack",
    command: python("asyncio"),
    parser: "msgpack",
  },
  {
    name: "rust",
    what: "rust_socketio, blocking",
    command: rust("blocking"),
    overlaps: true,
    cannot: rustCannot,
  },
  {
    name: "rust-async",
    what: "rust_socketio, async",
    command: rust("async"),
    overlaps: true,
    cannot: {
      ...rustCannot,
      large: { polling: "it takes each part of a poll's answer for a whole one" },
    },
  },
  bundle("js", "socket.io.js"),
  bundle("min.js", "socket.io.min.js"),
  bundle("esm.min.js", "socket.io.esm.min.js"),
  bundle("msgpack.min.js", "socket.io.msgpack.min.js", "msgpack"),
];
