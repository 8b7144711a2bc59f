// Short words for what every test does with a client. All waiting is for an event, with a deadline.
import { Manager, io } from "socket.io-client";
import { DEADLINE_MS, next, withDeadline } from "./waiting.js";

export { Inbox, next, reasonOf, withDeadline } from "./waiting.js";

/** The ways a client can be connected: what the tests' names say, and the client's options. */
export const TRANSPORTS = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
};

/** A client with a connection of its own that ends with the test; it may not be connected yet. */
export function open(t, url, options = {}) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 20, ...options });
  t.after(() => {
    socket.io.reconnection(false);
    socket.disconnect();
  });
  return socket;
}

/** A client that is connected. */
export async function connected(t, url, options) {
  const socket = open(t, url, options);
  await next(socket, "connect");
  return socket;
}

/** An engine connection without any namespace, for packets that no client sends. */
export async function bare(t, url, options = {}) {
  const manager = new Manager(url, { autoConnect: false, reconnection: false, ...options });
  t.after(() => manager.engine.close());
  await withDeadline("open", new Promise((resolve, reject) => {
    manager.open((error) => (error ? reject(error) : resolve()));
  }));
  return manager.engine;
}

/** The arguments of the ack to this event. */
export function request(socket, event, ...args) {
  return new Promise((resolve, reject) => {
    socket.timeout(DEADLINE_MS).emit(event, ...args, (error, ...answers) => {
      if (error) reject(new Error(`no ack to ${event}: ${error.message}`));
      else resolve(answers);
    });
  });
}

/** Waits until the engine of this client has moved to the WebSocket. */
export async function upgraded(socket) {
  const { engine } = socket.io;
  if (engine.transport.name !== "websocket") await next(engine, "upgrade");
}

/** Numbers from `first`, as events with that one argument each. */
export function numbered(count, first = 0) {
  return Array.from({ length: count }, (_, i) => [first + i]);
}
