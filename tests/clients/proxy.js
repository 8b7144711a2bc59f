// A TCP relay between client and server, to be a bad network without touching either.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { withDeadline } from "./client.js";

/** Starts a relay to this port that lives as long as the test. */
export async function startProxy(t, port) {
  const proxy = new Proxy(port);
  await proxy.listen();
  t.after(() => proxy.close());
  return proxy;
}

// The session that a request is for.
const SESSION = /^(?:GET|POST) \S*[?&]sid=([^&\s]+)/;

class Proxy {
  #listener;
  #links = new Set();
  #sessions = new Set();
  #broken = new Set();
  #held = { up: false, down: false };
  #onPoll = () => {};

  constructor(port) {
    this.#listener = createServer((client) => this.#relay(client, port));
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  async listen() {
    this.#listener.listen(0, "127.0.0.1");
    await once(this.#listener, "listening");
  }

  /** Stops relaying: `up` is towards the server, `down` towards the client. */
  hold(...directions) {
    for (const direction of directions) {
      this.#held[direction] = true;
      for (const link of this.#links) link[direction].pause();
    }
  }

  /** Relays again, first what was held. */
  release() {
    this.#held = { up: false, down: false };
    for (const link of this.#links) {
      link.up.resume();
      link.down.resume();
    }
  }

  /** Waits until a GET went to the server that it has not answered. */
  async polling() {
    await withDeadline("a poll", new Promise((resolve) => {
      this.#onPoll = resolve;
      if ([...this.#links].some((link) => link.polling)) resolve();
    }));
  }

  /**
   * Breaks every connection that is open now, and whatever else their sessions are sent through: a
   * browser sends a request again by itself, and would not notice what answer it has lost.
   */
  cut() {
    for (const session of this.#sessions) this.#broken.add(session);
    for (const link of this.#links) destroy(link);
  }

  close() {
    this.cut();
    this.#listener.close();
  }

  #relay(client, port) {
    const server = connect(port, "127.0.0.1");
    const link = { up: client, down: server, polling: false };
    this.#links.add(link);
    client.on("data", (chunk) => {
      const start = chunk.toString("latin1", 0, 400);
      const session = SESSION.exec(start)?.[1];
      if (session) this.#sessions.add(session);
      if (this.#broken.has(session)) return destroy(link);
      link.polling = start.startsWith("GET ");
      if (link.polling) this.#onPoll();
    });
    server.on("data", () => (link.polling = false));
    for (const [direction, from, to] of [["up", client, server], ["down", server, client]]) {
      from.setNoDelay(true);
      from.on("data", (chunk) => to.write(chunk));
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        to.end();
        this.#links.delete(link);
      });
      if (this.#held[direction]) from.pause();
    }
  }
}

function destroy(link) {
  link.up.destroy();
  link.down.destroy();
}
