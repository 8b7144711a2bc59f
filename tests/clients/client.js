// Short words for what every test does with a client. All waiting is for an event, with a deadline.
import { setTimeout as delay } from "node:timers/promises";
import { Manager, io } from "socket.io-client";

const DEADLINE_MS = 8_000;

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

/** The arguments of the next such event. */
export function next(emitter, event) {
  return withDeadline(event, new Promise((resolve) => {
    emitter.once(event, (...args) => resolve(args));
  }));
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

/** Collects every such event from now on; `take` waits for them in order. */
export class Inbox {
  #event;
  #arrived = [];
  #wake = () => {};

  constructor(emitter, event) {
    this.#event = event;
    emitter.on(event, (...args) => {
      this.#arrived.push(args);
      this.#wake();
    });
  }

  /** How many have come and were not taken. */
  get size() {
    return this.#arrived.length;
  }

  /** The next `count` events, each as its list of arguments. */
  async take(count = 1) {
    await withDeadline(`${count} of ${this.#event}`, new Promise((resolve) => {
      this.#wake = () => this.#arrived.length >= count && resolve();
      this.#wake();
    }));
    return this.#arrived.splice(0, count);
  }

  /** All that have come until now. */
  drain() {
    return this.#arrived.splice(0);
  }
}

/** Numbers from `first`, as events with that one argument each. */
export function numbered(count, first = 0) {
  return Array.from({ length: count }, (_, i) => [first + i]);
}

/** Why the server says that this socket left, told by another socket's `gone` events. */
export async function reasonOf(gone, id) {
  for (;;) {
    const [[who, reason]] = await gone.take();
    if (who === id) return reason;
  }
}

/** Rejects, naming what was waited for, when the deadline passes before the promise settles. */
export async function withDeadline(what, promise) {
  const finished = new AbortController();
  const late = delay(DEADLINE_MS, undefined, { signal: finished.signal }).then(
    () => {
      throw new Error(`${what} did not come within ${DEADLINE_MS} ms`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    finished.abort();
  }
}
