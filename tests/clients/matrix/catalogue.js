// The clients, unmodified and as their registries have them, and what each of them cannot do.
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

const javascript = (npmPackage) => [process.execPath, path("javascript/main.js"), npmPackage];
const python = (kind) => [path("python/.venv/bin/python"), path("python/main.py"), kind];
const rust = (kind) => [path("rust/target/debug/matrix"), kind];

const bundle = (name, file) => ({
  name,
  what: `Chromium with ${file}`,
  command: [process.execPath, path("../../browser/bundle.js"), file],
  server: ["--client", path("../node_modules/socket.io-client/dist")],
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
 * that the server needs for it, `cannot` says why a scenario is impossible with it, at all or
 * by transport.
 */
export const CLIENTS = [
  { name: "js-4", what: "socket.io-client", command: javascript("socket.io-client") },
  { name: "js-3", what: "socket.io-client", command: javascript("socket.io-client-3") },
  { name: "python", what: "python-socketio, Client", command: python("sync") },
  { name: "asyncio", what: "python-socketio, AsyncClient", command: python("asyncio") },
  {
    name: "rust",
    what: "rust_socketio, blocking",
    command: rust("blocking"),
    cannot: rustCannot,
  },
  {
    name: "rust-async",
    what: "rust_socketio, async",
    command: rust("async"),
    cannot: {
      ...rustCannot,
      large: { polling: "it takes each part of a poll's answer for a whole one" },
    },
  },
  bundle("js", "socket.io.js"),
  bundle("min.js", "socket.io.min.js"),
  bundle("esm.min.js", "socket.io.esm.min.js"),
];
